//! Commands that come over HTTP are appended to the log of commands like anybody's, and answered by whoever owns their
//! lane (R7). Nothing is forwarded: an append can be repeated without harm, as its command id is fixed before it.
//!
//! One thread appends: whatever waits goes out together, so that an append costs one round trip however many there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Host;
use super::ffi::producer::Producer;
use super::records::OwnedRecord;
use super::records::append::command_record;
use crate::clock::Stopwatch;
use crate::engine::{Appended, Awaited, Reply, Submission, Unanswered};
use crate::log::LogError;
use crate::log::thread::{self, OnPanic};
use crate::message::Command;

/// Commands that wait to be appended.
const WAITING_MAX: usize = 8_192;
/// Commands that are appended together.
const TOGETHER_MAX: usize = 4_096;
/// Least time between two looks at what topics take.
const LOOKED: Duration = Duration::from_secs(1);
/// Time for an append.
const APPEND: Duration = Duration::from_secs(20);

/// The way of commands from this host into their topics.
#[derive(Debug)]
pub struct Intake {
    to: Mutex<Option<mpsc::Sender<Submission>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Intake {
    /// Starts it. `awaited`: where each lane's answers are waited for. `broken` hears if nothing can be appended any more.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there can be no thread.
    pub fn start(
        host: Arc<Host>,
        awaited: Vec<Arc<Awaited>>,
        broken: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, LogError> {
        let (to, submissions) = mpsc::channel(WAITING_MAX);
        let work = Work { host, awaited, producer: None, topics: Vec::new(), looked: Stopwatch::start() };
        let work = move || {
            let _guard = OnPanic::tell(broken);
            work.run(submissions);
        };
        let thread = thread::start("append", work)?;
        Ok(Self { to: Mutex::new(Some(to)), thread: Mutex::new(Some(thread)) })
    }

    /// Where commands are handed in; none once it is closed.
    pub fn sender(&self) -> Option<mpsc::Sender<Submission>> {
        self.to.lock().expect("no panic while held").clone()
    }

    /// Appends what waits, and takes no more.
    pub fn close(&self) {
        drop(self.to.lock().expect("no panic while held").take());
        if let Some(thread) = self.thread.lock().expect("no panic while held").take() {
            // A panic is in the process's log.
            drop(thread.join());
        }
    }
}

struct Work {
    host: Arc<Host>,
    awaited: Vec<Arc<Awaited>>,
    producer: Option<Producer>,
    /// The topics that the producer knows.
    topics: Vec<String>,
    /// Since the topics were asked what they take.
    looked: Stopwatch,
}

fn appended(command: Command, offset: u64) -> Appended {
    let Command { aggregate_type: of, aggregate_id: id, command_id, .. } = command;
    Appended { of, id, command_id, offset }
}

/// What became of commands, by their marks. Of one that is nowhere in it nothing is known.
#[derive(Default)]
struct Sent {
    offsets: HashMap<u32, i64>,
    too_large: HashMap<u32, String>,
}

impl Work {
    fn run(mut self, mut submissions: mpsc::Receiver<Submission>) {
        let mut together = Vec::new();
        while submissions.blocking_recv_many(&mut together, TOGETHER_MAX) > 0 {
            self.append(std::mem::take(&mut together));
        }
    }

    fn append(&mut self, together: Vec<Submission>) {
        let mut sent = self.produce(&together).unwrap_or_else(|why| {
            tracing::warn!("commands could not be sent: {why}");
            self.producer = None;
            Sent::default()
        });
        let layout = self.host.layout();
        for (mark, Submission { command, reply }) in (0..).zip(together) {
            if let Some(why) = sent.too_large.remove(&mark) {
                reply.send(Err(Unanswered::TooLarge(why)));
                continue;
            }
            let offset = sent.offsets.get(&mark).and_then(|offset| u64::try_from(*offset).ok());
            let slot = layout.of(&command.aggregate_type).map(|one| one.slot);
            let (Some(offset), Some(slot)) = (offset, slot) else {
                // It may be in the topic all the same: the same command id makes a second try harmless.
                reply.send(Err(Unanswered::Interrupted));
                continue;
            };
            if let Reply::Taken(to) = reply {
                drop(to.send(Ok(())));
                continue;
            }
            let lane = command.partition % layout.lanes;
            let stream = slot * layout.partitions + command.partition;
            match self.awaited.get(lane as usize) {
                Some(awaited) if self.host.placement.is_ours(lane) => {
                    awaited.expect(stream, offset, reply, Some(Box::new(appended(command, offset))));
                    if !self.host.placement.is_ours(lane) {
                        awaited.forget();
                    }
                }
                _ => reply.send(Err(Unanswered::Elsewhere(Box::new(appended(command, offset))))),
            }
        }
    }

    /// Appends all of them that fit.
    fn produce(&mut self, together: &[Submission]) -> Result<Sent, String> {
        let unknown = together.iter().map(|one| self.topic(one)).find(|topic| !self.topics.contains(topic));
        if let Some(topic) = unknown {
            self.topics.push(topic);
            self.producer = None;
            return self.produce(together);
        }
        if self.producer.is_none() {
            self.look();
            let config = self.host.append_config(&self.topics);
            self.producer = Some(Producer::new(&config, &self.topics).map_err(|e| e.to_string())?);
        }
        let form = self.host.options.value_form;
        let records: Vec<OwnedRecord> = together.iter().map(|one| command_record(&one.command, form)).collect();
        let mut pairs = together.iter().zip(&records);
        if self.looked.elapsed() > LOOKED && pairs.any(|(one, record)| self.too_large(one, record).is_some()) {
            // It may take more by now.
            self.look();
        }
        let Some(producer) = &self.producer else { return Err("there is no producer".into()) };
        let (mut handed, mut too_large) = (0, HashMap::new());
        for ((mark, one), record) in (0..).zip(together).zip(&records) {
            if let Some(why) = self.too_large(one, record) {
                too_large.insert(mark, why);
                continue;
            }
            match self.hand_over(producer, mark, one, record) {
                Ok(()) => handed += 1,
                // This one alone is not appended.
                Err(why) => tracing::warn!(command = %one.command.command_id, "a command was not appended: {why}"),
            }
        }
        let delivered = producer.flush(APPEND);
        if let Some(problem) = delivered.problem {
            tracing::warn!("a command was not appended: {problem}");
        }
        if delivered.count != handed {
            // What is still on its way would be taken for one of the next commands: it goes with its producer. A new one
            // begins with a look at what the topics take.
            self.producer = None;
        }
        Ok(Sent { offsets: delivered.last, too_large })
    }

    /// Why a command's topic does not take its record, as far as that is known.
    fn too_large(&self, one: &Submission, record: &OwnedRecord) -> Option<String> {
        let (bytes, most) = (record.bytes(), self.host.bounds.of(&self.topic(one)));
        (bytes > most).then(|| {
            format!(
                "the command has {bytes} bytes as a record, and its topic takes {most} (max.message.bytes): send less"
            )
        })
    }

    fn topic(&self, one: &Submission) -> String {
        self.host.options.commands_topic(&one.command.aggregate_type)
    }

    fn look(&mut self) {
        self.looked = Stopwatch::start();
        if let Err(error) = self.host.bounds.look(&self.host.cluster, &self.topics) {
            tracing::warn!("what topics take is not known anew: {error}");
        }
    }

    fn hand_over(&self, producer: &Producer, mark: u32, one: &Submission, record: &OwnedRecord) -> Result<(), String> {
        let names = record.headers.iter().map(|(name, _)| std::ffi::CString::new(&**name));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let headers = names.iter().map(std::ffi::CString::as_c_str).zip(record.headers.iter().map(|(_, v)| &v[..]));
        let topic = self.topic(one);
        let at = self.topics.iter().position(|one| *one == topic).unwrap_or(usize::MAX);
        let (key, value) = (&record.key, &record.value);
        producer.produce(at, one.command.partition, mark, key, value, headers).map_err(|e| e.to_string())
    }
}
