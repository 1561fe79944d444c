//! Who owns which lane, and where that host is reached: read from the topic of lanes, so that there is no other service.
//! What it says may be old: whoever follows it is told by the host there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Host;
use super::ffi::consumer::{Assigned, Consumer};
use super::records::RecordView;
use super::records::owner::Owner;
use crate::clock::Stopwatch;
use crate::log::LogError;

/// Longest wait before it is looked whether to end.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time after which another consumer goes on, which begins with a broker drawn at random: one that is cut off from its
/// controller tells nothing new, and librdkafka asks the broker it reads from who leads.
const ANEW: Duration = Duration::from_secs(10);
/// The beginning of a partition, wherever that is, in librdkafka's words.
const BEGINNING: i64 = -2;

/// The owner of each lane, as far as it is known.
#[derive(Debug)]
pub struct Directory {
    owners: Arc<Mutex<Vec<Option<Owner>>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Directory {
    /// Begins to read.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there can be no consumer, or no thread for it.
    pub fn start(host: &Host) -> Result<Self, LogError> {
        let fatal = |e: &dyn std::fmt::Display| LogError::Fatal(format!("the owners of lanes cannot be read: {e}"));
        let lanes = host.layout().lanes;
        let topic = host.options.lanes_topic();
        let assigned = (0..lanes).map(|partition| Assigned { topic: topic.clone(), partition, offset: BEGINNING });
        let (beginning, config) = (assigned.collect::<Vec<_>>(), host.feed_config());
        let mut consumer = Consumer::new(&config, beginning.clone()).map_err(|e| fatal(&e))?;
        let owners = Arc::new(Mutex::new(vec![None; lanes as usize]));
        let ending = Arc::new(AtomicBool::new(false));
        let (known, end) = (Arc::clone(&owners), Arc::clone(&ending));
        let work = move || {
            let (mut next, mut asked) = (beginning.clone(), Stopwatch::start());
            while !end.load(Ordering::Acquire) {
                let each = |lane: usize, offset: i64, record: &RecordView<'_>| {
                    if let Some(one) = next.get_mut(lane) {
                        one.offset = offset + 1;
                    }
                    if let Some(Ok(owner)) = Owner::read(record)
                        && let Some(slot) = known.lock().expect("no panic while held").get_mut(lane)
                    {
                        *slot = Some(owner);
                    }
                    Ok(())
                };
                if let Err(why) = consumer.poll(PATIENCE, each, |_, error| error) {
                    tracing::warn!("the owners of lanes cannot be read, and are read from the beginning: {why}");
                    std::thread::park_timeout(PATIENCE);
                    next.clone_from(&beginning);
                } else if asked.elapsed() < ANEW {
                    continue;
                }
                asked = Stopwatch::start();
                match Consumer::new(&config, next.clone()) {
                    Ok(anew) => consumer = anew,
                    Err(why) => tracing::warn!("the owners of lanes cannot be read: {why}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("directory".into()).spawn(work).map_err(|e| fatal(&e))?;
        Ok(Self { owners, ending, thread: Some(thread) })
    }

    /// Where the owner of a lane is reached.
    pub fn address(&self, lane: u32) -> Option<String> {
        let owners = self.owners.lock().expect("no panic while held");
        owners.get(lane as usize)?.as_ref()?.address.clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic is in the process's log.
            drop(thread.join());
        }
    }
}
