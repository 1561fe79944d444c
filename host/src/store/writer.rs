//! The two threads behind the store: one writes generations, one merges what was written into the tree below. They are
//! apart so that a long merge does not hold up the marks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::guard::Guard;
use super::queue::{Queue, Task};
use super::tree::{Cause, Tree, TreeError};

/// A start that lived this long without writing has proved itself too.
const IDLE: Duration = Duration::from_secs(5);
/// How often a writer that waits for merging looks again.
const MERGE_WAIT: Duration = Duration::from_millis(100);

/// What a thread does until the store ends.
type Loop = fn(&Tree, &Queue, &Guard, &Merges);

/// The threads; dropping it stops and joins them.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    merges: Arc<Merges>,
    threads: Vec<JoinHandle<()>>,
}

/// Tells the merging thread that something was written, and the writing thread that something was merged.
#[derive(Debug, Default)]
struct Merges {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Merges {
    /// Something was written, or everything ends.
    fn wake(&self, end: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (true, state.1 || end);
        self.changed.notify_all();
    }

    /// Waits for [`Self::wake`]; false if everything ends.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut (bool, bool)| !state.0 && !state.1;
        let mut state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        state.0 = false;
        !state.1
    }

    /// Gives the merging thread a moment.
    fn pause(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(state, MERGE_WAIT).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Writer {
    /// Starts both threads.
    ///
    /// # Errors
    /// If the system does not start a thread.
    pub fn start(tree: Arc<Tree>, queue: Arc<Queue>, guard: Arc<Guard>) -> std::io::Result<Self> {
        let merges = Arc::new(Merges::default());
        let mut writer = Self { queue: Arc::clone(&queue), merges: Arc::clone(&merges), threads: Vec::new() };
        let loops: [(&str, Loop); 2] = [("store-write", write_loop), ("store-merge", merge_loop)];
        for (name, run) in loops {
            let (tree, queue, guard, merges) = (tree.clone(), queue.clone(), guard.clone(), merges.clone());
            let body = move || {
                crate::background::give_way();
                let run = AssertUnwindSafe(|| run(&tree, &queue, &guard, &merges));
                if catch_unwind(run).is_err() {
                    give_up(&queue, &guard, format!("the thread {name} panicked").into());
                }
            };
            writer.threads.push(Builder::new().name(name.to_owned()).spawn(body)?);
        }
        Ok(writer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.stop();
        self.merges.wake(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}

/// Writes one generation after the other until the store ends.
fn write_loop(tree: &Tree, queue: &Queue, guard: &Guard, merges: &Merges) {
    loop {
        let generation = match queue.next_task(IDLE) {
            Task::Write(generation) => generation,
            Task::Idle => {
                guard.proved();
                continue;
            }
            Task::Stop => break,
        };
        while tree.must_wait() && !queue.is_over() {
            merges.wake(false);
            merges.pause();
        }
        let (entries, seen) = generation.entries(queue.seen());
        if queue.is_over() {
            break;
        }
        match tree.write(entries) {
            Ok(()) => {
                queue.written(seen);
                guard.proved();
                merges.wake(false);
            }
            Err(e) => return give_up(queue, guard, e),
        }
    }
    guard.proved();
}

/// Merges whenever enough was written, until the store ends.
fn merge_loop(tree: &Tree, queue: &Queue, guard: &Guard, merges: &Merges) {
    while merges.wait() {
        if tree.wants_merge() && !queue.is_over() {
            // The library does one step at a time: into the level below, and from there on if that one is too large.
            loop {
                match tree.merge() {
                    Ok(true) if !queue.is_over() => {}
                    Ok(_) => break,
                    Err(e) => return give_up(queue, guard, e),
                }
            }
        }
    }
}

/// After a failed write the store is of no use in this process. If the disk was full, what is there is still true; after
/// anything else, a failed sync above all, nobody knows, and the next start rebuilds it.
fn give_up(queue: &Queue, guard: &Guard, e: TreeError) {
    if e.cause == Cause::DiskFull {
        guard.proved();
        tracing::error!(
            error = e.message,
            "the disk is full: the state store stopped, states are read from the log until a restart with free space"
        );
    } else {
        guard.suspect(&e.message);
    }
    queue.stopped(e.message);
}
