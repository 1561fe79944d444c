//! The log on Kafka passes the suite, on a real broker. `cargo xtask test` starts one and names it in
//! `ORDAIN_TEST_KAFKA`; without it these tests say that they are skipped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::commit::{DOUBT_DOES_NOT, DOUBT_HAPPENS};
use super::options::{Options, ValueForm};
use super::{Copy, Host, KafkaLog, Placement};
use crate::log::conformance::{Bench, LANES, PARTITIONS, SUITE};
use crate::log::{LaneLog, OnCommitted, segment};
use crate::message::{AggregateType, Digest};

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

impl Bench for Real {
    fn lane(&self, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        let folder = self.folder.path().join(format!("{}", self.hosts.fetch_add(1, Ordering::Relaxed)));
        let host = &self.log.host;
        let copy = Copy::open(&folder, "conformance", segment::Options::default()).expect("opens");
        let layout = (*host.layout()).clone();
        let (cluster, max) = (Arc::clone(&host.cluster), host.record_bytes_max);
        let host = Host::new(host.options.clone(), cluster, layout, copy, Arc::new(Fixed), max);
        let mut handle = KafkaLog { host: Arc::new(host), _lock: None }.lane(lane, None, on_committed);
        handle.doubt = Arc::clone(self.doubts.lock().unwrap().entry(lane).or_default());
        Box::new(handle)
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
