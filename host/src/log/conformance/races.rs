//! Several owners at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::LogError;
use super::super::Lsn;
use super::owner::{Owner, Record, records};
use super::{Bench, LANES};

/// Compares what a lane holds with what its owners were told: everything acknowledged is there, nothing that was
/// refused, and what is in doubt may be. Sequences are dense, so no owner wrote on a state that was not the last.
fn judge(found: &[Record], acknowledged: &[Record], doubtful: &[Record]) {
    for (n, record) in found.iter().enumerate() {
        assert_eq!(record.1, n as u64, "the sequence is dense");
        assert!(acknowledged.contains(record) || doubtful.contains(record), "{record:?} was refused, and is there");
    }
    for record in acknowledged {
        assert!(found.contains(record), "{record:?} was acknowledged, and is gone");
    }
}

pub fn a_lane_lost_in_the_middle_of_a_commit(bench: &mut dyn Bench) {
    let (mut acknowledged, mut doubtful) = (Vec::new(), Vec::new());
    for round in 0..50 {
        let mut former = Owner::taken(bench, 0);
        let text = format!("round {round}");
        let record = (text.clone(), former.next);
        former.submit(former.block(&text)).expect("is accepted");
        let owner = Owner::taken(bench, 0);
        let there = records(&owner.replayed).contains(&record);
        match former.answer().result {
            Ok(_) => {
                assert!(there, "a new owner sees what was acknowledged to the former one, whenever that was");
                acknowledged.push(record);
            }
            Err(LogError::Fenced { .. }) => assert!(!there, "what was refused is not there"),
            Err(LogError::Ambiguous { .. }) => doubtful.push(record),
            Err(error) => panic!("losing a lane is no accident: {error}"),
        }
    }
    judge(&records(&Owner::taken(bench, 0).replayed), &acknowledged, &doubtful);
}

/// Lets the workers end, also when a check panics.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Commits until the lane is lost; then takes it anew, until `enough`. Returns what was acknowledged and what is in doubt.
fn work(bench: &dyn Bench, name: &str, enough: &AtomicBool) -> (Vec<Record>, Vec<Record>) {
    let (mut acknowledged, mut doubtful) = (Vec::new(), Vec::new());
    let mut owner = Owner::new(bench, 0);
    let mut owned = false;
    for n in 0.. {
        if enough.load(Ordering::Acquire) {
            break;
        }
        if !owned {
            owned = match owner.take(Lsn(0)) {
                Ok(_) => true,
                Err(LogError::Fenced { .. }) => false,
                Err(error) => panic!("losing a lane is no accident: {error}"),
            };
            continue;
        }
        let text = format!("{name} {n}");
        let record = (text.clone(), owner.next);
        match owner.commit(owner.block(&text)) {
            Ok(_) => acknowledged.push(record),
            Err(error) => {
                owned = false;
                match error {
                    LogError::Fenced { .. } => {}
                    LogError::Ambiguous { .. } => doubtful.push(record),
                    error => panic!("losing a lane is no accident: {error}"),
                }
            }
        }
    }
    (acknowledged, doubtful)
}

pub fn taking_anew_under_load(bench: &mut dyn Bench) {
    let enough = AtomicBool::new(false);
    let shared: &dyn Bench = bench;
    let (acknowledged, doubtful) = thread::scope(|scope| {
        let ending = Enough(&enough);
        let worker = scope.spawn(|| work(shared, "load", &enough));
        let mut thief = Owner::new(shared, 0);
        for _ in 0..30 {
            // The worker may be the faster one; then this take is the one that lost.
            match thief.take(Lsn(0)) {
                Ok(_) | Err(LogError::Fenced { .. }) => {}
                Err(error) => panic!("losing a lane is no accident: {error}"),
            }
        }
        drop(ending);
        worker.join().expect("the worker found nothing wrong")
    });
    judge(&records(&Owner::taken(bench, 0).replayed), &acknowledged, &doubtful);
}

pub fn two_owners_racing(bench: &mut dyn Bench) {
    let enough = AtomicBool::new(false);
    let shared: &dyn Bench = bench;
    let (mut acknowledged, mut doubtful) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let ending = Enough(&enough);
        let racers = ["red", "blue"].map(|name| scope.spawn(|| work(shared, name, &enough)));
        // A third owner that only takes keeps the two from settling.
        let mut third = Owner::new(shared, 0);
        for _ in 0..50 {
            let _ = third.take(Lsn(0));
        }
        drop(ending);
        for racer in racers {
            let (ok, maybe) = racer.join().expect("the racer found nothing wrong");
            acknowledged.extend(ok);
            doubtful.extend(maybe);
        }
    });
    judge(&records(&Owner::taken(bench, 0).replayed), &acknowledged, &doubtful);
}

pub fn lanes_at_once(bench: &mut dyn Bench) {
    let shared: &dyn Bench = bench;
    thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                let mut owner = Owner::taken(shared, lane);
                for n in 0..200 {
                    assert_eq!(owner.write(&format!("{lane} {n}")).1, n);
                }
            });
        }
    });
    for lane in 0..LANES {
        let found = records(&Owner::taken(bench, lane).replayed);
        assert_eq!(found, (0..200).map(|n| (format!("{lane} {n}"), n)).collect::<Vec<_>>());
    }
}
