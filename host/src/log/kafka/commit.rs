//! The thread that commits one lane's blocks: begin → produce → commit, and nothing else in a transaction.
//!
//! Invariants:
//! - A block is answered as committed only after a commit that returned success with one EndTxn sent, every record
//!   delivered, and offsets that rise. Then it goes into the local copy, and then to the lane.
//! - After anything else this committer is dead: the lane is taken anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Host;
use super::ffi::KafkaError;
use super::ffi::producer::{Deliveries, Producer};
use super::lane::Stream;
use super::pause::Pause;
use super::records::writer::Writer;
use super::records::{Outgoing, ValueForm};
use crate::clock::Stopwatch;
use crate::lane::answer_in;
use crate::log::thread::{self, OnPanic};
use crate::log::{Answer, Block, BlockBuilder, Committed, Entry, LogError, Lsn, OnCommitted, Term};

/// Time for one commit. librdkafka's own limits are shorter.
pub(super) const COMMIT: Duration = Duration::from_secs(60);
/// Mark of a record in the topic of lanes; no stream has this number.
pub(super) const LANES_MARK: u32 = u32::MAX;
/// How often, at most, it is said that somebody else writes.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Key of the records that prove an ownership, of which the topic keeps the last.
const PROOF_KEY: &[u8] = b"proof";

/// The next commit is reported as doubtful, although it happens.
#[cfg(test)]
pub(super) const DOUBT_HAPPENS: u8 = 1;
/// The next commit is reported as doubtful, because it does not happen.
pub(super) const DOUBT_DOES_NOT: u8 = 2;

/// One ownership of a lane.
#[derive(Debug)]
pub struct Owned {
    /// The lane.
    pub lane: u32,
    /// The ownership's term.
    pub term: Term,
    /// In the order of the producer's topics: see [`Host::types_of`].
    pub streams: Vec<Stream>,
    /// Offset of the last record of this owner in each stream.
    pub ends: HashMap<u32, i64>,
    /// What a test makes of the next commit.
    pub doubt: Arc<AtomicU8>,
}

/// What a committer is given.
#[derive(Debug)]
pub enum Job {
    /// Answers.
    Block(BlockBuilder),
    /// Nothing, but the ownership is to be proved (R8).
    Proof,
}

/// A running committer.
#[derive(Debug)]
pub struct Committer {
    to: Option<SyncSender<Job>>,
    /// A commit was no plain success: nothing is accepted any more.
    dead: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it cannot be started.
    pub fn start(
        host: Arc<Host>,
        producer: Producer,
        owned: Owned,
        on_committed: Arc<OnCommitted>,
    ) -> Result<Self, LogError> {
        let (to, jobs) = sync_channel(1);
        let dead = Arc::new(AtomicBool::new(false));
        let dying = Arc::clone(&dead);
        let (name, term) = (format!("lane-{}-log", owned.lane), owned.term);
        let work = move || {
            let _guard = OnPanic::tell(|why| {
                dying.store(true, Ordering::Release);
                on_committed(Committed { term, result: Err(LogError::Fatal(why)) });
            });
            Work::new(host, producer, owned).run(&jobs, &dying, &on_committed);
        };
        let thread = thread::start(&name, work)?;
        Ok(Self { to: Some(to), dead, thread: Some(thread) })
    }

    /// Hands something over; `false` if this ownership has ended.
    pub fn submit(&self, job: Job) -> bool {
        !self.dead.load(Ordering::Acquire) && self.to.as_ref().is_some_and(|to| to.try_send(job).is_ok())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // A panic is in the process's log.
            drop(thread.join());
        }
    }
}

/// Where the records of a stream go.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Place of the topic in the producer.
    topic: usize,
    partition: u32,
    /// Bytes of a record that the topic takes.
    bytes_max: usize,
}

struct Work {
    host: Arc<Host>,
    producer: Producer,
    owned: Owned,
    writer: Writer,
    compact: Writer,
    /// Of each stream.
    places: HashMap<u32, Place>,
    /// The block committed last: what a repeat may point to.
    last: Option<Block>,
    pause: Pause,
    /// Since it was said that somebody else writes.
    said: Option<Stopwatch>,
}

impl Work {
    fn new(host: Arc<Host>, producer: Producer, owned: Owned) -> Self {
        let topics = Host::types_of(&owned.streams);
        let place = |stream: &Stream| Place {
            topic: topics.iter().position(|of| *of == stream.of).map_or(0, |at| at + 1),
            partition: stream.partition,
            bytes_max: host.bounds.of_events(&host.options.events_topic(&stream.of)),
        };
        let places = owned.streams.iter().map(|one| (one.number, place(one))).collect();
        let writer = Writer::new(&host.source, host.options.value_form);
        let compact = Writer::new(&host.source, ValueForm::Msgpack);
        Self { host, producer, owned, writer, compact, places, last: None, pause: Pause::new(), said: None }
    }

