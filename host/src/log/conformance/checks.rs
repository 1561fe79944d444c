//! One owner after the other.

use super::super::{Block, LogError, Lsn};
use super::owner::{Owner, id_of, records, text_of};
use super::{Bench, LANES, PARTITIONS};
use crate::message::partition_of;

pub fn taking_fences(bench: &mut dyn Bench) {
    let mut first = Owner::taken(bench, 0);
    let one = first.write("one");
    let mut second = Owner::taken(bench, 0);
    assert_eq!(records(&second.replayed), std::slice::from_ref(&one), "a new owner sees what the former one committed");
    assert!(second.term > first.term, "a later term is larger");
    let late = first.commit(first.block("late"));
    assert!(matches!(late, Err(LogError::Fenced { lane: 0 })), "the former owner is told by kind: {late:?}");
    let two = second.write("two");
    assert_eq!(two.1, 1, "nothing came between");
    let third = Owner::taken(bench, 0);
    assert_eq!(records(&third.replayed), [one, two]);
}

pub fn a_former_owner_learns_it(bench: &mut dyn Bench) {
    let mut former = Owner::taken(bench, 0);
    former.write("one");
    drop(Owner::taken(bench, 0));
    for _ in 0..3 {
        assert!(former.commit(former.block("late")).is_err(), "a lost lane stays lost");
    }
    former.take(Lsn(0)).expect("it may take the lane anew");
    assert_eq!(records(&former.replayed).len(), 1);
    former.write("two");
}

pub fn lanes_are_independent(bench: &mut dyn Bench) {
    let (mut left, mut right) = (Owner::taken(bench, 0), Owner::taken(bench, 1));
    left.write("left one");
    let mut new_right = Owner::taken(bench, 1);
    left.write("left two");
    assert!(right.commit(right.block("late")).is_err());
    new_right.write("right one");
    left.write("left three");
    let texts = |lane: u32| records(&Owner::taken(bench, lane).replayed).into_iter().map(|r| r.0).collect::<Vec<_>>();
    assert_eq!(texts(0), ["left one", "left two", "left three"]);
    assert_eq!(texts(1), ["right one"]);
}

pub fn restore_ends_at_ones_own_record(bench: &mut dyn Bench) {
    let mut former = Owner::taken(bench, 0);
    let wrote: Vec<_> = (0..10).map(|n| former.write(&format!("{n}"))).collect();
    let mut owner = Owner::taken(bench, 0);
    assert_eq!(records(&owner.replayed), wrote, "all that was acknowledged before is replayed");
    // By the same handle: hosts that share a log on Kafka have addresses of their own.
    owner.take(owner.replayed.last().expect("what was written").end()).expect("the lane can be had");
    assert_eq!(records(&owner.replayed), [], "an owner's record is no block of entries");
}

pub fn replay_begins_where_it_is_told(bench: &mut dyn Bench) {
    let mut owner = Owner::taken(bench, 0);
    let blocks: Vec<_> = (0..20).map(|n| owner.commit(owner.block(&format!("{n}"))).expect("is committed")).collect();
    for from in [0, 1, 10, 19] {
        owner.take(blocks[from].lsn()).expect("the lane can be had");
        assert_eq!(records(&owner.replayed), records(&blocks[from..]), "from block {from}");
    }
    owner.take(blocks[19].end()).expect("the lane can be had");
    assert_eq!(records(&owner.replayed), []);
}

pub fn answers_come_once_and_in_order(bench: &mut dyn Bench) {
    let mut owner = Owner::taken(bench, 0);
    let mut last = Lsn(0);
    for n in 0..300 {
        let block = owner.block(&format!("{n}"));
        owner.submit(block).expect("is accepted");
        let answer = owner.answer();
        assert_eq!(answer.term, owner.term, "an answer names the ownership of its block");
        let block = answer.result.expect("is committed").expect("is a block");
        assert_eq!(records(std::slice::from_ref(&block)), [(format!("{n}"), n)]);
        assert!(n == 0 || block.lsn() > last, "addresses rise");
        last = block.lsn();
    }
    owner.take(Lsn(0)).expect("the lane can be had");
    assert!(!owner.has_answer(), "no block is answered twice");
    assert_eq!(records(&owner.replayed), (0..300).map(|n| (format!("{n}"), n)).collect::<Vec<_>>());
}

