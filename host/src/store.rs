//! The state store: snapshots, command ids and progress of the aggregates on disk, so that a start need not fold the
//! whole log. A cache of the log, never the truth.
//!
//! Invariants:
//! - Only committed state is put, so the store is never ahead of the log; one that is names lost data and is refused.
//! - What is put becomes durable in the order it was put, each generation of puts with its marks in one atomic, synced
//!   step: after a crash at any moment the marks are true.
//! - Nothing read back is believed without its checksum. A store that is missing, torn, of another log or of another
//!   format is wiped; one that was caught lying is wiped at the next start. The caller rebuilds from the log.
//! - A put never waits for the disk. The queue is bounded by count and bytes.

mod codec;
mod guard;
mod queue;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::guard::Guard;
use self::queue::{Queue, Queued};
use self::tree::{Cause, Tree, TreeError};
use self::writer::Writer;
use crate::log::Lsn;
use crate::message::{AggregateId, AggregateType};

/// Most aggregates one call of [`Store::list`] returns.
pub const LIST_MAX: usize = 10_000;
/// Most command ids that are kept with one aggregate.
pub const RECENT_MAX: usize = 1_024;
/// The layout of keys and values; another one on disk is wiped and rebuilt.
const FORMAT: u32 = 1;

/// One aggregate as of a committed position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Number of events applied to it.
    pub version: u64,
    /// The block of its last answer.
    pub last: Lsn,
    /// Which layout `state` has: a snapshot of another layout is of no use.
    pub state_tag: u64,
    /// Compact snapshot; empty if there is none.
    pub state: Vec<u8>,
    /// The command ids it remembers, oldest first; at most [`RECENT_MAX`].
    pub recent: Vec<Recent>,
}

/// A command id that an aggregate remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recent {
    /// Hash of the command id.
    pub id: u128,
    /// Hash of the command's body.
    pub body_hash: u64,
    /// The block with its answer.
    pub at: Lsn,
    /// The command's time, in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
}

/// How far a partition is in the store: everything of it that was answered before `position` is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The partition.
    pub partition: u32,
    /// Where to go on reading the log.
    pub position: Lsn,
    /// The partition's next record number.
    pub next_sequence: u64,
    /// The partition's next command number.
    pub next_command_offset: u64,
    /// The latest time of a command in it, in milliseconds since 1970-01-01 UTC.
    pub log_time_ms: i64,
}

/// The name of an aggregate with its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its kind.
    pub aggregate_type: AggregateType,
    /// Its id.
    pub aggregate_id: AggregateId,
}

/// The queue has no room for this batch, which is handed back unchanged: put it again later, see
/// [`Store::wait_for_room`].
#[derive(Debug, thiserror::Error)]
#[error("the state store's queue is full: the disk does not keep up")]
pub struct Full {
    /// The states that were not taken.
    pub batch: Vec<(Key, Stored)>,
    /// The marks that were not taken.
    pub marks: Vec<Mark>,
}

/// The store could not do what was asked. The kind says what the caller must do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The log lacks data that was acknowledged: refuse to start.
    #[error("{0}")]
    Ahead(String),
    /// The store cannot be trusted about this: read it from the log instead.
    #[error("the state store cannot be trusted here ({0}); it is read from the log instead")]
    Corrupt(String),
    /// The store's folder cannot be used: refuse to start; the message says what to change.
    #[error("{0}")]
    Folder(String),
    /// The store stopped writing. The daemon goes on from the log, slower, and rebuilds the store at the next start.
    #[error("the state store stopped: {0}")]
    Stopped(String),
}

/// How [`Store::open`] found what is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A store of this log.
    Whole,
    /// Nothing.
    Nothing,
    /// Something that was wiped, and why.
    Wiped(String),
}

/// The store. Shared by all lanes; every method may be called from any thread.
#[derive(Debug)]
pub struct Store {
    tree: Arc<Tree>,
    queue: Arc<Queue>,
    guard: Arc<Guard>,
    found: Found,
    /// Dropped with the store: stops and joins its threads.
    _writer: Writer,
}

impl Store {
    /// Opens the store of log `log_id` in `dir`, or begins an empty one. `log_end` is the end of the log that was
    /// recovered; `partitions` is its number of partitions.
    ///
    /// # Errors
    /// [`StoreError::Ahead`] if the store knows of blocks that the log does not have; [`StoreError::Folder`] if `dir`
    /// cannot be read or written.
    pub fn open(dir: &Path, log_id: u128, log_end: Lsn, partitions: u32) -> Result<Self, StoreError> {
        let guard = Arc::new(Guard::enter(dir)?);
        let identity = codec::Identity { format: FORMAT, log_id, partitions };
        let (tree, progress, found) = match guard.verdict() {
            Some(reason) => wipe(&guard, identity, reason)?,
            None => match Tree::open(&guard.tree_dir(), identity) {
                Ok(tree::Opened::Whole(tree, progress)) => (tree, progress, Found::Whole),
                Ok(tree::Opened::Empty(tree)) => (tree, codec::Progress::default(), Found::Nothing),
                Err(e) => wipe(&guard, identity, e.message)?,
            },
        };
        // Refusing is the store's own doing and says nothing against it: it must be there, as evidence, at every start.
        refuse_ahead(dir, &progress, log_end).inspect_err(|_| guard.proved())?;
        let tree = Arc::new(tree);
        let queue = Arc::new(Queue::new(partitions, progress));
        let writer = Writer::start(Arc::clone(&tree), Arc::clone(&queue), Arc::clone(&guard))
            .map_err(|e| StoreError::Folder(format!("the threads of the state store do not start: {e}")))?;
        Ok(Self { tree, queue, guard, found, _writer: writer })
    }

