//! The commands of a lane, read from their topics in the order of their offsets, without holes, into the lane's inbox.
//!
//! Invariant (R5): a feed begins at the offsets that the log of events says come next, after every take-over anew. Where
//! commands are missing there, nothing is guessed: the lane stops and says so. Reading begins one command earlier, with the
//! one that was answered last, which must be what it was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::Host;
use super::absent::Absent;
use super::copy::fingerprint;
use super::ffi::consumer::{Assigned, Consumer};
use super::ffi::{KafkaError, advice};
use super::lane::Stream;
use super::records::RecordView;
use super::records::command::{CommandReader, Limits};
use crate::clock::{self, Stopwatch};
use crate::engine::{Awaited, Reply, Submission};
use crate::lane::inbox::Inbox;
use crate::log::LogError;
use crate::log::thread::{self, OnPanic};
use crate::message::Command;

/// Longest wait for a record before it is looked whether the feed is to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Time without a command after which those that somebody waits for are looked for anew. They are in the topic: whoever
/// leads its partition in the consumer's opinion may be cut off, and librdkafka asks the broker it speaks to who leads.
pub(super) const OVERDUE: Duration = Duration::from_secs(3);
/// The same for commands that nobody waits for here.
const IDLE: Duration = Duration::from_secs(60);

/// A running feed. Dropping it ends it.
#[derive(Debug)]
pub struct Feed {
    ending: Arc<AtomicBool>,
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Begins to feed a lane. `next`: the offset of the next command of each stream.
    ///
    /// # Errors
    /// [`LogError`] if commands are missing, or there can be no consumer.
    pub fn start(
        host: &Arc<Host>,
        streams: &[Stream],
        next: &[(u32, u64)],
        inbox: Arc<Inbox>,
        awaited: Arc<Awaited>,
    ) -> Result<Self, LogError> {
        let next: HashMap<u32, u64> = next.iter().copied().collect();
        let partitions = host.layout().partitions;
        let sources = streams.iter().map(|stream| {
            let topic = host.options.commands_topic(&stream.of);
            let (of, limits) = (stream.of.clone(), Limits::default());
            let reader = CommandReader::new(of, &topic, stream.partition, partitions, stream.number, limits);
            let next = next.get(&stream.number).copied().unwrap_or(0);
            let answered = host.copy.progress(stream.number);
            let last = answered.last_command.filter(|_| next > 0 && answered.next_command_offset == next);
            Source {
                reader,
                stream: stream.number,
                topic,
                partition: stream.partition,
                next,
                last,
                again: last.is_some(),
                newest: None,
            }
        });
        let sources: Vec<Source> = sources.collect();
        let config = host.feed_config();
        let consumer = consumer(&config, &sources).map_err(LogError::Fatal)?;
        let feed = inbox.begin_feed();
        let ending = Arc::new(AtomicBool::new(false));
        let problem = Arc::new(Mutex::new(None));
        let work = Work { sources, config, consumer, inbox, awaited, feed, ending: Arc::clone(&ending) };
        let told = Arc::clone(&problem);
        let thread = thread::start("lane-feed", move || {
            let inbox = Arc::clone(&work.inbox);
            let tell = |why: String| {
                tracing::error!("{why}");
                *told.lock().expect("no panic while held") = Some(why.clone());
                inbox.tell(crate::lane::inbox::Control::Broken(why));
            };
            let _guard = OnPanic::tell(&tell);
            if let Err(why) = work.run() {
                tell(why);
            }
        })?;
        Ok(Self { ending, problem, thread: Some(thread) })
    }

    /// Why it ended by itself, if it did.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().expect("no panic while held").clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // It may wait for room in the inbox, which a new feed gives; otherwise it ends at its next look.
        drop(self.thread.take());
    }
}

/// A partition of commands.
struct Source {
    reader: CommandReader,
    stream: u32,
    topic: String,
    partition: u32,
    /// Offset of the next command.
    next: u64,
    /// The fingerprint of the one before it, if there was one.
    last: Option<u64>,
    /// That one is to be read again.
    again: bool,
    /// Place of the newest command among those that were just read.
    newest: Option<usize>,
}

impl Source {
    /// Where reading begins.
    fn begin(&self) -> u64 {
        self.next - u64::from(self.last.is_some())
    }