pub fn big_blocks(bench: &mut dyn Bench) {
    let mut owner = Owner::taken(bench, 0);
    let big = "x".repeat(400_000);
    for n in 0..4 {
        let texts = (0..5).map(|i| format!("{n} {i} {big}"));
        let block = owner.commit(owner.block_of(texts)).expect("is committed");
        assert_eq!(block.count(), 5);
        owner.write("small");
    }
    let found = records(&Owner::taken(bench, 0).replayed);
    assert_eq!(found.len(), 24);
    assert!(found.iter().enumerate().all(|(n, (_, sequence))| *sequence == n as u64));
    assert!(found.iter().filter(|(text, _)| text.ends_with(&big)).count() == 20, "every byte is there");
}

pub fn many_entries(bench: &mut dyn Bench) {
    let mut owner = Owner::taken(bench, 0);
    let block = owner.commit(owner.block_of((0..10_000).map(|n| format!("{n}")))).expect("is committed");
    assert_eq!(block.count(), 10_000);
    let found = records(&Owner::taken(bench, 0).replayed);
    assert_eq!(found, (0..10_000).map(|n| (format!("{n}"), n)).collect::<Vec<_>>());
}

pub fn reopening(bench: &mut dyn Bench) {
    let mut wrote = Vec::new();
    let mut term = None;
    for round in 0..5 {
        let mut owner = Owner::taken(bench, 0);
        assert_eq!(records(&owner.replayed), wrote, "round {round}");
        assert!(term < Some(owner.term), "terms rise over restarts");
        term = Some(owner.term);
        wrote.extend((0..10).map(|n| owner.write(&format!("{round} {n}"))));
        drop(owner);
        assert!(bench.reopen(LANES));
    }
}

pub fn another_number_of_lanes(bench: &mut dyn Bench) {
    let wrote: Vec<_> = (0..LANES).map(|lane| Owner::taken(bench, lane).write(&format!("lane {lane}"))).collect();
    for lanes in [1, 3, PARTITIONS] {
        if !bench.reopen(lanes) {
            return;
        }
        for (n, record) in wrote.iter().enumerate() {
            let partition = partition_of(&id_of(n as u32), PARTITIONS);
            let owner = Owner::taken(bench, partition % lanes);
            let entries = owner.replayed.iter().flat_map(Block::entries);
            let found: Vec<_> = entries.filter(|(_, e)| e.partition == partition).map(|(_, e)| text_of(&e)).collect();
            assert_eq!(found, [record.0.as_str()], "partition {partition} among {lanes} lanes");
        }
    }
}

pub fn a_crash_loses_nothing_acknowledged(bench: &mut dyn Bench) {
    let mut wrote = Vec::new();
    for round in 0..5 {
        let mut owner = Owner::taken(bench, 0);
        let found = records(&owner.replayed);
        assert!(found.starts_with(&wrote), "round {round}: what was acknowledged is there");
        assert!(found.len() <= wrote.len() + 2, "round {round}: nothing else is there");
        assert_ne!(found.len(), wrote.len() + 1, "round {round}: a block is there as a whole or not at all");
        wrote = found;
        wrote.extend((0..10).map(|n| owner.write(&format!("{round} {n}"))));
        owner.submit(owner.block_of(["unheard one".to_owned(), "unheard two".to_owned()])).expect("is accepted");
        bench.crash();
    }
}

fn doubt(bench: &mut dyn Bench, happens: bool) {
    let mut owner = Owner::taken(bench, 0);
    let mut wrote = vec![owner.write("before")];
    bench.make_doubtful(0, happens);
    let block = owner.block_of(["doubt one".to_owned(), "doubt two".to_owned()]);
    let error = owner.commit(block).expect_err("doubt is never a success");
    assert!(matches!(error, LogError::Ambiguous { .. } | LogError::Fatal(_)), "{error}");
    for _ in 0..2 {
        assert!(owner.commit(owner.block("after")).is_err(), "after doubt, nothing goes on under the same term");
    }
    if matches!(error, LogError::Fatal(_)) {
        drop(owner);
        assert!(bench.reopen(LANES));
        owner = Owner::new(bench, 0);
    }
    owner.take(Lsn(0)).expect("the lane can be had");
    if happens {
        wrote.extend([("doubt one".to_owned(), 1), ("doubt two".to_owned(), 2)]);
    }
    assert_eq!(records(&owner.replayed), wrote, "taking the lane anew tells what happened");
    wrote.push(owner.write("again"));
    assert_eq!(records(&Owner::taken(bench, 0).replayed), wrote);
}

pub fn doubt_about_a_commit_that_happened(bench: &mut dyn Bench) {
    doubt(bench, true);
}

pub fn doubt_about_a_commit_that_did_not_happen(bench: &mut dyn Bench) {
    doubt(bench, false);
}
