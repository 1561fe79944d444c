//! The index of a segment in memory: the postings in the order they came, each linked to the one before of its key.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::super::super::Lsn;
use super::super::format::IndexEntry;
use super::Posting;

const NONE: u32 = u32::MAX;

/// Postings in the order of their blocks. Bounded by the entries that fit into a segment.
#[derive(Debug, Default)]
pub struct Memory {
    newest: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    postings: Vec<(Posting, u32)>,
}

impl Memory {
    /// Adds the entries of a block that comes after all blocks so far.
    pub fn add(&mut self, lsn: Lsn, entries: &[IndexEntry]) {
        for entry in entries {
            let at = u32::try_from(self.postings.len()).unwrap_or(NONE);
            let previous = self.newest.insert(entry.key, at).unwrap_or(NONE);
            self.postings.push((Posting { key: entry.key, lsn, version_before: entry.version_before }, previous));
        }
    }

    /// Blocks of a key with the version before each, newest first.
    pub fn newest_first(&self, key: u64) -> impl Iterator<Item = (Lsn, u64)> {
        let mut at = self.newest.get(&key).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let (posting, previous) = self.postings.get(at as usize)?;
            at = *previous;
            Some((posting.lsn, posting.version_before))
        })
    }

    /// All postings by key, then address.
    pub fn postings(&self) -> Vec<Posting> {
        let mut all: Vec<Posting> = self.postings.iter().map(|(posting, _)| *posting).collect();
        all.sort_unstable();
        all
    }
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
