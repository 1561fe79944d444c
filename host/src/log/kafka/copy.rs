//! The local copy: committed answers of the lanes that this host owns or owned, in the embedded log's own segment format.
//! History, past states, rebuilds and rehearsals are read from it, so they are one code on both logs.
//!
//! Invariants:
//! - Only what is committed on Kafka is in it, each stream's answers in their order and without a hole.
//! - It is never synced: Kafka has the truth. A copy that a power loss damaged is thrown away and read again; the state
//!   store that was made with it carries its name and is thrown away too.
//! - Commits wait for nothing but the writing of their bytes: to replace a file takes some filesystems half a second.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Stopwatch;
use crate::log::segment::disk::{Access, Disk, DiskFile, RealDisk};
use crate::log::segment::format::{IndexEntry, KIND_ENTRIES, KIND_OWNER};
use crate::log::segment::{self, Finished, Reader, Writer};
use crate::log::{Block, BlockBuilder, Entry, LogError, Lsn, thread};

/// How often, at most, it is written down how far the copy is.
pub(super) const NOTE_EVERY: Duration = Duration::from_secs(2);
const NOTES: &str = "copy.json";

/// How far a stream is in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Number of the next record.
    pub next_sequence: u64,
    /// The smallest offset that the next command can have.
    pub next_command_offset: u64,
    /// The [`fingerprint`] of the command that was answered last; `None` before the first, or if the copy does not know it.
    #[serde(default)]
    pub last_command: Option<u64>,
    /// A record that the copy holds, or an earlier one: its offset on Kafka and its number. Reading goes on from it, and
    /// it must still be what it was.
    pub seen: Option<(i64, u64)>,
}

impl Progress {
    /// Answers up to this one are added.
    fn advance(&mut self, last: &Entry<'_>) {
        self.next_sequence = last.head.sequence + last.records();
        self.next_command_offset = last.head.command_offset + 1;
        self.last_command = Some(fingerprint(last.aggregate_id, last.command_id, last.body_hash));
    }
}

/// What tells a command from the others that may come to stand at its offset. It is kept over restarts, and so are the ids
/// and hashes it is made of: they are in every record of its answer.
pub fn fingerprint(aggregate_id: &str, command_id: &str, body_hash: u64) -> u64 {
    let parts = [xxh3_64(aggregate_id.as_bytes()), xxh3_64(command_id.as_bytes()), body_hash];
    xxh3_64(parts.map(u64::to_le_bytes).as_flattened())
}

/// What is written beside the segments.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    /// Drawn when the copy was made.
    copy: u128,
    /// The start of the machine in which it was written: what is not synced survives everything but the end of that.
    boot: String,
    /// Of which log it is a copy.
    log: String,
    /// Up to where the streams below are right.
    end: u64,
    streams: BTreeMap<u32, Progress>,
}

/// The copy of one host.
#[derive(Debug)]
pub struct Copy {
    inner: Mutex<Inner>,
    reader: Arc<Reader>,
    id: u128,
    log: String,
    folder: PathBuf,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    streams: BTreeMap<u32, Progress>,
    chores: Option<SyncSender<Chore>>,
    worker: Option<JoinHandle<()>>,
    noted: Stopwatch,
}

/// What can wait and is done in the background, in its order.
enum Chore {
    Seal(Finished),
    Note(Notes),
}

fn work(folder: &Path, chores: &Receiver<Chore>) {
    crate::background::give_way();
    for chore in chores {
        match chore {
            Chore::Seal(finished) => finished.seal(),
            Chore::Note(notes) => try_note(folder, &notes),
        }
    }
}

impl Copy {
    /// Opens the copy in a folder, or begins a new one there if it is of another log or cannot be trusted. `log` names
    /// the log: cluster, prefix and generation.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the folder cannot be used.
    pub fn open(folder: &Path, log: &str, options: segment::Options) -> Result<Self, LogError> {
        Self::open_on(&(Arc::new(Unsynced) as Arc<dyn Disk>), folder, log, options)
    }

