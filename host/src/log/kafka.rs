//! The log on Apache Kafka: topics that hosts share, one transactional producer per lane.
//!
//! Reading order: [`take`] is how a lane is owned, [`commit`] how its answers are written, [`feed`] how its commands come,
//! [`copy`] what of it is kept here. docs/kafka.md names the rules R1 to R13, each of which closes a double decision that
//! was seen on a real broker.

mod absent;
pub mod agreement;
pub mod asyncapi;
pub mod bounds;
pub mod commit;
pub mod copy;
pub mod directory;
pub mod feed;
pub mod ffi;
pub mod group;
pub mod intake;
pub mod lane;
pub mod options;
mod pause;
pub mod records;
pub mod take;
#[cfg(test)]
mod tests;
pub mod topics;
pub mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rdkafka::ClientConfig;

use super::lock::Lock;
use super::segment;
use super::{LogError, OnCommitted};
use crate::clock::Stopwatch;
use crate::engine::Awaited;
use crate::lane::inbox::Inbox;
use crate::message::{AggregateType, Digest};
use bounds::Bounds;
pub use bounds::RESULT_BYTES_MAX;
use copy::Copy;
use lane::{KafkaLane, Stream};
use options::{Options, clients};
use topics::Cluster;
use topics::layout::Layout;

/// Types that a log can have: their slots number the streams.
pub const TYPES_MAX: u32 = 64;

/// What a host is told of its place among the others.
pub trait Placement: Send + Sync {
    /// Whether the group still gives this lane to this host.
    fn is_ours(&self, lane: u32) -> bool;
    /// Somebody else took this lane, as an owner of it learns when it commits.
    fn contested(&self, _lane: u32) {}
    /// The types whose rules are active here.
    fn types(&self) -> Vec<AggregateType>;
    /// The module that decides for each type here.
    fn modules(&self) -> BTreeMap<String, Digest>;
}

/// A host's side of a log on Kafka, shared by its lanes.
pub struct Host {
    options: Options,
    cluster: Arc<Cluster>,
    layout: ArcSwap<Layout>,
    copy: Copy,
    placement: Arc<dyn Placement>,
    adding: Mutex<()>,
    source: String,
    address: Mutex<Option<String>>,
    bounds: Bounds,
    pace: Mutex<Pace>,
    /// For each lane, when the last commit began that proved it, as time since the machine started, in milliseconds.
    proofs: Vec<AtomicU64>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Transactions that may begin now: a bucket that fills with time (so that many lanes do not drown a small cluster).
#[derive(Debug)]
struct Pace {
    tokens: f64,
    since: Stopwatch,
}

/// An open log on Kafka.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    host: Arc<Host>,
    _lock: Option<Arc<Lock>>,
}

impl KafkaLog {
    /// Reaches the cluster, makes or verifies topics and layout, and opens the local copy in `folder`.
    ///
    /// # Errors
    /// [`LogError::Fatal`] or [`LogError::Corrupt`]: what is wrong, by name, with what to do.
    pub fn open(
        options: Options,
        folder: &Path,
        segments: segment::Options,
        placement: Arc<dyn Placement>,
    ) -> Result<Self, LogError> {
        std::fs::create_dir_all(folder)
            .map_err(|e| LogError::Fatal(format!("cannot make the folder {}: {e}", folder.display())))?;
        let lock = Arc::new(Lock::take(folder)?);
        let cluster = Cluster::connect(&options)?;
        let types = placement.types();
        let opened = cluster.open(&types)?;
        for warning in topics::problem::warnings(&opened.warnings) {
            tracing::warn!("{warning}");
        }
        for topic in &opened.created {
            tracing::info!("topic {topic} was created");
        }
        let layout = opened.layout;
        let name = format!("{}/{}g{}", layout.cluster_id, options.prefix, layout.generation);
        let copy = Copy::open(&folder.join("copy"), &name, segments)?;
        let host = Host::new(options, Arc::new(cluster), layout, copy, placement);
        Ok(Self { host: Arc::new(host), _lock: Some(lock) })
    }

    /// One lane's side of it. `inbox` gets the commands of the lane; without one there are none.
    pub fn lane(&self, lane: u32, inbox: Option<(Arc<Inbox>, Arc<Awaited>)>, on_committed: OnCommitted) -> KafkaLane {
        KafkaLane::new(Arc::clone(&self.host), lane, inbox, on_committed)
    }