    /// Takes a record; `None` if it is the one that was read last.
    fn take(&mut self, offset: u64, record: &RecordView<'_>, now_ms: i64) -> Result<Option<Command>, String> {
        let command = self.reader.read(offset, record, now_ms);
        if std::mem::take(&mut self.again) {
            if offset + 1 == self.next && Some(fingerprint_of(&command)) == self.last {
                return Ok(None);
            }
            return Err(format!(
                "{} partition {} has command {} at offset {offset}, but another one was at {} and is gone",
                self.topic,
                self.partition,
                command.command_id,
                self.next - 1
            ));
        }
        self.next = offset + 1;
        Ok(Some(command))
    }
}

fn fingerprint_of(command: &Command) -> u64 {
    fingerprint(command.aggregate_id.as_str(), command.command_id.as_str(), command.body_hash)
}

fn consumer(config: &ClientConfig, sources: &[Source]) -> Result<Consumer, String> {
    let assigned = sources.iter().map(|source| Assigned {
        topic: source.topic.clone(),
        partition: source.partition,
        offset: i64::try_from(source.begin()).unwrap_or(i64::MAX),
    });
    Consumer::new(config, assigned.collect()).map_err(|e| format!("commands cannot be read: {e}"))
}

/// Why a poll ended.
enum Trouble {
    Kafka(usize, KafkaError),
    Other(String),
}

struct Work {
    sources: Vec<Source>,
    config: ClientConfig,
    consumer: Consumer,
    inbox: Arc<Inbox>,
    awaited: Arc<Awaited>,
    feed: u64,
    ending: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) -> Result<(), String> {
        let mut absent = Absent::default();
        let (mut heard, mut asked) = (Stopwatch::start(), Stopwatch::start());
        while !self.ending.load(Ordering::Acquire) {
            let mut submissions: Vec<Submission> = Vec::new();
            let now = clock::now_ms();
            let (sources, awaited) = (&mut self.sources, &self.awaited);
            let each = |place: usize, offset: i64, record: &RecordView<'_>| {
                let (Some(source), Ok(offset)) = (sources.get_mut(place), u64::try_from(offset)) else {
                    return Ok(());
                };
                absent.found(place);
                if let Some(command) = source.take(offset, record, now).map_err(Trouble::Other)? {
                    source.newest = Some(submissions.len());
                    let reply = Reply::Fed(Arc::clone(awaited), source.stream, offset);
                    submissions.push(Submission { command, reply });
                }
                Ok(())
            };
            let polled = self.consumer.poll(PATIENCE, each, Trouble::Kafka);
            for source in &mut self.sources {
                if let Some(at) = source.newest.take() {
                    source.last = Some(fingerprint_of(&submissions[at].command));
                }
            }
            if !submissions.is_empty() && !self.inbox.feed(self.feed, submissions) {
                return Ok(());
            }
            match polled {
                Ok(0) if self.is_overdue(&heard, &asked) => {
                    self.begin_anew()?;
                    asked = Stopwatch::start();
                }
                Ok(0) => {}
                Ok(_) => heard = Stopwatch::start(),
                Err(Trouble::Other(what)) => return Err(lost(&what)),
                Err(Trouble::Kafka(place, error)) => {
                    let at = self.sources.get(place).map_or(0, Source::begin);
                    let at = i64::try_from(at).unwrap_or(i64::MAX);
                    absent.judge(&self.consumer, (place, at), &error).map_err(|what| lost(&what))?;
                    self.begin_anew()?;
                }
            }
        }
        Ok(())
    }

    /// Whether it is time to ask other brokers for commands, which have not come for a while and were not looked for lately.
    fn is_overdue(&self, heard: &Stopwatch, asked: &Stopwatch) -> bool {
        let silent = heard.elapsed().min(asked.elapsed());
        let awaited = || self.sources.iter().any(|one| self.awaited.is_awaited(one.stream, one.next));
        silent > IDLE || (silent > OVERDUE && awaited())
    }

    /// Goes on with a new consumer, which begins with a broker drawn at random. What was read last is read again, to see
    /// that it is still there.
    fn begin_anew(&mut self) -> Result<(), String> {
        self.sources.iter_mut().for_each(|source| source.again = source.last.is_some());
        self.consumer = consumer(&self.config, &self.sources)?;
        Ok(())
    }
}

/// Why commands cannot be read on, and what to do.
fn lost(what: &str) -> String {
    // Of a missing right it is said already what to do.
    let lost = match advice(what) {
        "" => {
            ". If the topic was truncated or made anew, commands may be missing that were never answered: see docs/kafka.md"
        }
        _ => "",
    };
    format!("commands cannot be read on: {what}{lost}")
}