    fn run(mut self, jobs: &Receiver<Job>, dying: &AtomicBool, on_committed: &OnCommitted) {
        while let Ok(job) = jobs.recv() {
            let result = match job {
                Job::Block(block) => self.commit(block).map(Some),
                Job::Proof => self.prove().map(|()| None),
            };
            let failed = result.is_err();
            if let Err(error) = &result {
                tracing::warn!(lane = self.owned.lane, "a commit was no plain success: {error}");
                // Before the lane hears of it: it may hand over another block at once.
                dying.store(true, Ordering::Release);
                if matches!(error, LogError::Fenced { .. }) {
                    self.host.placement.contested(self.owned.lane);
                }
            }
            on_committed(Committed { term: self.owned.term, result });
            if failed {
                // The producer is dropped: nothing of this ownership touches the network again.
                return;
            }
        }
    }

    /// Waits until the next transaction may begin.
    fn pause(&self) {
        if let Some(rest) = self.pause.rest() {
            std::thread::park_timeout(rest);
        }
        self.host.pace();
    }

    fn ended(&mut self, began: Duration) {
        let took = crate::clock::boot_time().saturating_sub(began);
        self.pause.ended(took, self.producer.added_partitions());
    }

    /// A commit of nothing but a record that is of no other use: an empty transaction proves nothing.
    fn prove(&mut self) -> Result<(), LogError> {
        self.pause();
        let lane = self.owned.lane;
        let began = crate::clock::boot_time();
        self.producer
            .begin()
            .and_then(|()| self.producer.produce(0, lane, LANES_MARK, PROOF_KEY, b"{}", []))
            .and_then(|()| self.committed(1))
            .map_err(|error| classify(lane, &error))?;
        self.ended(began);
        self.host.proved(lane, began);
        Ok(())
    }

    fn commit(&mut self, block: BlockBuilder) -> Result<Block, LogError> {
        self.pause();
        let lane = self.owned.lane;
        let began = crate::clock::boot_time();
        let doubt = self.owned.doubt.swap(0, Ordering::AcqRel);
        let delivered = self.transaction(&block, doubt).map_err(|error| classify(lane, &error))?;
        self.ended(began);
        if doubt != 0 {
            return Err(LogError::Ambiguous { lane, cause: "a test wants it so".into() });
        }
        let at = (lane, self.host.layout().lanes, self.owned.term.0);
        let block = self.host.copy.append(at, block, delivered.last).map_err(|error| match error {
            // It is committed, and only not here yet: nobody may be told that nothing happened.
            LogError::DiskFull { .. } => LogError::Ambiguous { lane, cause: error.to_string() },
            error => error,
        })?;
        self.host.proved(lane, began);
        self.last = Some(block.clone());
        Ok(block)
    }

    fn transaction(&mut self, block: &BlockBuilder, doubt: u8) -> Result<Deliveries, KafkaError> {
        self.producer.begin()?;
        let (mut count, mut counts) = (0, BTreeMap::<u32, u64>::new());
        for (_, entry) in block.entries() {
            let records = self.produce(block, &entry)?;
            *counts.entry(entry.partition).or_default() += records;
            count += records;
        }
        if doubt == DOUBT_DOES_NOT {
            self.producer.abort(COMMIT)?;
            return Ok(Deliveries::default());
        }
        let delivered = self.committed(count)?;
        self.look_for_others(&counts, &delivered);
        Ok(delivered)
    }

    /// Between the last record of one commit and the first of the next lies the end of the first one's transaction, and
    /// nothing else: unless somebody else wrote. Records of theirs that are committed cannot be read back, which the next
    /// owner would be the first to notice.
    fn look_for_others(&mut self, counts: &BTreeMap<u32, u64>, delivered: &Deliveries) {
        for stream in &self.owned.streams {
            let (Some(&count), Some(&last)) = (counts.get(&stream.number), delivered.last.get(&stream.number)) else {
                continue;
            };
            let first = last + 1 - i64::try_from(count).unwrap_or(i64::MAX);
            let before = self.owned.ends.insert(stream.number, last);
            let foreign = before.map_or(0, |before| first - before - 2);
            if foreign > 0 && self.said.as_ref().is_none_or(|since| since.elapsed() > SAY_AGAIN) {
                self.said = Some(Stopwatch::start());
                tracing::error!(
                    lane = self.owned.lane,
                    "somebody else wrote to topic {} partition {}: {foreign} offsets before {first} are not this lane's. If \
                     records of theirs were committed there, no host can take the lane any more: see to it that hosts alone \
                     may write, `ordain topics create {} --print` shows the rights",
                    self.host.options.events_topic(&stream.of),
                    stream.partition,
                    stream.of
                );
            }
        }
    }

