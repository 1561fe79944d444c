//! A host without HTTP in this process: log, store, lanes, engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ordain::clock::Stopwatch;
use ordain::decider::RuleBook;
use ordain::engine::{Engine, Parts, Status};
use ordain::lane::Settings;
use ordain::lane::supervisor::{Lanes, Shared};
use ordain::log::embedded::{EmbeddedLog, Options};
use ordain::store::Store;

use crate::bank::PARTITIONS;

/// Longest time a host may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running host.
pub struct Host {
    lanes: Lanes,
    /// What commands are given to.
    pub engine: Engine,
    /// Its log.
    pub log: Arc<EmbeddedLog>,
    /// Its store.
    pub store: Arc<Store>,
}

/// The daemon's defaults, with another number of lanes and commands in a block.
pub fn settings(lanes: u32, batch_commands_max: usize) -> Settings {
    Settings {
        lane: 0,
        lanes,
        partitions: PARTITIONS,
        batch_commands_max,
        batch_bytes_max: 4 << 20,
        resident_aggregates_max: 2_000_000,
        decider_bytes_max: usize::MAX,
        checkpoint_aggregates: 100_000,
        checkpoint_ms: 30_000,
        checkpoint_log_bytes: 64 << 20,
    }
}

impl Host {
    /// Starts one on the data in a folder and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start, or a lane ends.
    pub fn start(folder: &Path, settings: Settings, book: &Arc<dyn RuleBook>) -> anyhow::Result<Self> {
        let options = Options { lanes: settings.lanes, partitions: PARTITIONS, ..Options::default() };
        let log = Arc::new(EmbeddedLog::open(&folder.join("log"), options)?);
        let store = Arc::new(Store::open(&folder.join("store"), log.id(), log.end(), PARTITIONS)?);
        let maker = Arc::clone(&log);
        let shared = Shared {
            log: Box::new(move |lane, _, on_committed| Box::new(maker.lane(lane, on_committed))),
            history: log.reader(),
            store: Arc::clone(&store),
            book: Arc::clone(book),
            settings,
            queue_commands_max: 8192,
            queue_bytes_max: 64 << 20,
        };
        let lanes = Lanes::start(shared)?;
        let engine = Engine::new(Parts {
            partitions: PARTITIONS,
            lanes: lanes.ways.clone(),
            book: Arc::clone(book),
            modules: None,
            history: log.reader(),
            store: Arc::clone(&store),
            intake: None,
            readers_max: 2,
            readers_waiting_max: 256,
        });
        let host = Self { lanes, engine, log, store };
        host.until("the host is ready", |host| host.engine.status() == Status::Ready)?;
        Ok(host)
    }

    /// Waits for something.
    ///
    /// # Errors
    /// If a lane ends before, or it does not happen.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while !holds(self) {
            if let Some((lane, ended)) = self.lanes.wait(Duration::from_micros(500)) {
                bail!("lane {lane} ended while it was waited until {what}: {ended:?}");
            }
            if watch.elapsed() > PATIENCE {
                return Err(anyhow::anyhow!("{what}: not within {} s", PATIENCE.as_secs())).context("waiting");
            }
        }
        Ok(())
    }

    /// Blocks committed since the start.
    pub fn commits(&self) -> u64 {
        self.engine.boards().map(|board| board.commits.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    /// Stops it as a signal would.
    pub fn stop(self) {
        self.lanes.stop();
        self.log.close();
    }
}
