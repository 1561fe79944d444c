//! The log on Kafka passes the suite, on a real broker. `cargo xtask test` starts one and names it in
//! `ORDAIN_TEST_KAFKA`; without it these tests say that they are skipped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::commit::{DOUBT_DOES_NOT, DOUBT_HAPPENS};
use super::options::{Options, ValueForm};
use super::{Copy, Host, KafkaLog, Placement};
use crate::log::conformance::{Bench, LANES, PARTITIONS, SUITE};
use crate::log::test_kit::command;
use crate::log::{Answer, BlockBuilder, EntryHead, LaneLog, Lsn, OnCommitted, segment};
use crate::message::{AggregateType, Digest, partition_of};

struct Fixed;

impl Placement for Fixed {
    fn is_ours(&self, _: u32) -> bool {
        true
    }
    fn types(&self) -> Vec<AggregateType> {
        vec![AggregateType::parse("account").expect("a type")]
    }
    fn modules(&self) -> BTreeMap<String, Digest> {
        BTreeMap::new()
    }
}

fn brokers() -> Option<String> {
    let brokers = std::env::var("ORDAIN_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: ORDAIN_TEST_KAFKA names no broker (cargo xtask kafka up)");
    }
    brokers
}

/// Options of a log of its own.
fn options(brokers: &str) -> Options {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("t{}-{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Options {
        brokers: brokers.to_owned(),
        group: format!("{prefix}hosts"),
        prefix,
        lanes: Some(LANES),
        partitions: Some(PARTITIONS),
        properties: BTreeMap::new(),
        create_topics: true,
        replication: 1,
        production: false,
        value_form: ValueForm::Json,
        session_timeout_ms: 10_000,
        commits_per_second_max: 10_000,
        instance: None,
        advertised: None,
    }
}

/// Every handle is a host of its own, with a copy of its own, as in life.
struct Real {
    folder: TempDir,
    log: KafkaLog,
    hosts: AtomicU32,
    doubts: Mutex<BTreeMap<u32, Arc<AtomicU8>>>,
}

impl Real {
    fn new(brokers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log =
            KafkaLog::open(options(brokers), &folder.path().join("copy"), segment::Options::default(), Arc::new(Fixed));
        Self { log: log.expect("opens"), folder, hosts: AtomicU32::new(0), doubts: Mutex::default() }
    }
}

impl Real {
    /// A lane of a host that keeps its copy in a folder.
    fn lane_in(&self, folder: &Path, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        let host = &self.log.host;
        let copy = Copy::open(folder, "conformance", segment::Options::default()).expect("opens");
        let layout = (*host.layout()).clone();
        let (cluster, max) = (Arc::clone(&host.cluster), host.record_bytes_max);
        let host = Host::new(host.options.clone(), cluster, layout, copy, Arc::new(Fixed), max);
        let mut handle = KafkaLog { host: Arc::new(host), _lock: None }.lane(lane, None, on_committed);
        handle.doubt = Arc::clone(self.doubts.lock().unwrap().entry(lane).or_default());
        Box::new(handle)
    }
}

impl Bench for Real {
    fn lane(&self, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        let folder = self.folder.path().join(format!("{}", self.hosts.fetch_add(1, Ordering::Relaxed)));
        self.lane_in(&folder, lane, on_committed)
    }

    fn reopen(&mut self, lanes: u32) -> bool {
        lanes == LANES
    }

    fn crash(&mut self) {}

    fn make_doubtful(&self, lane: u32, happens: bool) {
        let doubt = if happens { DOUBT_HAPPENS } else { DOUBT_DOES_NOT };
        self.doubts.lock().unwrap().entry(lane).or_default().store(doubt, Ordering::Release);
    }
}

#[test]
fn the_log_on_kafka_passes_the_suite() {
    let Some(brokers) = brokers() else { return };
    for (name, check) in SUITE {
        println!("{name}");
        check(&mut Real::new(&brokers));
    }
}

/// A topic was made anew under a copy, and the owner's own record happens to stand where the copy knows an answer. It was
/// taken for the end of the restore, and the lane went on counting from answers that the log does not have.
#[test]
fn ones_own_record_in_the_place_of_a_known_one_is_no_end() {
    let Some(brokers) = brokers() else { return };
    let copy = tempfile::tempdir().expect("a folder");
    let (before, after) = (Real::new(&brokers), Real::new(&brokers));
    // Offsets in the events: 0 the owner's record, 1 its marker, 2 the answer.
    let (to, committed) = std::sync::mpsc::sync_channel(1);
    let tell = move |answer| drop(to.send(answer));
    let mut owner = before.lane_in(copy.path(), 0, Box::new(tell));
    owner.take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
    let mut block = BlockBuilder::new();
    let id = (0..).map(|n| format!("id-{n}")).find(|id| partition_of(id, PARTITIONS) == 0).expect("there are many");
    let head = EntryHead { sequence: 0, command_offset: 0, version: 0, module: Digest([7; 32]) };
    block.push(&head, &command(&id, PARTITIONS, b"\xc0"), &Answer::Accepted { count: 0, events: &[] });
    owner.submit(block).expect("is accepted");
    committed.recv().expect("is answered").result.expect("is committed");
    drop(owner);
    // In the other log 0 and 1 are a first owner's, so the record of the next one is at 2.
    let silent = || -> OnCommitted { Box::new(|_| {}) };
    after.lane(0, silent()).take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
    let taken = after.lane_in(copy.path(), 0, silent()).take(Lsn(0), &mut |_| Ok(()));
    let error = taken.expect_err("the log does not have what the copy knows").to_string();
    assert!(error.contains("made anew") && error.contains("record 0"), "{error}");
}
