mod conformance;

use std::sync::mpsc::{Receiver, sync_channel};

use super::super::segment::disk::simulated::{Kind, SimulatedDisk};
use super::super::segment::format::aggregate_key;
use super::super::test_kit::push;
use super::super::{BlockBuilder, Committed, LaneLog};
use super::*;

fn lane_of(log: &EmbeddedLog, lane: u32) -> (EmbeddedLane, Receiver<Committed>) {
    let (to, from) = sync_channel(1 << 16);
    (log.lane(lane, Box::new(move |committed| drop(to.send(committed)))), from)
}

fn block(id: &str, version: u64) -> BlockBuilder {
    let mut block = BlockBuilder::new();
    push(&mut block, id, version, b"body");
    block
}

fn options(lanes: u32) -> Options {
    let segment = segment::Options { segment_bytes: 1 << 12, allocate_bytes: 1 << 10 };
    Options { lanes, partitions: 4, segment }
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut written = Vec::new();
    let log = EmbeddedLog::open(folder.path(), options(1)).expect("opens");
    let (mut lane, committed) = lane_of(&log, 0);
    lane.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    for version in 1..=100 {
        lane.submit(block("a", version)).expect("is accepted");
        written.push(committed.recv().expect("an answer").result.expect("committed").expect("a block"));
    }
    let id = log.id();
    drop(log);
    let log = EmbeddedLog::open(folder.path(), options(1)).expect("opens again");
    assert_eq!(log.id(), id);
    let mut read = Vec::new();
    let (mut lane, _) = lane_of(&log, 0);
    lane.take(Lsn(0), &mut |block| {
        read.push(block.bytes().to_vec());
        Ok(())
    })
    .expect("is had");
    assert_eq!(read, written.iter().map(|b| b.bytes().to_vec()).collect::<Vec<_>>());
    let reader = log.reader();
    assert_eq!(reader.blocks_from("account", "a", 98).expect("found").len(), 3);
    assert_eq!(reader.block(written[42].lsn()).expect("there").bytes(), written[42].bytes());
}

#[test]
fn a_second_opener_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let _log = EmbeddedLog::open(folder.path(), options(1)).expect("opens");
    let error = EmbeddedLog::open(folder.path(), options(1)).expect_err("is refused").to_string();
    assert!(error.contains(&format!("process {} has the log", std::process::id())), "{error}");
}

#[test]
fn another_number_of_partitions_is_refused_and_another_number_of_lanes_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(EmbeddedLog::open(folder.path(), options(1)).expect("opens"));
    drop(EmbeddedLog::open(folder.path(), options(3)).expect("opens"));
    let other = Options { partitions: 8, ..options(1) };
    let error = EmbeddedLog::open(folder.path(), other).expect_err("is refused").to_string();
    assert!(error.contains("made with 4 partitions, but 8 are configured"), "{error}");
}

#[test]
fn a_full_disk_refuses_blocks_until_there_is_space() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SimulatedDisk::new(1);
    let log = EmbeddedLog::open_on(Arc::new(disk.clone()), folder.path(), options(1)).expect("opens");
    let (mut lane, committed) = lane_of(&log, 0);
    let term = lane.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    let mut commit = |version: u64| {
        lane.submit(block("a", version)).expect("is accepted");
        let answer = committed.recv().expect("an answer");
        assert_eq!(answer.term, term);
        answer.result
    };
    commit(1).expect("is committed");
    disk.set_capacity(Some(disk.used()));
    let mut versions = 2..;
    let refused = versions.by_ref().find_map(|version| commit(version).err().map(|error| (version, error)));
    let (version, error) = refused.expect("it fills up");
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    disk.set_capacity(Some(0));
    assert!(matches!(commit(version), Err(LogError::DiskFull { .. })));
    disk.set_capacity(None);
    commit(version).expect("is committed");
    assert_eq!(log.reader().blocks_of(aggregate_key("account", "a")).expect("found").len(), version as usize);
}

