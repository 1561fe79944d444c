//! The tree on disk. The only file that names the library behind the store.
//!
//! It is an LSM tree without a journal: each generation of puts is written as sorted tables that become part of the
//! tree, all or nothing, by one synced rename of its list of tables. So there is nothing to replay at a start, and
//! nothing that a power loss could leave half believed. docs/adr/0004-the-state-store.md has the measurements.
//!
//! The library is not trusted: every call into it is caught if it panics, and what it returns is checked by its caller.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard as _, SeqNo, SequenceNumberCounter};

use xxhash_rust::xxh3::xxh3_128;

use super::codec::{self, Identity, Progress};

/// Bytes of blocks kept in memory.
const CACHE_BYTES: u64 = 32 << 20;
/// Runs of tables that wait to be merged into the tree below: fewer means more rewriting, more means slower reads.
const RUNS_MERGED: usize = 8;
/// Runs at which writing must wait for merging.
const RUNS_MAX: usize = 24;

/// Reads the newest version of everything.
const NEWEST: SeqNo = SeqNo::MAX;

/// The tree could not do what was asked.
#[derive(Debug)]
pub struct TreeError {
    /// What happened.
    pub message: String,
    /// What it says about the tree.
    pub cause: Cause,
}

/// What an error says about the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What is on disk is not what was written, or the library failed.
    Lie,
    /// The disk is full.
    DiskFull,
    /// The system refused: nothing is known about what is on disk.
    System,
}

impl From<String> for TreeError {
    fn from(message: String) -> Self {
        Self { message, cause: Cause::Lie }
    }
}

impl From<lsm_tree::Error> for TreeError {
    fn from(e: lsm_tree::Error) -> Self {
        let cause = match &e {
            lsm_tree::Error::Io(e) => match e.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::DiskFull,
                ErrorKind::InvalidData | ErrorKind::NotFound | ErrorKind::UnexpectedEof => Cause::Lie,
                _ => Cause::System,
            },
            _ => Cause::Lie,
        };
        Self { message: format!("{e:?}"), cause }
    }
}

/// What was found on disk.
#[derive(Debug)]
pub enum Opened {
    /// A store of this identity.
    Whole(Tree, Progress),
    /// Nothing; an empty one was created.
    Empty(Tree),
}

/// The tree.
pub struct Tree {
    inner: AnyTree,
    /// Numbers each generation; larger ones win. Larger than any in the tree.
    sequence: SequenceNumberCounter,
    strategy: Arc<Leveled>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// Calls into the library; a panic inside it becomes an error.
fn caught<T>(what: &str, call: impl FnOnce() -> Result<T, TreeError>) -> Result<T, TreeError> {
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(TreeError::from(format!("the library panicked: {text}")))
    });
    result.map_err(|e| TreeError { message: format!("{what}: {}", e.message), cause: e.cause })
}

/// Checks the list of tables, which the library seals with a checksum but opens without looking at it (3.1.10). A
/// flipped bit in it brings old states back as if they were new. If the library ever seals it otherwise, every store
/// fails this check and is rebuilt once per start: slow, seen by the tests, and never wrong.
fn check_list(dir: &Path) -> Result<(), TreeError> {
    let read = |name: &str| match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(TreeError::from(format!("{name} cannot be read: {e}"))),
    };
    // The number of the newest list, its xxh3 and the kind of checksum.
    let Some(current) = read("current")? else { return Ok(()) };
    let lie = |what: &str| TreeError::from(format!("its list of tables {what}"));
    let (number, rest) = current.split_first_chunk::<8>().ok_or_else(|| lie("is not named"))?;
    let (sum, kind) = rest.split_first_chunk::<16>().ok_or_else(|| lie("has no checksum"))?;
    let list = read(&format!("v{}", u64::from_le_bytes(*number)))?.ok_or_else(|| lie("is missing"))?;
    if kind != [0] || xxh3_128(&list) != u128::from_le_bytes(*sum) {
        return Err(lie("fails its checksum"));
    }
    Ok(())
}

