//! New rules are tried on what happened: also on what happened last, and after a restart too.

use super::*;
use crate::lane::cases::sample;

#[test]
fn the_newest_events_are_among_what_new_rules_must_read_and_so_are_old_ones_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(&dir, settings(2));
    for n in 0..100 {
        host.send(command(&format!("acc-{n}"), "open", OPEN));
    }
    for n in 0..3 {
        host.send(command("acc-50", &format!("deposit-{n}"), DEPOSIT));
    }
    let of = AggregateType::parse("account").unwrap();
    let versions_of = |host: &Host, id: &str| -> Vec<(u64, bool)> {
        let boards = host.lanes.ways.iter().map(|(_, board)| &**board);
        let cases = sample(boards, &*host.log.reader(), &host.store, &of);
        assert!(cases.len() > 60, "{} cases", cases.len());
        cases.iter().filter(|one| &*one.aggregate_id == id).map(|one| (one.version, one.command.is_some())).collect()
    };
    assert_eq!(versions_of(&host, "acc-50"), [(3, true), (4, false)]);
    let store = Arc::clone(&host.store);
    host.stop();
    store.flush().unwrap();
    drop(store);
    let host = Host::start(&dir, settings(2));
    let boards = host.lanes.ways.iter().map(|(_, board)| &**board);
    let cases = sample(boards, &*host.log.reader(), &host.store, &of);
    assert!(cases.len() >= 25 && cases.iter().all(|one| one.version > 0), "{} cases", cases.len());
    host.stop();
}