    /// The same on any disk.
    pub(super) fn open_on(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        log: &str,
        options: segment::Options,
    ) -> Result<Self, LogError> {
        match Self::try_open(Arc::clone(disk), folder, log, options) {
            Ok(copy) => Ok(copy),
            Err(why) => {
                if folder.exists() {
                    tracing::warn!("the local copy in {} is made anew from Kafka: {why}", folder.display());
                    let unusable = |e: io::Error| LogError::Fatal(format!("cannot empty {}: {e}", folder.display()));
                    std::fs::remove_dir_all(folder).map_err(unusable)?;
                }
                Self::begin(folder, log)?;
                Self::try_open(Arc::clone(disk), folder, log, options)
            }
        }
    }

    fn begin(folder: &Path, log: &str) -> Result<(), LogError> {
        let cannot = |e: io::Error| LogError::Fatal(format!("cannot make the local copy in {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let copy = uuid::Uuid::now_v7().as_u128();
        let notes = Notes { copy, boot: boot(), log: log.to_owned(), end: 0, streams: BTreeMap::new() };
        note(folder, &notes).map_err(cannot)
    }

    fn try_open(disk: Arc<dyn Disk>, folder: &Path, log: &str, options: segment::Options) -> Result<Self, LogError> {
        let path = folder.join(NOTES);
        let text = std::fs::read(&path).map_err(|e| LogError::Corrupt(format!("{}: {e}", path.display())))?;
        let notes: Notes =
            serde_json::from_slice(&text).map_err(|e| LogError::Corrupt(format!("{}: {e}", path.display())))?;
        if notes.log != log {
            return Err(LogError::Corrupt(format!("it is a copy of {}, and this is {log}", notes.log)));
        }
        let mut writer = Writer::open(disk, folder, options)?;
        if writer.end() == Lsn(0) {
            // No answer has the address 0: whoever asks for what is behind it means everything.
            let first = BlockBuilder::new().seal(KIND_OWNER, 0, 1, Lsn(0), Lsn(0), 0);
            writer.append(&[(first, Vec::new())])?;
        }
        let reader = writer.reader();
        if writer.end().0 < notes.end {
            let end = writer.end();
            return Err(LogError::Corrupt(format!("it ends at {end}, but {} bytes were written", notes.end)));
        }
        if notes.boot != boot() {
            // The machine was started since: any page may be missing, in any segment.
            for block in reader.iterate(Lsn(0), writer.end()) {
                block?;
            }
        }
        let mut streams = notes.streams;
        for block in reader.iterate(Lsn(notes.end), writer.end()) {
            for (_, entry) in block?.entries() {
                streams.entry(entry.partition).or_default().advance(&entry);
            }
        }
        let (to_do, chores) = sync_channel(1);
        let place = folder.to_owned();
        let worker = thread::start("copy-index", move || work(&place, &chores))?;
        let (chores, worker, noted) = (Some(to_do), Some(worker), Stopwatch::start());
        let inner = Inner { writer, streams, chores, worker, noted };
        Ok(Self { inner: Mutex::new(inner), reader, id: notes.copy, log: log.to_owned(), folder: folder.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy's own name: what was made with it carries it.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Reads what is in it.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Where it ends.
    pub fn end(&self) -> Lsn {
        self.reader.end()
    }

    /// How far a stream is.
    pub fn progress(&self, stream: u32) -> Progress {
        self.lock().streams.get(&stream).copied().unwrap_or_default()
    }

    /// Adds a block of committed answers, sealed as of its lane and term. `seen`: for each of its streams the offset of
    /// its last record.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it does not continue a stream: the lane is taken anew, from Kafka. [`LogError::Fatal`] or
    /// [`LogError::DiskFull`] if the disk does not take it.
    pub fn append(
        &self,
        (lane, lanes, term): (u32, u32, u64),
        mut block: BlockBuilder,
        seen: impl IntoIterator<Item = (u32, i64)>,
    ) -> Result<Block, LogError> {
        let mut inner = self.lock();
        let mut last: BTreeMap<u32, Entry<'_>> = BTreeMap::new();
        for (_, entry) in block.entries() {
            let known = || inner.streams.get(&entry.partition).map_or(0, |progress| progress.next_sequence);
            let next = last.get(&entry.partition).map_or_else(known, |last| last.head.sequence + last.records());
            if entry.head.sequence != next {
                return Err(LogError::Ambiguous {
                    lane,
                    cause: format!(
                        "record {} of stream {} is to be copied where {next} comes next",
                        entry.head.sequence, entry.partition
                    ),
                });
            }
            last.insert(entry.partition, entry);
        }
        let mut after: BTreeMap<u32, Progress> = BTreeMap::new();
        for (stream, last) in last {
            let mut progress = inner.streams.get(&stream).copied().unwrap_or_default();
            progress.advance(&last);
            after.insert(stream, progress);
        }
        let index = block.take_index();
        if let Some(finished) = inner.writer.make_room(block.len() as u64)?
            && let Some(chores) = &inner.chores
        {
            // Waits if the ones before are not done yet; a thread that is gone leaves the index in memory.
            let _ = chores.send(Chore::Seal(finished));
        }
        let end = inner.writer.end();
        let block = block.seal(KIND_ENTRIES, lane, lanes, end, end, term);
        let group: [(Block, Vec<IndexEntry>); 1] = [(block, index)];
        inner.writer.append(&group)?;
        for (stream, offset) in seen {
            if let Some(progress) = after.get_mut(&stream) {
                progress.seen = Some((offset, progress.next_sequence - 1));
            }
        }
        inner.streams.extend(after);
        let [(block, _)] = group;
        if inner.noted.elapsed() > NOTE_EVERY {
            inner.noted = Stopwatch::start();
            let notes = self.notes(&inner);
            if let Some(chores) = &inner.chores {
                // If there is something to do already, the next time will do.
                let _ = chores.try_send(Chore::Note(notes));
            }
        }
        Ok(block)
    }

    /// How far it is.
    fn notes(&self, inner: &Inner) -> Notes {
        let end = inner.writer.end().0;
        Notes { copy: self.id, boot: boot(), log: self.log.clone(), end, streams: inner.streams.clone() }
    }

    /// Writes down how far it is.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.end_chores();
        if let Err(error) = inner.writer.note_end() {
            tracing::warn!("the local copy's end cannot be written down: {error}");
        }
        try_note(&self.folder, &self.notes(&inner));
    }
}

impl Inner {
    /// Waits until what can wait is done: nothing is written behind what comes next.
    fn end_chores(&mut self) {
        self.chores = None;
        if let Some(worker) = self.worker.take() {
            // A panic is in the process's log.
            drop(worker.join());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_chores();
    }
}

/// Tells this start of the machine from every other; empty where the system does not say, which then is always the same.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn try_note(folder: &Path, notes: &Notes) {
    if let Err(error) = note(folder, notes) {
        tracing::warn!("cannot write down how far the local copy is, a restart reads more: {error}");
    }
}

/// Written beside and renamed, so that there is always a whole one.
fn note(folder: &Path, notes: &Notes) -> io::Result<()> {
    let (beside, path) = (folder.join("copy.json.new"), folder.join(NOTES));
    std::fs::write(&beside, serde_json::to_vec(notes)?)?;
    std::fs::rename(&beside, &path)
}

/// The operating system's disk, of which nobody expects that it survives a power loss.
#[derive(Debug)]
pub(super) struct Unsynced;

impl Disk for Unsynced {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(folder)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(RealDisk.open(path, access)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn DiskFile>);

impl DiskFile for UnsyncedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_length(bytes)
    }
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.0.allocate(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
