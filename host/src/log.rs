//! Where answered commands live. One trait for every log, one conformance suite that all of them pass.

#[doc(hidden)]
pub mod conformance;
pub mod embedded;
pub mod kafka;
mod lock;
pub mod segment;
#[doc(hidden)]
pub mod test_kit;
pub mod thread;

use std::fmt;
use std::time::Duration;

pub use crate::state_machine::Offsets;
pub use segment::format::{Answer, Block, BlockBuilder, Entry, EntryHead};

/// The address of a block in a log: bytes since the log began, over all its segments. Never reused, never moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Stands for an address that was not known yet when it was written down: the block then is near, and older.
    pub const UNKNOWN: Self = Self(u64::MAX);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One ownership of a lane, named by the address of the owner's record that began it. A later one is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Term(pub u64);

/// A log could not do what was asked. The kind says what the caller must do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The lane was given to another host: drop everything of it and end.
    #[error("lane {lane} was given to another host")]
    Revoked {
        /// The lane that is not ours any more.
        lane: u32,
    },
    /// Somebody else owns the lane now: drop staged state and stop, or take the lane anew.
    #[error("lane {lane} belongs to a later owner; staged work was dropped")]
    Fenced {
        /// The lane that was lost.
        lane: u32,
    },
    /// It is not known whether the block was committed: drop staged state and take the lane anew, which tells.
    #[error("it is unknown whether a commit of lane {lane} happened ({cause}); the lane is taken anew")]
    Ambiguous {
        /// The lane whose commit it was.
        lane: u32,
        /// What was seen.
        cause: String,
    },
    /// The log does not take the block for what is in it, and would not again: drop staged state, take the lane anew, and
    /// hand its commands over one by one, which tells whose answer it is.
    #[error("lane {lane}: the log does not take what is in a block ({cause})")]
    Refused {
        /// The lane whose block it was.
        lane: u32,
        /// What was seen.
        cause: String,
    },
    /// The disk is full. Nothing was acknowledged; the log goes on when there is space again.
    #[error("the disk that holds {path} is full: free some space; commands are refused until then")]
    DiskFull {
        /// The file that could not grow.
        path: String,
    },
    /// The log must not be written any more by this process: stop acknowledging and say so.
    #[error("{0}")]
    Fatal(String),
    /// What is on disk is not what was committed. Refuse to start; the message names file, offset and what to do.
    #[error("{0}")]
    Corrupt(String),
}

/// What a lane learns of the block it submitted, or of the proof it asked for.
#[derive(Debug)]
pub struct Committed {
    /// The ownership under which it was submitted.
    pub term: Term,
    /// The block as it is in the log now, `None` for a proof, or the error after which staged state must be dropped.
    pub result: Result<Option<Block>, LogError>,
}

/// Called once for every submitted block and every proof, from any thread, and must not block.
pub type OnCommitted = Box<dyn Fn(Committed) + Send + Sync>;

/// One lane's side of a log: the unit of ownership, of fencing and of commit.
///
/// Obligations of every implementation, checked by the conformance suite:
/// 1. **Taking fences.** After `take` returned, no block of an earlier ownership of the lane can be committed any more.
///    It proves the ownership by an owner record of its own, written as durably as any commit.
/// 2. **Restore ends at one's own record.** `take` replays every committed block of the lane from `from` on, in order,
///    and nothing after its own owner record; never "up to where the end seemed to be".
/// 3. **A commit is atomic.** A block is in the log as a whole or not at all, also after a crash at any moment.
/// 4. **Committed means durable and exactly one answer.** `on_committed` is called once for each submitted block, in
///    the order of submission, with `Ok` only after the block would survive a power loss (or what stands for it on Kafka).
/// 5. **Doubt is an error.** A commit that was not plainly successful is reported as an error, never as success, and
///    every later submit under the same term fails: the caller drops what it staged and takes the lane anew.
///    [`LogError::DiskFull`] alone leaves no doubt: nothing of the block is in the log, and the term goes on.
/// 6. A lane can be lost at any moment; the former owner learns it at the latest with its next commit.
pub trait LaneLog: Send {
    /// The streams that the next [`Self::take`] will cover: the numbered sequences that the lane's answers go to. On the
    /// embedded log the lane's partitions; on Kafka each of them once per aggregate type.
    ///
    /// # Errors
    /// [`LogError`] if it cannot be learnt, or the lane is not to be had.
    fn streams(&mut self) -> Result<Vec<u32>, LogError>;

    /// The stream of an aggregate whose id falls into a partition, as of the last [`Self::take`]; `None` if its type has
    /// none.
    fn stream_of(&self, _aggregate_type: &str, partition: u32) -> Option<u32> {
        Some(partition)
    }

    /// What the offsets of commands are here.
    fn offsets(&self) -> Offsets {
        Offsets::Dense
    }

    /// Most bytes of events, or of a rejection, that one answer of a stream may have, as of the last [`Self::take`].
    fn result_bytes_max(&self, _stream: u32) -> usize {
        usize::MAX
    }

    /// Whether the lane must be taken anew because there are other streams now: rules of another type became active.
    fn wants_new_take(&mut self) -> bool {
        false
    }

    /// The lane is restored: its commands may come, beginning with the given offset of each stream. Logs that hold no
    /// commands of their own have nothing to do.
    ///
    /// # Errors
    /// [`LogError`] if they cannot be had.
    fn begin(&mut self, _next: &[(u32, u64)]) -> Result<(), LogError> {
        Ok(())
    }

    /// Becomes the only owner of the lane. Calls `replay` with each committed block that holds entries of this lane's
    /// partitions at or after `from` (blocks may hold entries of other partitions too: the caller filters by partition).
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if the log cannot be trusted; what `replay` returned; or another kind if the lane cannot be had.
    fn take(&mut self, from: Lsn, replay: &mut dyn FnMut(&Block) -> Result<(), LogError>) -> Result<Term, LogError>;

    /// Hands over a block for commit and returns at once. At most one block of a lane is on its way at a time.
    ///
    /// # Errors
    /// [`LogError::Fenced`] or [`LogError::Fatal`] if the log already knows that it cannot be committed.
    fn submit(&mut self, block: BlockBuilder) -> Result<(), LogError>;

    /// When a commit began that proved the ownership, on the clock of [`crate::clock::boot_time`]: what is read is as of
    /// then (R8). A log that no other process can write is always proved.
    fn proved_at(&self) -> Duration {
        crate::clock::boot_time()
    }

    /// How old that may be for a read.
    fn proof_age_max(&self) -> Duration {
        Duration::MAX
    }

    /// Begins to prove the ownership anew and returns at once; heard of as of a block. Nothing else is on its way then.
    ///
    /// # Errors
    /// As [`Self::submit`].
    fn prove(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// Reading what is committed, by address and by aggregate. Shared by all lanes and readers.
pub trait History: Send + Sync {
    /// The committed block at an address.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if there is none or it is damaged.
    fn block(&self, at: Lsn) -> Result<Block, LogError>;

    /// Addresses of the committed blocks one must read to see an aggregate's events from version `from` on (1 is the
    /// first), oldest first. Blocks may hold others' entries only: compare type and id.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if the index cannot be read or rebuilt.
    fn blocks_from(&self, aggregate_type: &str, id: &str, from: u64) -> Result<Vec<Lsn>, LogError>;

    /// Addresses of the committed blocks behind `after` that hold any entry of an aggregate, oldest first.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if the index cannot be read or rebuilt.
    fn blocks_after(&self, aggregate_type: &str, id: &str, after: Lsn) -> Result<Vec<Lsn>, LogError>;
}
