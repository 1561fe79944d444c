use std::sync::mpsc::{Receiver, channel};

use super::super::test_kit::push;
use super::super::{BlockBuilder, Committed, LaneLog};
use super::*;

fn lane_of(log: &EmbeddedLog, lane: u32) -> (EmbeddedLane, Receiver<Committed>) {
    let (to, from) = channel();
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
        written.push(committed.recv().expect("an answer").result.expect("committed"));
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