    /// The way of commands from this host into their topics; `broken` hears if there is none any more.
    ///
    /// # Errors
    /// As [`intake::Intake::start`].
    pub fn intake(
        &self,
        awaited: Vec<Arc<Awaited>>,
        broken: impl FnOnce(String) + Send + 'static,
    ) -> Result<intake::Intake, LogError> {
        intake::Intake::start(Arc::clone(&self.host), awaited, broken)
    }

    /// The owners of all lanes.
    ///
    /// # Errors
    /// As [`directory::Directory::start`].
    pub fn directory(&self) -> Result<directory::Directory, LogError> {
        directory::Directory::start(&self.host)
    }

    /// Looks now and then whether the topics are still those of the layout; `tell` hears what is wrong and what to do.
    ///
    /// # Errors
    /// As [`agreement::Agreement::start`].
    pub fn keep_agreement(&self, tell: impl FnOnce(String) + Send + 'static) -> Result<agreement::Agreement, LogError> {
        agreement::Agreement::start(Arc::clone(&self.host), tell)
    }

    /// Looks after the lanes of this host until what it returns is dropped.
    ///
    /// # Errors
    /// As [`watch::Watch::start`].
    pub fn watch(&self, on_look: watch::OnLook) -> Result<watch::Watch, LogError> {
        watch::Watch::start(Arc::clone(&self.host), on_look)
    }

    /// Where others reach this host.
    pub fn address(&self) -> Option<String> {
        self.host.address()
    }

    /// The local copy.
    pub fn copy(&self) -> &Copy {
        &self.host.copy
    }

    /// What is fixed.
    pub fn layout(&self) -> Arc<Layout> {
        self.host.layout()
    }

    /// Most streams that there can be.
    pub fn streams_max(&self) -> u32 {
        TYPES_MAX * self.layout().partitions
    }

    /// Makes a place for a type's answers, if there is none yet: its topics, and its part of the layout. It fails if there
    /// are too many types, or its topics must not or cannot be made, or are not as they must be.
    pub fn admission(&self) -> impl Fn(&AggregateType) -> Result<(), String> + Send + Sync + 'static {
        // What is asked belongs to a registry of modules, and this log asks that which types there are.
        let host = Arc::downgrade(&self.host);
        move |of| {
            let host = host.upgrade().ok_or("the host is stopping")?;
            host.streams(0, std::slice::from_ref(of)).map(drop).map_err(|error| error.to_string())
        }
    }

    /// The number of the stream of a type's partition; `None` if the layout does not have the type.
    pub fn stream_of(&self, of: &AggregateType, partition: u32) -> Option<u32> {
        let layout = self.layout();
        layout.of(of).map(|one| one.slot * layout.partitions + partition)
    }

    /// Where others reach this host, unless it was set.
    pub fn advertise(&self, address: String) {
        self.host.address.lock().expect("no panic while held").get_or_insert(address);
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.host.options
    }
}

impl Host {
    fn new(options: Options, cluster: Arc<Cluster>, layout: Layout, copy: Copy, placement: Arc<dyn Placement>) -> Self {
        Self {
            source: format!("/ordain/{}", options.prefix.trim_end_matches(['.', '_'])),
            address: Mutex::new(options.advertised.clone()),
            pace: Mutex::new(Pace { tokens: 0.0, since: Stopwatch::start() }),
            proofs: (0..layout.lanes).map(|_| AtomicU64::new(0)).collect(),
            layout: ArcSwap::from_pointee(layout),
            bounds: Bounds::default(),
            adding: Mutex::default(),
            options,
            cluster,
            copy,
            placement,
        }
    }

    fn layout(&self) -> Arc<Layout> {
        self.layout.load_full()
    }

    fn address(&self) -> Option<String> {
        self.address.lock().expect("no panic while held").clone()
    }

    /// When the last commit of a lane began that proved the ownership, on the clock of [`crate::clock::boot_time`]; 0 if
    /// none did.
    fn proved_at(&self, lane: u32) -> Duration {
        self.proofs.get(lane as usize).map_or(Duration::ZERO, |at| Duration::from_millis(at.load(Ordering::Acquire)))
    }

