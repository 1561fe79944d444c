//! The mark: a lower bound of what is durable, kept beside the segments. It is written when a segment begins, when
//! nothing happened for a while, and at the end; recovery refuses a log that does not reach it. Without it, damage to
//! the very last group and the loss of the last segment could not be told from a crash in the middle of a write.

use std::path::{Path, PathBuf};
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
    witness: bool,
}

impl Mark {
    /// Opens the mark, or makes one that says nothing. It is durable before the log's first block, so a
    /// mark that is missing beside blocks, or has no good record, was damaged: it is no [`Self::witness`] then.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the file cannot be read or made.
    pub fn open(files: &Files) -> Result<Self, LogError> {
        let path = files.folder().join("mark");
        let names = files.disk().names(files.folder()).map_err(|e| unreadable(files.folder(), "list", &e))?;
        let mut newest: Option<(Bound, u64)> = None;
        if names.iter().any(|name| name == "mark") {
            let file = files.disk().open(&path, Access::Read).map_err(|e| unreadable(&path, "open", &e))?;
            for slot in 0..2 {
                let mut record = [0; RECORD_BYTES];
                let n = read_full(&*file, &mut record, slot * SLOT_BYTES).map_err(|e| unreadable(&path, "read", &e))?;
                if let Some(bound) = parse(&record[..n]) {
                    newest = newest.max(Some((bound, slot)));
                }
            }
        }
        let witness = newest.is_some();
        let (bound, slot) = newest.unwrap_or_default();
        // A young one is made again too: the process that made it may have failed to make its name durable.
        let file = if bound == Bound::default() {
            make(files, &path)?
        } else {
            files.disk().open(&path, Access::Write).map_err(|e| unreadable(&path, "open", &e))?
        };
        Ok(Self { path, file, bound, slot, witness })
    }

    /// Whether there was a mark to ask. If not, a log whose end looks torn cannot be told from a damaged one.
    pub fn witness(&self) -> bool {
        self.witness
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

/// Makes a mark that says nothing, both slots at once: later writes need no space, and one of the two is always good.
fn make(files: &Files, path: &Path) -> Result<Arc<dyn DiskFile>, LogError> {
    let mut slots = vec![0; SLOT_BYTES as usize];
    slots[..RECORD_BYTES].copy_from_slice(&record(Bound::default()));
    slots.extend_from_slice(&record(Bound::default()));
    files.make_durable(path, &slots).map_err(|e| unwritable(path, "make", &e))
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
