//! What was put and is not on disk yet. Lanes put and read; one thread takes generations and writes them.
//!
//! Two generations exist at most: the open one gathers puts, newer states replacing older ones of the same aggregate;
//! the other is being written. A generation becomes durable as a whole, so its marks are never ahead of its states.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::codec::{self, Progress};
use super::{Full, Key, Mark, Stored};
use crate::log::Lsn;

/// Bytes queued at most, over both generations.
const BYTES_MAX: usize = 64 << 20;
/// Aggregates queued at most, over both generations.
const COUNT_MAX: usize = 1 << 18;
/// Bytes at which the open generation is written without waiting for more.
const WRITE_BYTES: usize = 8 << 20;
/// Longest time that something waits to be written: small generations cost more merging than they are worth.
const WRITE_AFTER: Duration = Duration::from_secs(2);

/// Puts that become durable together.
#[derive(Debug, Default)]
pub struct Generation {
    /// The newest state of each aggregate put.
    states: HashMap<Vec<u8>, Arc<Stored>>,
    /// The furthest mark of each partition put.
    marks: BTreeMap<u32, Mark>,
    bytes: usize,
}

impl Generation {
    fn is_empty(&self) -> bool {
        self.states.is_empty() && self.marks.is_empty()
    }

    /// The entries of the tree, in order of their keys. `seen` is the last block that the store saw before.
    pub fn entries(&self, seen: Option<Lsn>) -> (Vec<(Vec<u8>, Vec<u8>)>, Option<Lsn>) {
        let seen = self.states.values().map(|stored| stored.last).max().max(seen);
        let mut entries = Vec::with_capacity(self.states.len() + self.marks.len() + 1);
        for mark in self.marks.values() {
            let key = codec::mark_key(mark.partition);
            let value = codec::encode_mark(&key, mark);
            entries.push((key, value));
        }
        if let Some(seen) = seen {
            let key = codec::seen_key();
            let value = codec::encode_seen(&key, seen);
            entries.push((key, value));
        }
        entries.extend(self.states.iter().map(|(key, stored)| (key.clone(), codec::encode(key, stored))));
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (entries, seen)
    }
}

/// What [`Queue::list`] found.
pub enum Queued {
    /// Versions of queued aggregates by key.
    Versions(BTreeMap<Vec<u8>, u64>),
    /// The store stopped, and why.
    Stopped(String),
}

/// What the writer is to do next.
pub enum Task {
    /// Write these; then call [`Queue::written`].
    Write(Arc<Generation>),
    /// Nothing was put for a while.
    Idle,
    /// The store is dropped.
    Stop,
}

#[derive(Debug)]
struct State {
    open: Generation,
    writing: Option<Arc<Generation>>,
    /// The furthest mark put and the furthest mark durable of each partition.
    marks_put: Vec<Mark>,
    marks_durable: Vec<Mark>,
    seen: Option<Lsn>,
    /// Numbers the open generation; everything below `durable` is on disk.
    number: u64,
    durable: u64,
    /// Write up to this number without waiting for more.
    flush: u64,
    stop: bool,
    stopped: Option<String>,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Something was put, or a flush or the end is wanted.
    put: Condvar,
    /// Something became durable, or the store stopped.
    done: Condvar,
}

