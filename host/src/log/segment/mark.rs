//! The mark: a lower bound of what is durable, kept beside the segments. It is written when a segment begins, when
//! nothing happened for a while, and at the end; recovery refuses a log that does not reach it. Without it, damage to
//! the very last group and the loss of the last segment could not be told from a crash in the middle of a write.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::{LogError, Lsn};
use super::disk::{Access, DiskFile, read_full};
use super::error::{unreadable, unwritable};
use super::files::Files;

const MAGIC: u32 = u32::from_le_bytes(*b"OMRK");
/// Two slots are written in turn, a page apart, so that a torn write leaves the other one.
const SLOT_BYTES: u64 = 4096;
const RECORD_BYTES: usize = 32;

/// What was durable at some moment, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bound {
    /// The log reached at least this address.
    pub end: Lsn,
    /// The segment that begins here existed.
    pub segment: Lsn,
}

/// The open mark file.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bound: Bound,
    slot: u64,
}

impl Mark {
    /// Opens the mark, or makes one that says nothing. A damaged one says nothing either: it is a second witness, and
    /// the log itself is the first. The caller syncs the folder.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the file cannot be read or made.
    pub fn open(files: &Files) -> Result<Self, LogError> {
        let path = files.folder().join("mark");
        let names = files.disk().names(files.folder()).map_err(|e| unreadable(files.folder(), "list", &e))?;
        let there = names.iter().any(|name| name == "mark");
        let access = if there { Access::Write } else { Access::Create };
        let file = files.disk().open(&path, access).map_err(|e| unreadable(&path, "open", &e))?;
        let mut newest: Option<(Bound, u64)> = None;
        for slot in 0..2 {
            let mut record = [0; RECORD_BYTES];
            let n = read_full(&*file, &mut record, slot * SLOT_BYTES).map_err(|e| unreadable(&path, "read", &e))?;
            if let Some(bound) = parse(&record[..n]) {
                newest = newest.max(Some((bound, slot)));
            }
        }
        let written = file.length().map_err(|e| unreadable(&path, "read", &e))? > 0;
        if written && newest.is_none() {
            tracing::warn!(file = %path.display(), "the mark is unreadable: the end of the log is checked without it");
        }
        let (bound, slot) = newest.unwrap_or_default();
        Ok(Self { path, file, bound, slot })
    }

    /// What the mark says.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Writes and syncs a higher bound; one that is not higher costs nothing.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it cannot be written; the caller must stop writing.
    pub fn raise(&mut self, bound: Bound) -> Result<(), LogError> {
        if bound <= self.bound {
            return Ok(());
        }
        let slot = 1 - self.slot;
        self.file.write_at(&record(bound), slot * SLOT_BYTES).map_err(|e| unwritable(&self.path, "write", &e))?;
        self.file.sync().map_err(|e| unwritable(&self.path, "sync", &e))?;
        (self.bound, self.slot) = (bound, slot);
        Ok(())
    }
}

fn record(bound: Bound) -> [u8; RECORD_BYTES] {
    let mut out = [0; RECORD_BYTES];
    out[..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[8..16].copy_from_slice(&bound.end.0.to_le_bytes());
    out[16..24].copy_from_slice(&bound.segment.0.to_le_bytes());
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn parse(bytes: &[u8]) -> Option<Bound> {
    let u64_at = |at: usize| Some(Lsn(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)));
    let bound = Bound { end: u64_at(8)?, segment: u64_at(16)? };
    (record(bound) == bytes).then_some(bound)
}