impl Tree {
    /// Opens what is in `dir`, or creates it if the folder is missing.
    ///
    /// # Errors
    /// Why what is there must be wiped.
    pub fn open(dir: &Path, identity: Identity) -> Result<Opened, TreeError> {
        let fresh = !dir.exists();
        check_list(dir)?;
        let tree = caught("opening", || Ok(Self::open_inner(dir)?))?;
        if fresh {
            let key = codec::identity_key();
            let value = codec::encode_identity(&key, identity);
            tree.write(vec![(key, value)])?;
            return Ok(Opened::Empty(tree));
        }
        let key = codec::identity_key();
        let found = tree
            .get(&key, |value| codec::decode_identity(&key, value))?
            .ok_or("it does not say whose it is".to_owned())?;
        if found.format != identity.format {
            return Err(format!("it has format {}, this program writes {}", found.format, identity.format).into());
        }
        if found != identity {
            return Err("it belongs to another log".to_owned().into());
        }
        let key = codec::seen_key();
        let seen = tree.get(&key, |value| codec::decode_seen(&key, value))?;
        let marks = tree.list(&codec::mark_range(), usize::MAX, codec::decode_mark)?;
        let marks = marks.into_iter().map(|(_, mark)| mark).filter(|mark| mark.partition < identity.partitions);
        Ok(Opened::Whole(tree, Progress { marks: marks.collect(), seen }))
    }

    fn open_inner(dir: &Path) -> lsm_tree::Result<Self> {
        let (sequence, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let inner = Config::new(dir, sequence.clone(), visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
            .open()?;
        // The library leaves the counters to its user.
        let next = inner.get_highest_seqno().map_or(0, |highest| highest + 1);
        sequence.fetch_max(next);
        visible.fetch_max(next);
        Ok(Self { inner, sequence, strategy: Arc::new(Leveled::default()) })
    }

    /// One value, decoded.
    ///
    /// # Errors
    /// Why it cannot be read or believed.
    pub fn get<T>(&self, key: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<Option<T>, TreeError> {
        let value = caught("reading", || Ok(self.inner.get(key, NEWEST)?))?;
        Ok(value.map(|value| decode(&value)).transpose()?)
    }

    /// The first `limit` entries of a range, decoded, in order of their keys.
    ///
    /// # Errors
    /// Why one of them cannot be read or believed.
    pub fn list<T>(
        &self,
        range: &Range<Vec<u8>>,
        limit: usize,
        decode: impl Fn(&[u8], &[u8]) -> Result<T, String>,
    ) -> Result<Vec<(Vec<u8>, T)>, TreeError> {
        let read = || {
            let entries = self.inner.range(range.start.as_slice()..range.end.as_slice(), NEWEST, None).take(limit);
            let mut out = Vec::new();
            for entry in entries {
                let (key, value) = entry.into_inner()?;
                out.push((key.to_vec(), decode(&key, &value)?));
            }
            Ok(out)
        };
        caught("listing", read)
    }

    /// Writes entries with ascending keys: all of them or none, and durable when it returns.
    ///
    /// # Errors
    /// What happened, and what it says about the tree.
    pub fn write(&self, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), TreeError> {
        let write = || {
            let mut ingestion = self.inner.ingestion()?;
            for (key, value) in entries {
                ingestion.write(key, value)?;
            }
            Ok(ingestion.finish()?)
        };
        caught("writing", write)
    }

    /// Whether enough runs wait to be merged.
    pub fn wants_merge(&self) -> bool {
        self.inner.l0_run_count() >= RUNS_MERGED
    }

    /// Whether writing must wait for merging.
    pub fn must_wait(&self) -> bool {
        self.inner.l0_run_count() >= RUNS_MAX
    }

    /// Merges one step of what waits. Returns whether that changed anything.
    ///
    /// # Errors
    /// What happened, and what it says about the tree.
    pub fn merge(&self) -> Result<bool, TreeError> {
        let shape = || (self.inner.table_count(), self.inner.l0_run_count(), self.inner.disk_space());
        let before = shape();
        caught("merging", || Ok(self.inner.compact(self.strategy.clone(), self.sequence.get())?))?;
        Ok(shape() != before)
    }
}
