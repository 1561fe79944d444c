//! The embedded log passes the suite: on a real disk, where there is no crash but the process's, and on a simulated one.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::super::LaneLog;
use super::super::super::conformance::{Bench, LANES, PARTITIONS, SUITE};
use super::super::super::segment::Options as SegmentOptions;
use super::super::super::segment::disk::simulated::{Kind, SimulatedDisk};
use super::super::{EmbeddedLog, OnCommitted, Options};

struct Simulated {
    disk: SimulatedDisk,
    folder: TempDir,
    log: Option<EmbeddedLog>,
}

fn options(lanes: u32) -> Options {
    Options {
        lanes,
        partitions: PARTITIONS,
        segment: SegmentOptions { segment_bytes: 64 << 10, allocate_bytes: 16 << 10 },
    }
}

impl Simulated {
    fn new(seed: u64) -> Self {
        let mut bench =
            Self { disk: SimulatedDisk::new(seed), folder: tempfile::tempdir().expect("a folder"), log: None };
        bench.open(LANES);
        bench
    }

    fn open(&mut self, lanes: u32) {
        self.log = None;
        let disk = Arc::new(self.disk.clone());
        self.log = Some(EmbeddedLog::open_on(disk, self.folder.path(), options(lanes)).expect("opens"));
    }
}

impl Bench for Simulated {
    fn lane(&self, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        Box::new(self.log.as_ref().expect("it is open").lane(lane, on_committed))
    }

    fn reopen(&mut self, lanes: u32) -> bool {
        self.open(lanes);
        true
    }

    fn crash(&mut self) {
        self.disk.lose_power_at(self.disk.operations() % 4);
        self.log = None;
        self.disk.restart();
        self.open(LANES);
    }

    fn make_doubtful(&self, _: u32, happens: bool) {
        // A sync that fails leaves the block in the cache, where the next process finds it; a write that fails does not.
        self.disk.fail_at(if happens { Kind::Sync } else { Kind::Write }, 1);
    }
}

#[test]
fn the_embedded_log_passes_the_suite_on_a_simulated_disk() {
    for (seed, (name, check)) in SUITE.iter().enumerate() {
        println!("{name}");
        check(&mut Simulated::new(seed as u64));
    }
}

struct Real {
    folder: TempDir,
    log: Option<EmbeddedLog>,
}

impl Real {
    fn open(path: &Path, lanes: u32) -> EmbeddedLog {
        EmbeddedLog::open(path, options(lanes)).expect("opens")
    }
}

impl Bench for Real {
    fn lane(&self, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog> {
        Box::new(self.log.as_ref().expect("it is open").lane(lane, on_committed))
    }

    fn reopen(&mut self, lanes: u32) -> bool {
        self.log = None;
        self.log = Some(Self::open(self.folder.path(), lanes));
        true
    }

    fn crash(&mut self) {
        self.reopen(LANES);
    }

    fn make_doubtful(&self, _: u32, _: bool) {
        unreachable!("a real disk does not fail when it is told to")
    }
}

#[test]
fn the_embedded_log_passes_the_suite_on_a_real_disk() {
    for (name, check) in SUITE.iter().filter(|(name, _)| !name.starts_with("doubt")) {
        println!("{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let log = Some(Real::open(folder.path(), LANES));
        check(&mut Real { folder, log });
    }
}

#[test]
fn the_embedded_log_loses_nothing_in_many_crashes() {
    let (_, crash) = SUITE.iter().find(|(name, _)| name.starts_with("a crash")).expect("it is in the suite");
    for seed in 0..200 {
        crash(&mut Simulated::new(1000 + seed));
    }
}
