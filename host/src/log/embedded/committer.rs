//! The thread that writes: it takes all that waits, gives each block its address, and commits them with one sync.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::segment::format::IndexEntry;
use super::super::segment::{Finished, Writer};
use super::super::{Block, BlockBuilder, Committed, LogError, Lsn, OnCommitted, Term};

/// After so long without work the log's end is written down, so that even its last group can be checked.
const IDLE: Duration = Duration::from_secs(1);

/// Who waits for a block.
pub enum Answer {
    /// A lane's callback, and its sign that a block is on its way.
    Lane { on: Arc<OnCommitted>, in_flight: Arc<AtomicBool> },
    /// A thread that takes the lane.
    Taker(SyncSender<Result<Block, LogError>>),
}

/// A block on its way. Answered when it is dropped, if it was not before.
pub struct Submission {
    pub lane: u32,
    pub lanes: u32,
    pub ownership: u64,
    pub kind: u8,
    /// `None` for an owner's record, whose term is its own address.
    pub term: Option<Term>,
    pub index: Vec<IndexEntry>,
    pub block: Option<BlockBuilder>,
    pub answer: Option<Answer>,
}

impl Submission {
    fn answer(mut self, result: Result<Block, LogError>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<Block, LogError>) {
        match self.answer.take() {
            Some(Answer::Lane { on, in_flight }) => {
                // Cleared first: the callback may hand over the next block.
                in_flight.store(false, Ordering::Release);
                on(Committed { term: self.term.unwrap_or_default(), result: result.map(Some) });
            }
            // The taker may have given up waiting.
            Some(Answer::Taker(to)) => drop(to.send(result)),
            None => {}
        }
    }

    /// Takes back a block that was not accepted: the caller learns it from the error it gets.
    fn refuse(mut self, error: LogError) -> LogError {
        self.answer = None;
        error
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.tell(Err(LogError::Fatal("the log's thread ended before the commit: see the process's log".to_owned())));
    }
}

/// What lanes and the committing thread share.
#[derive(Debug)]
pub struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    waiting: VecDeque<Submission>,
    /// Count of ownerships of each lane.
    ownerships: Vec<u64>,
    closing: bool,
    /// Why nothing is accepted any more.
    stopped: Option<LogError>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).field("stopped", &self.stopped).finish()
    }
}

impl Shared {
    pub fn new(lanes: u32) -> Self {
        let queue =
            Queue { waiting: VecDeque::new(), ownerships: vec![0; lanes as usize], closing: false, stopped: None };
        Self { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new ownership of a lane: nothing of an earlier one gets an address from now on.
    ///
    /// # Errors
    /// Why nothing is accepted any more.
    pub fn fence(&self, lane: u32) -> Result<u64, LogError> {
        let mut queue = self.lock();
        queue.check_open()?;
        let count = &mut queue.ownerships[lane as usize];
        *count += 1;
        Ok(*count)
    }

    /// Hands a block to the committing thread.
    ///
    /// # Errors
    /// [`LogError::Fenced`] or why nothing is accepted any more; the block is not answered then.
    pub fn submit(&self, submission: Submission) -> Result<(), LogError> {
        let mut queue = self.lock();
        let fit = queue.check_open().and_then(|()| queue.check_owner(&submission));
        if let Err(error) = fit {
            drop(queue);
            return Err(submission.refuse(error));
        }
        queue.waiting.push_back(submission);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Lets the thread end when it has committed what waits.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for work; `None` when there will be no more.
    fn next(&self, writer: &mut Writer) -> Option<VecDeque<Submission>> {
        let mut queue = self.lock();
        loop {
            if !queue.waiting.is_empty() {
                return Some(std::mem::take(&mut queue.waiting));
            }
            if queue.closing || queue.stopped.is_some() {
                return None;
            }
            if writer.end_is_noted() {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, timeout) = self.wake.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if timeout.timed_out() && queue.waiting.is_empty() {
                drop(queue);
                if let Err(error) = writer.note_end() {
                    self.stop(&error);
                }
                queue = self.lock();
            }
        }
    }

    /// Refuses everything from now on.
    fn stop(&self, error: &LogError) {
        tracing::error!(%error, "the log accepts nothing more");
        let mut queue = self.lock();
        queue.stopped.get_or_insert_with(|| error.clone());
    }
}

impl Queue {
    fn check_open(&self) -> Result<(), LogError> {
        match &self.stopped {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(LogError::Fatal("the log is closed: the process is ending".to_owned())),
            None => Ok(()),
        }
    }

    fn check_owner(&self, submission: &Submission) -> Result<(), LogError> {
        let lane = submission.lane;
        if self.ownerships[lane as usize] == submission.ownership { Ok(()) } else { Err(LogError::Fenced { lane }) }
    }
}

/// Refuses and answers everything when the thread ends, also by a panic.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.0.lock();
            let why = if std::thread::panicking() { "the log's thread panicked" } else { "the log is closed" };
            queue.stopped.get_or_insert(LogError::Fatal(why.to_owned()));
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
    }
}

/// The committing thread.
pub fn run(shared: &Shared, mut writer: Writer, finished: &SyncSender<Finished>) {
    let _ending = Ending(shared);
    while let Some(mut batch) = shared.next(&mut writer) {
        while !batch.is_empty() {
            if let Err(error) = commit_some(&mut writer, &mut batch, finished) {
                if matches!(error, LogError::Fatal(_)) {
                    shared.stop(&error);
                }
                batch.drain(..).for_each(|submission| submission.answer(Err(error.clone())));
            }
        }
    }
    if let Err(error) = writer.note_end() {
        tracing::error!(%error, "the log was closed, but its end could not be written down");
    }
}

/// Commits as many blocks from the front as go into one segment, at least one. On an error none of the batch is in
/// the log for certain, and all of it is left in `batch`.
fn commit_some(
    writer: &mut Writer,
    batch: &mut VecDeque<Submission>,
    finished: &SyncSender<Finished>,
) -> Result<(), LogError> {
    let Some(first) = batch.front() else { return Ok(()) };
    if let Some(finished_segment) = writer.make_room(first.bytes())? {
        // Waits if the one before is not done yet; a thread that is gone leaves the index in memory.
        let _ = finished.send(finished_segment);
    }
    let durable = writer.end();
    let mut end = durable;
    let mut group = Vec::new();
    for submission in batch.iter_mut() {
        if !group.is_empty() && end.0 + submission.bytes() > writer.limit().0 {
            break;
        }
        let block = submission.seal(end, durable);
        end = block.end();
        group.push((block, std::mem::take(&mut submission.index)));
    }
    writer.append(&group)?;
    for (submission, (block, _)) in batch.drain(..group.len()).zip(group) {
        submission.answer(Ok(block));
    }
    Ok(())
}

impl Submission {
    fn bytes(&self) -> u64 {
        self.block.as_ref().map_or(0, |block| block.len() as u64)
    }

    fn seal(&mut self, lsn: Lsn, durable: Lsn) -> Block {
        let block = self.block.take().expect("a submission is sealed once");
        block.seal(self.kind, self.lane, self.lanes, lsn, durable, self.term.map_or(lsn.0, |term| term.0))
    }
}
