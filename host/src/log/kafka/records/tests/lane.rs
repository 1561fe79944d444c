//! The records of lanes: owner.

use super::broken::refused;
use super::*;
use crate::log::kafka::records::owner::Owner;

#[test]
fn an_owners_record_stands_between_commands_and_in_none() {
    let owner = Owner {
        lane: 3,
        nonce: "n-1".into(),
        address: Some("http://10.0.0.7:7400".into()),
        modules: BTreeMap::from([("account".into(), Digest([7; 32]))]),
    };
    let record: Kept = owner.record("/ordain/test", 5).into();
    assert_eq!(record.header(name::TYPE), Some(OWNER));
    assert_eq!(record.key, owner::KEY.as_bytes());
    assert_eq!(seen(&record, Owner::read), Some(Ok(owner)));
    let mut records = story();
    records.insert(2, record.clone());
    records.push(record.clone());
    assert_eq!(restored(&records, &mut assembler()).unwrap().count(), 5);
    let mut torn = story();
    assert_eq!(seen(&torn[0], Owner::read), None);
    torn.insert(1, record.clone());
    assert!(refused(&torn).contains("event 2 of 2 of command c-1 is missing"));
    let mut broken = record;
    broken.value = b"{".into();
    assert!(seen(&broken, Owner::read).unwrap().is_err());
}
