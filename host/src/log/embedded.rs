//! The log that needs nothing but a folder: all lanes write one sequence of blocks, and whatever they hand over while a
//! sync is on its way is committed by the next one. docs/adr/0003-one-log-file-for-all-lanes.md says why one file.
//!
//! Invariants:
//! - One thread writes. It waits for work, never for time: a lone block is written at once.
//! - A lane's fence is its count of ownerships, compared when a block is handed over. Taking a lane raises the count, so
//!   nothing of an earlier owner is accepted any more; what was accepted before is committed in the order in which it
//!   came, so it lies before the new owner's record.
//! - Every accepted block is answered exactly once, also when the thread ends badly.
//! - What waits is bounded by one block per owner.

mod committer;
mod lane;
mod layout;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::lock::Lock;
use super::segment::disk::{Disk, RealDisk};
use super::segment::{self, Reader, Writer};
use super::{LogError, Lsn, OnCommitted, thread};
use committer::Shared;
pub use lane::EmbeddedLane;
use layout::Layout;

/// How an embedded log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of lanes; may differ at every start.
    pub lanes: u32,
    /// Number of partitions; fixed when the log is made.
    pub partitions: u32,
    /// How segments are written.
    pub segment: segment::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self { lanes: 1, partitions: 16, segment: segment::Options::default() }
    }
}

/// An open embedded log. Dropping it closes it.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    layout: Layout,
    lanes: u32,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Lock,
}

impl EmbeddedLog {
    /// Opens the log in a folder, or makes one there; repairs what a power loss left.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if acknowledged data is missing or damaged. [`LogError::Fatal`] if another process has the
    /// log open, the partitions are not those it was made with, or the disk does not do what is asked.
    /// [`LogError::DiskFull`] if there is no space for the first files.
    pub fn open(folder: &Path, options: Options) -> Result<Self, LogError> {
        Self::open_on(Arc::new(RealDisk), folder, options)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, folder: &Path, options: Options) -> Result<Self, LogError> {
        if options.lanes == 0 || options.lanes > u32::from(u16::MAX) || options.partitions == 0 {
            return Err(LogError::Fatal(format!(
                "{} lanes and {} partitions are not possible: configure 1 to 65535 lanes and at least 1 partition",
                options.lanes, options.partitions
            )));
        }
        disk.create_folder(folder).map_err(|error| {
            LogError::Fatal(format!("cannot make the log's folder {}: {error}. Check its path", folder.display()))
        })?;
        let lock = Lock::take(folder)?;
        let known = Layout::read(&*disk, folder, options.partitions)?;
        let writer = Writer::open(Arc::clone(&disk), folder, options.segment)?;
        if known.is_none() && writer.end() > Lsn(0) {
            return Err(layout::missing(folder));
        }
        let layout = known.unwrap_or_else(|| Layout::new(options.partitions));
        if writer.end() == Lsn(0) {
            // Also if it is there: the process that wrote it may have failed to make its name durable.
            layout.write(&*disk, folder)?;
        }
        let reader = writer.reader();
        let shared = Arc::new(Shared::new(options.lanes));
        let (finished, to_seal) = std::sync::mpsc::sync_channel::<segment::Finished>(1);
        let committing = Arc::clone(&shared);
        let threads = vec![
            thread::start("log-commit", move || committer::run(&committing, writer, &finished))?,
            thread::start("log-index", move || {
                crate::background::give_way();
                to_seal.iter().for_each(segment::Finished::seal);
            })?,
        ];
        Ok(Self { shared, reader, layout, lanes: options.lanes, threads: Mutex::new(threads), _lock: lock })
    }

    /// A handle by which the lane can be taken. `on_committed` is called for every block that it submits.
    ///
    /// # Panics
    /// If there is no such lane: the caller was to configure as many as it uses.
    pub fn lane(&self, lane: u32, on_committed: OnCommitted) -> EmbeddedLane {
        assert!(lane < self.lanes, "lane {lane} of a log with {} lanes", self.lanes);
        let text =
            format!("lane {lane} of {} taken by process {}; log {:032x}", self.lanes, std::process::id(), self.id());
        EmbeddedLane::new(Arc::clone(&self.shared), Arc::clone(&self.reader), self.place(lane), on_committed, text)
    }

    fn place(&self, lane: u32) -> lane::Place {
        lane::Place { lane, lanes: self.lanes, partitions: self.layout.partitions }
    }

    /// Reads what is committed, by address and by aggregate.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Everything below is committed.
    pub fn end(&self) -> Lsn {
        self.reader.end()
    }

    /// The log's own name, drawn when it was made: what belongs to this log and to no other carries it.
    pub fn id(&self) -> u128 {
        self.layout.log
    }

    /// Number of partitions it was made with.
    pub fn partitions(&self) -> u32 {
        self.layout.partitions
    }

    /// Commits what was handed over, refuses everything after it, and writes down where the log ends.
    pub fn close(&self) {
        self.shared.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic was answered to every lane already, and is in the log of the process.
            let _ = thread.join();
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}