    fn proved(&self, lane: u32, began: Duration) {
        if let Some(proof) = self.proofs.get(lane as usize) {
            proof.store(u64::try_from(began.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        }
    }

    /// What keeps the topics from being those of the layout, if anything does (R3).
    fn disagreement(&self) -> Result<Option<String>, LogError> {
        let problems = self.cluster.verify(&self.layout())?;
        Ok(topics::problem::refusal(&problems))
    }

    /// The streams of a lane: the partitions that fall to it, of each of these types. Adds types to the layout that it does
    /// not have yet.
    fn streams(&self, lane: u32, types: &[AggregateType]) -> Result<Vec<Stream>, LogError> {
        // One lane adds a type, the others then find it.
        let _adding = self.adding.lock().expect("no panic while held");
        let mut streams = Vec::new();
        for of in types {
            let mut layout = self.layout();
            if layout.of(of).is_none() {
                if layout.types.len() as u32 >= TYPES_MAX {
                    return Err(LogError::Fatal(format!("there are {TYPES_MAX} types already: {of} cannot be added")));
                }
                layout = Arc::new(self.cluster.add(&layout, of)?);
                self.layout.store(Arc::clone(&layout));
            }
            let slot = layout.of(of).map(|one| one.slot);
            let slot = slot.ok_or_else(|| LogError::Fatal(format!("type {of} was added, and is not in the layout")))?;
            for partition in (lane..layout.partitions).step_by(layout.lanes as usize) {
                streams.push(Stream { number: slot * layout.partitions + partition, of: of.clone(), partition });
            }
        }
        Ok(streams)
    }

    /// The types of streams, each once, in their order: a lane's producer has their topics in this order, behind the
    /// topic of lanes.
    fn types_of(streams: &[Stream]) -> Vec<AggregateType> {
        let mut types: Vec<AggregateType> = Vec::new();
        for stream in streams {
            if types.last() != Some(&stream.of) {
                types.push(stream.of.clone());
            }
        }
        types
    }

    /// Learns what the topics of events of these streams take. Where the cluster does not say, what was known holds: a
    /// record that is too large all the same is refused, and done again.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if one takes too little for any answer.
    fn look_at_bounds(&self, streams: &[Stream]) -> Result<(), LogError> {
        let topics: Vec<String> = Self::types_of(streams).iter().map(|of| self.options.events_topic(of)).collect();
        if let Err(error) = self.bounds.look(&self.cluster, &topics) {
            tracing::warn!("what topics take is not known anew: {error}");
        }
        match topics.iter().map(|topic| (self.bounds.of(topic), topic)).min() {
            Some((bytes, topic)) if bytes < bounds::EVENTS_MIN => {
                Err(LogError::Fatal(topics::rules::too_small(&self.options.brokers, topic, bytes)))
            }
            _ => Ok(()),
        }
    }

    /// Waits until this host may begin another transaction.
    fn pace(&self) {
        let rate = f64::from(self.options.commits_per_second_max.max(1));
        let wait = {
            let mut pace = self.pace.lock().expect("no panic while held");
            pace.tokens = (pace.tokens + pace.since.elapsed().as_secs_f64() * rate).min(rate / 10.0 + 1.0) - 1.0;
            pace.since = Stopwatch::start();
            if pace.tokens < 0.0 { -pace.tokens / rate } else { 0.0 }
        };
        if wait > 0.0 {
            std::thread::park_timeout(Duration::from_secs_f64(wait));
        }
    }

    /// Waits a while that differs between hosts, so that two do not fence each other in step.
    fn back_off(&self, attempt: u32) {
        let longest = 100_u64.saturating_mul(1 << attempt.min(5)).min(3_000);
        let drawn = uuid::Uuid::now_v7().as_u128() as u64 % longest.max(1);
        std::thread::park_timeout(Duration::from_millis(50 + drawn));
    }

    /// Settings of a lane's producer.
    fn producer_config(&self, transactional_id: &str, topics: &[String]) -> ClientConfig {
        let batch = self.bounds.batch(topics).to_string();
        let own = [("batch.size", batch.as_str()), ("transactional.id", transactional_id)];
        self.options.client_with(&[&own[..], clients::LANE].concat())
    }

    /// Settings of the producer that appends commands.
    fn append_config(&self, topics: &[String]) -> ClientConfig {
        let batch = self.bounds.batch(topics).to_string();
        self.options.client_with(&[&[("batch.size", batch.as_str())][..], clients::COMMANDS].concat())
    }

    /// Settings of a consumer that is given its partitions; `more` goes before what is usual.
    fn consumer_config(&self, more: &[clients::Setting]) -> ClientConfig {
        let group = self.options.reader_group();
        self.options.client_with(&[&[("group.id", group.as_str())][..], clients::READER, more].concat())
    }

    /// Settings of the consumer that restores a lane.
    fn restore_config(&self) -> ClientConfig {
        self.consumer_config(clients::RESTORE)
    }

    /// Settings of the consumer that reads a lane's commands.
    fn feed_config(&self) -> ClientConfig {
        self.consumer_config(clients::FEED)
    }
}