impl Queue {
    /// An empty queue before a store that is as far as `progress`.
    pub fn new(partitions: u32, progress: Progress) -> Self {
        let mut marks: Vec<Mark> = (0..partitions).map(|partition| Mark { partition, ..Mark::default() }).collect();
        for mark in progress.marks {
            if let Some(slot) = marks.get_mut(mark.partition as usize) {
                *slot = mark;
            }
        }
        let state = State {
            open: Generation::default(),
            writing: None,
            marks_put: marks.clone(),
            marks_durable: marks,
            seen: progress.seen,
            number: 1,
            durable: 1,
            flush: 0,
            stop: false,
            stopped: None,
        };
        Self { state: Mutex::new(state), put: Condvar::new(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable mark of each partition.
    pub fn marks(&self) -> Vec<Mark> {
        self.lock().marks_durable.clone()
    }

    /// A queued state.
    ///
    /// # Errors
    /// Why the store stopped, if it did: then nothing it says can be trusted.
    pub fn get(&self, key: &[u8]) -> Result<Option<Arc<Stored>>, String> {
        let state = self.lock();
        if let Some(reason) = &state.stopped {
            return Err(reason.clone());
        }
        let writing = || state.writing.as_ref().and_then(|generation| generation.states.get(key));
        Ok(state.open.states.get(key).or_else(writing).cloned())
    }

    /// Versions of queued aggregates in a range: the first `limit` at least.
    pub fn list(&self, range: &Range<Vec<u8>>, limit: usize) -> Queued {
        let state = self.lock();
        if let Some(reason) = &state.stopped {
            return Queued::Stopped(reason.clone());
        }
        let mut versions = BTreeMap::new();
        // Older first: newer ones replace them.
        let generations = state.writing.as_deref().into_iter().chain([&state.open]);
        for (key, stored) in generations.flat_map(|generation| &generation.states).filter(|(k, _)| range.contains(*k)) {
            versions.insert(key.clone(), stored.version);
            if versions.len() > limit {
                versions.pop_last();
            }
        }
        Queued::Versions(versions)
    }

    /// Takes states and marks if there is room.
    ///
    /// # Errors
    /// [`Full`], with the batch, if there is none.
    #[allow(clippy::result_large_err, reason = "the batch is handed back so that it is not lost")]
    pub fn put(&self, batch: Vec<(Key, Stored)>, marks: Vec<Mark>) -> Result<(), Full> {
        let bytes: usize = batch.iter().map(|(key, stored)| cost(key_bytes(key), stored)).sum();
        let mut state = self.lock();
        if state.stopped.is_some() {
            return Ok(());
        }
        let queued = state.writing.as_ref().map_or((0, 0), |generation| (generation.bytes, generation.states.len()));
        let (queued_bytes, queued_count) = (queued.0 + state.open.bytes, queued.1 + state.open.states.len());
        let room = queued_bytes + bytes <= BYTES_MAX && queued_count + batch.len() <= COUNT_MAX;
        if queued_count > 0 && !room {
            return Err(Full { batch, marks });
        }
        for (key, stored) in batch {
            let key = codec::key(key.aggregate_type.as_str(), key.aggregate_id.as_str());
            let key_bytes = key.len();
            state.open.bytes += cost(key_bytes, &stored);
            if let Some(older) = state.open.states.insert(key, Arc::new(stored)) {
                state.open.bytes -= cost(key_bytes, &older);
            }
        }
        for mark in marks {
            let Some(furthest) = state.marks_put.get_mut(mark.partition as usize) else { continue };
            if mark.position > furthest.position {
                *furthest = mark;
                state.open.marks.insert(mark.partition, mark);
            }
        }
        drop(state);
        self.put.notify_one();
        Ok(())
    }

    /// Has what is queued written without waiting for more.
    fn hurry(&self, state: &mut State) {
        if !state.open.is_empty() {
            state.flush = state.number;
            self.put.notify_one();
        }
    }

    /// Waits until something became durable, at most `at_most`.
    pub fn wait_for_room(&self, at_most: Duration) {
        let mut state = self.lock();
        self.hurry(&mut state);
        let durable = state.durable;
        let waiting = |state: &mut State| {
            let queued = state.writing.is_some() || !state.open.is_empty();
            queued && state.durable == durable && state.stopped.is_none()
        };
        drop(self.done.wait_timeout_while(state, at_most, waiting).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until everything put so far is durable.
    ///
    /// # Errors
    /// Why the store stopped, if it did.
    pub fn flush(&self) -> Result<(), String> {
        let mut state = self.lock();
        // An empty open generation has nothing to wait for but the one before it.
        let wanted = if state.open.is_empty() { state.number } else { state.number + 1 };
        self.hurry(&mut state);
        let waiting = |state: &mut State| state.durable < wanted && state.stopped.is_none();
        let state = self.done.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        match &state.stopped {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Waits for the writer's next task, at most `idle` if nothing is put.
    pub fn next_task(&self, idle: Duration) -> Task {
        let state = self.lock();
        let nothing = |state: &mut State| state.open.is_empty() && !state.stop;
        let (state, _) = self.put.wait_timeout_while(state, idle, nothing).unwrap_or_else(PoisonError::into_inner);
        let more = |state: &mut State| {
            state.open.bytes < WRITE_BYTES && state.flush < state.number && !state.stop && !state.open.is_empty()
        };
        let waited = self.put.wait_timeout_while(state, WRITE_AFTER, more);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return Task::Stop;
        }
        if state.open.is_empty() {
            return Task::Idle;
        }
        let generation = Arc::new(std::mem::take(&mut state.open));
        state.writing = Some(Arc::clone(&generation));
        state.number += 1;
        Task::Write(generation)
    }

    /// The last block the store has seen.
    pub fn seen(&self) -> Option<Lsn> {
        self.lock().seen
    }

    /// The generation that was being written is durable.
    pub fn written(&self, seen: Option<Lsn>) {
        let mut state = self.lock();
        if let Some(generation) = state.writing.take() {
            for mark in generation.marks.values() {
                state.marks_durable[mark.partition as usize] = *mark;
            }
        }
        state.seen = seen;
        state.durable = state.number;
        self.done.notify_all();
    }

    /// The store cannot go on: what is queued is dropped, and everything is read from the log from now on.
    pub fn stopped(&self, reason: String) {
        let mut state = self.lock();
        state.open = Generation::default();
        state.writing = None;
        state.stopped.get_or_insert(reason);
        self.done.notify_all();
    }

    /// Whether the store stopped or is about to be dropped.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.stop || state.stopped.is_some()
    }

    /// Tells the writer to stop. What is queued is not written: whoever wants it durable flushes first.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.put.notify_all();
    }
}

fn key_bytes(key: &Key) -> usize {
    key.aggregate_type.as_str().len() + 1 + key.aggregate_id.as_str().len()
}

/// Bytes a queued state takes, roughly.
fn cost(key_bytes: usize, stored: &Stored) -> usize {
    128 + key_bytes + stored.state.len() + stored.recent.len() * size_of::<super::Recent>()
}