#[test]
fn a_failed_sync_ends_all_lanes_and_reading_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SimulatedDisk::new(1);
    let log = EmbeddedLog::open_on(Arc::new(disk.clone()), folder.path(), options(2)).expect("opens");
    let (mut one, answers) = lane_of(&log, 0);
    let (mut two, _) = lane_of(&log, 1);
    one.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    two.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    one.submit(block("a", 1)).expect("is accepted");
    let good = answers.recv().expect("an answer").result.expect("is committed").expect("a block");
    disk.fail_at(Kind::Sync, 1);
    one.submit(block("a", 2)).expect("is accepted");
    let error = answers.recv().expect("an answer").result.expect_err("was not synced").to_string();
    assert!(error.contains("cannot sync") && error.contains("start again"), "{error}");
    assert!(matches!(two.submit(block("b", 1)), Err(LogError::Fatal(_))));
    assert!(matches!(two.take(Lsn(0), &mut |_| Ok(())), Err(LogError::Fatal(_))));
    assert_eq!(log.reader().block(good.lsn()).expect("is there").bytes(), good.bytes());
}

#[test]
fn a_damaged_or_missing_layout_is_refused_unless_nothing_was_written() {
    for written in [false, true] {
        for damage in ["missing", "cut", "flipped"] {
            let folder = tempfile::tempdir().expect("a folder");
            let log = EmbeddedLog::open(folder.path(), options(1)).expect("opens");
            if written {
                lane_of(&log, 0).0.take(Lsn(0), &mut |_| Ok(())).expect("is had");
            }
            drop(log);
            let path = folder.path().join("layout");
            let bytes = std::fs::read(&path).expect("is there");
            match damage {
                "missing" => std::fs::remove_file(&path).expect("goes"),
                "cut" => std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("is written"),
                _ => {
                    let flipped: Vec<u8> = bytes.iter().map(|b| if *b == b'4' { b'6' } else { *b }).collect();
                    std::fs::write(&path, flipped).expect("is written");
                }
            }
            match EmbeddedLog::open(folder.path(), options(1)) {
                Ok(_) => assert!(!written && damage == "missing", "{damage} {written}"),
                Err(error) => {
                    assert!(written || damage != "missing", "{damage} {written}: {error}");
                    assert!(matches!(error, LogError::Corrupt(_)), "{damage}: {error}");
                    assert!(error.to_string().contains("layout"), "{damage}: {error}");
                }
            }
        }
    }
}

#[test]
fn closing_commits_what_was_handed_over_and_refuses_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(folder.path(), options(1)).expect("opens");
    let (mut lane, answers) = lane_of(&log, 0);
    lane.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    lane.submit(block("a", 1)).expect("is accepted");
    log.close();
    answers.recv().expect("an answer").result.expect("is committed");
    assert!(matches!(lane.submit(block("a", 2)), Err(LogError::Fatal(_))));
    assert!(matches!(lane.take(Lsn(0), &mut |_| Ok(())), Err(LogError::Fatal(_))));
}

#[test]
fn a_callback_that_panics_stops_the_log_and_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(folder.path(), options(2)).expect("opens");
    let mut bad = log.lane(0, Box::new(|_| panic!("a planted panic")));
    let (mut good, answers) = lane_of(&log, 1);
    bad.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    good.take(Lsn(0), &mut |_| Ok(())).expect("is had");
    bad.submit(block("a", 1)).expect("is accepted");
    loop {
        // Committed before the panic, answered with an error because of it, or refused after it.
        match good.submit(block("b", 1)) {
            Ok(()) => match answers.recv().expect("every block is answered").result {
                Ok(_) => {}
                Err(error) => break assert!(matches!(error, LogError::Fatal(_)), "{error}"),
            },
            Err(error) => break assert!(matches!(error, LogError::Fatal(_)), "{error}"),
        }
    }
}