    /// Commits. A plain success is one EndTxn, and all of `count` records.
    fn committed(&self, count: u64) -> Result<Deliveries, KafkaError> {
        let delivered = self.producer.commit(COMMIT)?;
        let sent = self.producer.end_txns();
        if sent != 1 {
            return Err(KafkaError::other(format!(
                "EndTxn was sent {sent} times: a late one could end a later transaction"
            )));
        }
        if let Some(problem) = &delivered.problem {
            return Err(KafkaError::other(problem.clone()));
        }
        if delivered.count != count {
            return Err(KafkaError::other(format!("{} of {count} records were delivered", delivered.count)));
        }
        Ok(delivered)
    }

    /// Produces the records of one answer; returns how many.
    fn produce(&mut self, block: &BlockBuilder, entry: &Entry<'_>) -> Result<u64, KafkaError> {
        let first = self.first(block, entry);
        let mut first = first.as_ref().map(First::entry);
        let &Place { topic, partition, bytes_max } = self
            .places
            .get(&entry.partition)
            .ok_or_else(|| KafkaError::other(format!("stream {} is not of this lane", entry.partition)))?;
        let epoch = self.owned.term.0;
        let fits = |writer: &mut Writer, first: Option<&Entry<'_>>| {
            let each = |record: Outgoing<'_>| if record.bytes() <= bytes_max { Ok(()) } else { Err(()) };
            writer.entry(entry, epoch, first, each).is_ok()
        };
        // JSON may be several times larger than what the module gave, which itself was seen to fit. What a repeat shows
        // again may be from a time when the topic took more.
        let mut writer = &mut self.writer;
        if payload(entry, first.as_ref()) > bytes_max / 8 && !fits(writer, first.as_ref()) {
            writer = &mut self.compact;
            first = first.filter(|first| fits(writer, Some(first)));
        }
        let producer = &self.producer;
        let mut count = 0;
        writer.entry(entry, epoch, first.as_ref(), |record| {
            if record.bytes() > bytes_max {
                let (bytes, id) = (record.bytes(), entry.command_id);
                return Err(KafkaError::too_large(format!(
                    "a record of the answer to command {id} has {bytes} bytes, and its topic takes {bytes_max}"
                )));
            }
            count += 1;
            let headers = record.headers.iter().map(|&(name, value)| (name, value));
            producer.produce(topic, partition, entry.partition, record.key, record.value, headers)
        })?;
        Ok(count)
    }

    /// The first answer to a command whose id is known: in an older block, in the one before, or in this one.
    fn first<'a>(&self, block: &'a BlockBuilder, entry: &Entry<'_>) -> Option<First<'a>> {
        let Answer::Repeated { original } = entry.answer else { return None };
        let of = (entry.aggregate_type, entry.aggregate_id, entry.command_id);
        let older =
            if original == Lsn::UNKNOWN { self.last.clone() } else { self.host.copy.reader().block(original).ok() };
        if let Some(answered) = older.and_then(|older| answer_in(&older, of.0, of.1, of.2)) {
            return Some(First::Older(answered));
        }
        let same = |one: &Entry<'_>| {
            (one.aggregate_type, one.aggregate_id, one.command_id) == of && crate::state_machine::remembers(&one.answer)
        };
        block.entries().map(|(_, one)| one).find(same).map(|entry| First::Here(Box::new(entry)))
    }
}

/// A first answer, wherever it lies.
enum First<'a> {
    Older(crate::engine::Answered),
    Here(Box<Entry<'a>>),
}

impl First<'_> {
    fn entry(&self) -> Entry<'_> {
        match self {
            Self::Older(answered) => answered.entry(),
            Self::Here(entry) => **entry,
        }
    }
}

fn payload(entry: &Entry<'_>, first: Option<&Entry<'_>>) -> usize {
    let of = |entry: &Entry<'_>| match entry.answer {
        Answer::Accepted { events, .. } => events.len(),
        Answer::Rejected(rejection) => rejection.len(),
        Answer::Failed { message, .. } => message.len(),
        _ => 0,
    };
    of(entry).max(first.map_or(0, of))
}

/// What the lane is to do: a fence is plain, a refusal is about what was written, everything else is doubt.
pub(super) fn classify(lane: u32, error: &KafkaError) -> LogError {
    let cause = error.to_string();
    if error.is_fenced() {
        LogError::Fenced { lane }
    } else if error.is_refusal() {
        LogError::Refused { lane, cause }
    } else {
        LogError::Ambiguous { lane, cause }
    }
}
