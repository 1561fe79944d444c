//! The log on Kafka passes the suite, on a real broker. `cargo xtask test` starts one and names it in
//! `ORDAIN_TEST_KAFKA`; without it these tests say that they are skipped.

mod copies;
mod end_txn;
mod ownership;
mod proxy;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::commit::{DOUBT_DOES_NOT, DOUBT_HAPPENS};
use super::ffi::producer::Producer;
use super::options::{Options, ValueForm};
use super::{Copy, Host, KafkaLog, Placement};
use crate::log::conformance::{Bench, LANES, PARTITIONS, SUITE};
use crate::log::test_kit::command;
use crate::log::{Answer, BlockBuilder, EntryHead, LaneLog, LogError, Lsn, OnCommitted, segment};
use crate::message::{AggregateType, Digest, partition_of};

/// All lanes are ours, and there is one type.
pub(super) struct Fixed;

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
        self.lane_with(
            Copy::open(folder, "conformance", segment::Options::default()).expect("opens"),
            lane,
            on_committed,
        )
    }

    /// A lane of a host with this copy.
    fn lane_with(&self, copy: Copy, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        let mut handle = self.host(copy, Arc::new(Fixed)).lane(lane, None, on_committed);
        handle.doubt = Arc::clone(self.doubts.lock().unwrap().entry(lane).or_default());
        Box::new(handle)
    }
}

impl Real {
    /// A host of its own, with this copy.
    fn host(&self, copy: Copy, placement: Arc<dyn Placement>) -> KafkaLog {
        let host = &self.log.host;
        let (options, cluster, layout) = (host.options.clone(), Arc::clone(&host.cluster), (*host.layout()).clone());
        KafkaLog { host: Arc::new(Host::new(options, cluster, layout, copy, placement)), _lock: None }
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

/// R8: what proves an ownership is a commit, and one that was lost cannot be proved.
#[test]
fn only_the_owner_of_a_lane_can_prove_it() {
    let Some(brokers) = brokers() else { return };
    let (real, folder) = (Real::new(&brokers), tempfile::tempdir().expect("a folder"));
    let owner = |name: &str| {
        let (to, told) = std::sync::mpsc::sync_channel(1);
        let mut lane = real.lane_in(&folder.path().join(name), 0, Box::new(move |answer| drop(to.send(answer))));
        lane.take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
        (lane, told)
    };
    let (mut first, told) = owner("first");
    let taken = first.proved_at();
    first.prove().expect("is accepted");
    assert!(told.recv().expect("is answered").result.expect("is proved").is_none());
    let proved = first.proved_at();
    assert!(proved > taken, "{proved:?}, taken {taken:?}");
    let (mut second, told_second) = owner("second");
    first.prove().expect("it has not heard yet");
    let error = told.recv().expect("is answered").result.expect_err("it was fenced");
    assert!(matches!(error, LogError::Fenced { .. } | LogError::Ambiguous { .. }), "{error}");
    assert_eq!(first.proved_at(), proved, "a proof that failed is none");
    second.prove().expect("is accepted");
    assert!(told_second.recv().expect("is answered").result.expect("is proved").is_none());
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

/// Somebody's transaction stands open in the events of one partition: everything behind it waits, and nobody said why.
#[test]
fn an_open_transaction_of_somebody_else_is_seen_where_it_is() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let topic = real.log.options().events_topic(&Fixed.types()[0]);
    let mut config = real.log.options().client();
    config.set("transactional.id", format!("{}somebody-else", real.log.options().prefix));
    let foreign = Producer::new(&config, std::slice::from_ref(&topic)).expect("a producer");
    let patience = std::time::Duration::from_secs(30);
    foreign.init(patience).expect("the id is free");
    foreign.begin().expect("begins");
    foreign.produce(0, 1, 0, b"k", b"v", []).expect("is taken");
    assert_eq!(foreign.flush(patience).count, 1);
    let ends = || real.log.host.cluster.stable_and_last(&[(topic.as_str(), 0), (topic.as_str(), 1)]).expect("answers");
    assert_eq!(ends(), [(0, 0), (0, 1)]);
    let (to, looks) = std::sync::mpsc::sync_channel(1_000);
    let look = move |lane, open: super::watch::Open| {
        // Nobody listens any more once the first look was taken.
        let _unheard = to.try_send((lane, open.offsets));
    };
    let watch = real.log.watch(Box::new(look)).expect("starts");
    let first: BTreeMap<u32, u64> =
        (0..LANES).map(|_| looks.recv_timeout(patience).expect("each lane is looked after")).collect();
    assert_eq!(first, (0..LANES).map(|lane| (lane, u64::from(lane == 1 % LANES))).collect());
    drop(watch);
    foreign.abort(patience).expect("ends");
    let since = crate::clock::Stopwatch::start();
    while ends()[1].0 < ends()[1].1 {
        assert!(since.elapsed() < patience, "it stays open: {:?}", ends());
    }
}
