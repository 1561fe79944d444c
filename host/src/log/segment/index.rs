//! Which blocks hold entries of an aggregate, without scanning the log: one part per segment, in memory for the one
//! that is being written, a sorted sidecar file for the others. All of it can be made again from the segments.

mod memory;
mod sidecar;
#[cfg(test)]
mod tests;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::super::{Block, LogError, Lsn};
use super::files::Files;
use super::format::{IndexEntry, aggregate_key};
pub use memory::Memory;
use sidecar::Sidecar;

/// That the block at `lsn` holds entries of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Posting {
    /// [`aggregate_key`] of the aggregate.
    pub key: u64,
    /// Address of the block.
    pub lsn: Lsn,
    /// The aggregate's version before the block's first entry for it.
    pub version_before: u64,
}

/// One index entry per aggregate of a block that was read back, as [`super::format::BlockBuilder::take_index`] gave it
/// when it was written.
pub fn entries_of(block: &Block) -> Vec<IndexEntry> {
    let mut entries: Vec<IndexEntry> = block
        .entries()
        .map(|(_, entry)| IndexEntry {
            key: aggregate_key(entry.aggregate_type, entry.aggregate_id),
            version_before: entry.version_before(),
        })
        .collect();
    entries.sort_unstable();
    entries.dedup_by_key(|entry| entry.key);
    entries
}

/// The index of one segment.
#[derive(Debug)]
pub struct Part(RwLock<State>);

#[derive(Debug)]
enum State {
    /// Being written, or not yet in a sidecar.
    Memory(Memory),
    /// In a sidecar that is believed until a checksum says otherwise.
    File(Sidecar),
    /// Not looked at since the log was opened.
    Unread,
}

impl Part {
    pub fn unread() -> Self {
        Self(RwLock::new(State::Unread))
    }

    pub fn memory(memory: Memory) -> Self {
        Self(RwLock::new(State::Memory(memory)))
    }

    /// Adds the entries of a block; blocks are added in the order of their addresses.
    pub fn add(&self, lsn: Lsn, entries: &[IndexEntry]) {
        if let State::Memory(memory) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            memory.add(lsn, entries);
        }
    }

    /// Appends the postings of a key to `out`, newest first. `scan` makes the index of the segment anew, for a sidecar
    /// that is missing or damaged.
    ///
    /// # Errors
    /// What `scan` returns, and [`LogError::Fatal`] if files cannot be read.
    pub fn newest_first(
        &self,
        files: &Files,
        (base, end): (Lsn, Lsn),
        key: u64,
        out: &mut Vec<(Lsn, u64)>,
        scan: impl Fn() -> Result<Memory, LogError>,
    ) -> Result<(), LogError> {
        let start = out.len();
        if self.try_newest_first(files, key, out)? {
            return Ok(());
        }
        out.truncate(start);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unread)
            && let Some(sidecar) = Sidecar::open(files, base, end)?
        {
            *state = State::File(sidecar);
            drop(state);
            if self.try_newest_first(files, key, out)? {
                return Ok(());
            }
            out.truncate(start);
            state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        }
        if !matches!(*state, State::Memory(_)) {
            let path = files.sidecar(base);
            tracing::info!(file = %path.display(), "the index of a segment is missing or damaged: making it anew");
            let memory = scan()?;
            *state = Sidecar::write(files, base, end, memory.postings()).map_or(State::Memory(memory), State::File);
        }
        drop(state);
        self.try_newest_first(files, key, out).map(|_| ())
    }

    /// `false` if there is no index to ask, or a damaged one.
    fn try_newest_first(&self, files: &Files, key: u64, out: &mut Vec<(Lsn, u64)>) -> Result<bool, LogError> {
        match &*self.read() {
            State::Memory(memory) => out.extend(memory.newest_first(key)),
            State::File(sidecar) => return sidecar.newest_first(files, key, out),
            State::Unread => return Ok(false),
        }
        Ok(true)
    }

    /// Moves the index of a finished segment from memory to its sidecar. If that fails, it stays in memory: it is a
    /// help for reading, and the segment has everything in it.
    pub fn seal(&self, files: &Files, base: Lsn, end: Lsn) {
        let written = match &*self.read() {
            State::Memory(memory) => Sidecar::write(files, base, end, memory.postings()),
            State::File(_) | State::Unread => None,
        };
        if let Some(sidecar) = written {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = State::File(sidecar);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
