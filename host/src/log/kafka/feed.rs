//! The commands of a lane, read from their topics in the order of their offsets, without holes, into the lane's inbox.
//!
//! Invariant (R5): a feed begins at the offsets that the log of events says come next, after every take-over anew. Where
//! commands are missing there, nothing is guessed: the lane stops and says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Host;
use super::ffi::advice;
use super::ffi::consumer::{Assigned, Consumer};
use super::lane::Stream;
use super::records::command::{CommandReader, Limits};
use crate::clock;
use crate::engine::{Awaited, Reply, Submission};
use crate::lane::inbox::Inbox;
use crate::log::LogError;

/// Longest wait for a record before it is looked whether the feed is to end.
const PATIENCE: Duration = Duration::from_millis(100);

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
        let mut readers = Vec::new();
        let mut assigned = Vec::new();
        for stream in streams {
            let topic = host.options.commands_topic(&stream.of);
            let offset = next.get(&stream.number).copied().unwrap_or(0);
            readers.push(CommandReader::new(
                stream.of.clone(),
                &topic,
                stream.partition,
                partitions,
                stream.number,
                Limits::default(),
            ));
            assigned.push(Assigned { topic, partition: stream.partition, offset: i64::try_from(offset).unwrap_or(0) });
        }
        let numbers: Vec<u32> = streams.iter().map(|stream| stream.number).collect();
        let fatal = |e: super::ffi::KafkaError| LogError::Fatal(format!("commands cannot be read: {e}"));
        let consumer = Consumer::new(&host.feed_config(), assigned).map_err(fatal)?;
        let feed = inbox.begin_feed();
        let ending = Arc::new(AtomicBool::new(false));
        let problem = Arc::new(Mutex::new(None));
        let work = Work { readers, numbers, consumer, inbox, awaited, feed, ending: Arc::clone(&ending) };
        let told = Arc::clone(&problem);
        let thread = std::thread::Builder::new().name("lane-feed".into()).spawn(move || {
            let inbox = Arc::clone(&work.inbox);
            if let Err(why) = work.run() {
                tracing::error!("{why}");
                *told.lock().expect("no panic while held") = Some(why.clone());
                inbox.tell(crate::lane::inbox::Control::Broken(why));
            }
        });
        let thread =
            thread.map_err(|e| LogError::Fatal(format!("cannot start a thread: {e}. Raise the limit of threads")))?;
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

struct Work {
    readers: Vec<CommandReader>,
    numbers: Vec<u32>,
    consumer: Consumer,
    inbox: Arc<Inbox>,
    awaited: Arc<Awaited>,
    feed: u64,
    ending: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) -> Result<(), String> {
        while !self.ending.load(Ordering::Acquire) {
            let mut submissions = Vec::new();
            let now = clock::now_ms();
            let (readers, numbers, awaited) = (&self.readers, &self.numbers, &self.awaited);
            let each = |place: usize, offset: i64, record: &super::records::RecordView<'_>| {
                let (Some(reader), Some(&stream), Ok(offset)) =
                    (readers.get(place), numbers.get(place), u64::try_from(offset))
                else {
                    return Ok(());
                };
                let command = reader.read(offset, record, now);
                submissions.push(Submission { command, reply: Reply::Fed(Arc::clone(awaited), stream, offset) });
                Ok(())
            };
            let fail = |_: usize, what: String| {
                // Of a missing right it is said already what to do.
                let lost = match advice(&what) {
                    "" => {
                        ". If the topic was truncated or made anew, commands may be missing that were never answered: see \
                         docs/kafka.md"
                    }
                    _ => "",
                };
                format!("commands cannot be read on: {what}{lost}")
            };
            self.consumer.poll(PATIENCE, each, fail)?;
            if !submissions.is_empty() && !self.inbox.feed(self.feed, submissions) {
                return Ok(());
            }
        }
        Ok(())
    }
}