    /// How the store was found when it was opened.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// How far each partition is, in the order of the partitions. Only what is durable counts.
    pub fn marks(&self) -> Vec<Mark> {
        self.queue.marks()
    }

    /// One aggregate, or `None` if the store has never seen it. Sees what is still queued.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if what is on disk fails its checksum or cannot be read.
    pub fn get(&self, aggregate_type: &str, aggregate_id: &str) -> Result<Option<Stored>, StoreError> {
        let key = codec::key(aggregate_type, aggregate_id);
        match self.queue.get(&key) {
            Err(reason) => return Err(StoreError::Corrupt(reason)),
            Ok(Some(stored)) => return Ok(Some(Arc::unwrap_or_clone(stored))),
            Ok(None) => {}
        }
        self.tree.get(&key, |value| codec::decode(&key, value)).map_err(|e| self.caught(e))
    }

    /// Hands states and marks to the writer and returns at once. The marks become durable with, never before, all
    /// states that the same thread put before and with them. A mark behind one already put is ignored.
    ///
    /// After the store stopped ([`StoreError::Stopped`]) the batch is dropped: nothing is read from it any more.
    ///
    /// # Errors
    /// [`Full`], with the batch, if the queue has no room. An empty queue takes any batch.
    #[allow(clippy::result_large_err, reason = "the batch is handed back so that it is not lost")]
    pub fn put(&self, batch: Vec<(Key, Stored)>, marks: Vec<Mark>) -> Result<(), Full> {
        self.queue.put(batch, marks)
    }

    /// Waits until the queue got shorter, at most `at_most`. For a caller whose put was refused.
    pub fn wait_for_room(&self, at_most: Duration) {
        self.queue.wait_for_room(at_most);
    }

    /// Ids and versions of a type's aggregates after `after` in byte order of the id, at most `limit` and at most
    /// [`LIST_MAX`]. Sees what is still queued.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if what is on disk fails its checksum or cannot be read.
    pub fn list(
        &self,
        aggregate_type: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let limit = limit.min(LIST_MAX);
        let range = codec::list_range(aggregate_type, after);
        // The queue first: what moves to disk in between is seen twice, never not at all.
        let mut versions: BTreeMap<Vec<u8>, u64> = match self.queue.list(&range, limit) {
            Queued::Versions(versions) => versions,
            Queued::Stopped(reason) => return Err(StoreError::Corrupt(reason)),
        };
        let on_disk = self.tree.list(&range, limit, codec::version).map_err(|e| self.caught(e))?;
        for (key, version) in on_disk {
            versions.entry(key).or_insert(version);
        }
        let skip = aggregate_type.len() + 1;
        let id = |key: Vec<u8>| {
            String::from_utf8(key[skip..].to_vec()).map_err(|_| self.caught("an id is not UTF-8".to_owned().into()))
        };
        versions.into_iter().take(limit).map(|(key, version)| Ok((id(key)?, version))).collect()
    }

    /// Waits until everything put so far is durable.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] if the store could not write it.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.queue.flush().map_err(StoreError::Stopped)
    }

    /// Remembers that the store was caught lying, so that the next start rebuilds it.
    fn caught(&self, e: TreeError) -> StoreError {
        if e.cause == Cause::Lie {
            self.guard.suspect(&e.message);
        }
        StoreError::Corrupt(e.message)
    }
}

/// Removes what is on disk and begins anew.
fn wipe(
    guard: &Guard,
    identity: codec::Identity,
    reason: String,
) -> Result<(Tree, codec::Progress, Found), StoreError> {
    tracing::warn!(reason, "the state store is wiped and rebuilt from the log");
    guard.wipe()?;
    match Tree::open(&guard.tree_dir(), identity) {
        Ok(tree::Opened::Empty(tree) | tree::Opened::Whole(tree, _)) => {
            Ok((tree, codec::Progress::default(), Found::Wiped(reason)))
        }
        Err(e) => Err(StoreError::Folder(format!(
            "an empty state store cannot be created in {}: {}. Check the folder's permissions and free space",
            guard.tree_dir().display(),
            e.message
        ))),
    }
}

/// A store that knows more than the log is evidence of lost data, which nobody may overwrite unseen.
fn refuse_ahead(dir: &Path, progress: &codec::Progress, log_end: Lsn) -> Result<(), StoreError> {
    let seen = progress.seen.map_or(0, |at| at.0 + 1);
    let known = progress.marks.iter().map(|mark| mark.position.0).fold(seen, u64::max);
    if known <= log_end.0 {
        return Ok(());
    }
    Err(StoreError::Ahead(format!(
        "the state store in {} holds answers up to byte {known} of the log, but the log ends at byte {log_end}: \
         acknowledged commands are missing from the log. Put back the log's newest files. Only if you accept that \
         they are lost, delete {} and start again: the store is then rebuilt from what the log has",
        dir.display(),
        dir.display()
    )))
}
