//! The records of lanes: owner and layout.

use super::broken::refused;
use super::*;
use crate::log::kafka::records::layout::{Layout, LayoutType};
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

#[test]
fn a_layout_comes_back_and_a_wrong_one_is_refused() {
    let account = LayoutType {
        name: "account".into(),
        slot: 0,
        commands_topic_id: "AAAA".into(),
        events_topic_id: "BBBB".into(),
    };
    let layout =
        Layout { cluster_id: "c".into(), generation: 1, partitions: 8, lanes: 2, types: vec![account.clone()] };
    let read = |layout: &Layout| seen(&layout.record("/ordain/test").into(), Layout::read).unwrap();
    assert_eq!(read(&layout), Ok(layout.clone()));
    let twice = |name: &str, slot| LayoutType { name: name.into(), slot, ..account.clone() };
    for wrong in [
        Layout { partitions: 0, ..layout.clone() },
        Layout { lanes: 0, ..layout.clone() },
        Layout { types: vec![twice("Account", 0)], ..layout.clone() },
        Layout { types: vec![account.clone(), twice("account", 1)], ..layout.clone() },
        Layout { types: vec![account.clone(), twice("order", 0)], ..layout.clone() },
    ] {
        assert!(read(&wrong).is_err(), "{wrong:?}");
    }
    let mut later: Kept = layout.record("/ordain/test").into();
    later.value = String::from_utf8(later.value).unwrap().replace("\"lanes\"", "\"stripes\":1,\"lanes\"").into();
    assert!(seen(&later, Layout::read).unwrap().unwrap_err().contains("later version"));
    assert!(seen(&story()[0], Layout::read).is_none());
}
