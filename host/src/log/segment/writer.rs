//! Writing a log: one group of blocks at a time, with one write and one sync. One writer, on one thread.

use std::path::Path;
use std::sync::Arc;

use super::super::{Block, LogError, Lsn};
use super::disk::{Disk, DiskFile};
use super::error::{is_full, unwritable};
use super::files::Files;
use super::format::IndexEntry;
use super::index::{Memory, Part};
use super::mark::{Bound, Mark};
use super::reader::{Reader, Segment};
use super::recovery::{Recovered, create_segment, recover};

/// How a log is written.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes after which a new segment begins; a single larger block gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes by which the file is lengthened ahead of the writing, so that most syncs need not write its length.
    pub allocate_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, allocate_bytes: 8 << 20 }
    }
}

/// The only one who writes to a log's folder.
#[derive(Debug)]
pub struct Writer {
    reader: Arc<Reader>,
    options: Options,
    mark: Mark,
    active: Arc<dyn DiskFile>,
    segment: Arc<Segment>,
    end: Lsn,
    /// Bytes the active file has; those behind the end are zeros.
    allocated: u64,
    group: Vec<u8>,
    poisoned: Option<LogError>,
}

/// A finished segment whose index waits to be moved to its sidecar, by whoever has time.
#[derive(Debug)]
pub struct Finished {
    reader: Arc<Reader>,
    segment: Arc<Segment>,
    end: Lsn,
}

impl Finished {
    /// Writes the sidecar. Needs no particular thread and no particular moment.
    pub fn seal(self) {
        self.segment.index.seal(self.reader.files(), self.segment.base, self.end);
    }
}

/// A group's memory is kept for the next one up to this size.
const GROUP_BYTES_KEPT: usize = 4 << 20;

impl Writer {
    /// Opens the log in a folder, which the caller made and locked, and repairs what a power loss left.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if acknowledged data is missing or damaged; [`LogError::Fatal`] or [`LogError::DiskFull`]
    /// if the disk does not do what is asked.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, options: Options) -> Result<Self, LogError> {
        let files = Files::new(disk, folder);
        let Recovered { mark, bases, active, end, memory } = recover(&files)?;
        let allocated = active.length().map_err(|e| unwritable(folder, "measure a file of", &e))?;
        let (last, sealed) = bases.split_last().expect("recovery leaves at least one segment");
        let segment = Arc::new(Segment { base: *last, index: Part::memory(memory) });
        let sealed = sealed.iter().map(|base| Arc::new(Segment { base: *base, index: Part::unread() }));
        let segments = sealed.chain([Arc::clone(&segment)]).collect();
        let reader = Arc::new(Reader::new(files, segments, end));
        Ok(Self { reader, options, mark, active, segment, end, allocated, group: Vec::new(), poisoned: None })
    }

    /// Reads what this writer has committed, while it goes on.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Everything below is durable, and the next block begins here.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Where the next block may end so that it still fits into the segment.
    pub fn limit(&self) -> Lsn {
        Lsn(self.segment.base.0 + self.options.segment_bytes)
    }

    /// Begins a new segment if a block of `bytes` does not fit into this one. Returns the finished one.
    ///
    /// # Errors
    /// [`LogError::DiskFull`] if there is no space for another file; [`LogError::Fatal`] if it cannot be made.
    pub fn make_room(&mut self, bytes: u64) -> Result<Option<Finished>, LogError> {
        self.poisoned.clone().map_or(Ok(()), Err)?;
        if self.end == self.segment.base || self.end.0 + bytes <= self.limit().0 {
            return Ok(None);
        }
        let rolled = self.roll();
        self.poison_unless_full(rolled).map(Some)
    }

    fn roll(&mut self) -> Result<Finished, LogError> {
        let files = self.reader.files();
        let path = files.segment(self.segment.base);
        // Its exact length is how recovery sees that the segment is whole, so it must be durable before there is a next.
        let length = self.end.0 - self.segment.base.0;
        self.active.set_length(length).map_err(|e| unwritable(&path, "cut", &e))?;
        self.allocated = length;
        self.active.sync().map_err(|e| unwritable(&path, "sync", &e))?;
        self.active = create_segment(files, self.end)?;
        self.allocated = 0;
        let next = Arc::new(Segment { base: self.end, index: Part::memory(Memory::default()) });
        self.reader.push(Arc::clone(&next));
        let finished = std::mem::replace(&mut self.segment, next);
        // From here on the loss of the new segment's file cannot go unnoticed.
        self.mark.raise(Bound { end: self.end, segment: self.end })?;
        Ok(Finished { reader: Arc::clone(&self.reader), segment: finished, end: self.end })
    }

    /// Commits a group of blocks, each sealed for its address from [`Self::end`] on, within the segment that
    /// [`Self::make_room`] left. On return it is durable and readable.
    ///
    /// # Errors
    /// [`LogError::DiskFull`] if nothing of it is in the log and the next group may be tried; [`LogError::Fatal`] if it
    /// is unknown whether it is, after which this writer refuses everything.
    pub fn append(&mut self, blocks: &[(Block, Vec<IndexEntry>)]) -> Result<(), LogError> {
        self.poisoned.clone().map_or(Ok(()), Err)?;
        debug_assert!(blocks.first().is_none_or(|(block, _)| block.lsn() == self.end));
        let written = match blocks {
            [] => return Ok(()),
            [(block, _)] => self.write(block.bytes()),
            many => {
                let mut group = std::mem::take(&mut self.group);
                group.clear();
                many.iter().for_each(|(block, _)| group.extend_from_slice(block.bytes()));
                let written = self.write(&group);
                group.shrink_to(GROUP_BYTES_KEPT);
                self.group = group;
                written
            }
        };
        self.poison_unless_full(written)?;
        for (block, index) in blocks {
            self.segment.index.add(block.lsn(), index);
        }
        self.reader.publish(self.end);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.reader.files().segment(self.segment.base);
        let start = self.end.0 - self.segment.base.0;
        self.allocate(start + bytes.len() as u64)?;
        if let Err(error) = self.active.write_at(bytes, start) {
            let failed = unwritable(&path, "write", &error);
            return Err(if is_full(&error) { self.take_back(start)? } else { failed });
        }
        self.active.sync().map_err(|e| unwritable(&path, "sync", &e))?;
        self.end.0 += bytes.len() as u64;
        self.allocated = self.allocated.max(start + bytes.len() as u64);
        Ok(())
    }

    /// Lengthens the file to hold `end` bytes and some more, or only these if there is no space for more.
    fn allocate(&mut self, end: u64) -> Result<(), LogError> {
        if end <= self.allocated || self.options.allocate_bytes == 0 {
            return Ok(());
        }
        let path = self.reader.files().segment(self.segment.base);
        let ahead = (self.allocated + self.options.allocate_bytes).min(self.options.segment_bytes).max(end);
        for goal in [ahead, end] {
            match self.active.allocate(self.allocated, goal - self.allocated) {
                Ok(()) => {
                    // A filesystem that cannot reserve is not asked again for these bytes either.
                    self.allocated = goal;
                    return Ok(());
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(unwritable(&path, "lengthen", &error)),
            }
        }
        Err(LogError::DiskFull { path: path.display().to_string() })
    }

    /// Undoes a write that ran out of space: its bytes must not be found later behind a shorter group. If even that
    /// fails, the error is fatal.
    fn take_back(&mut self, start: u64) -> Result<LogError, LogError> {
        let path = self.reader.files().segment(self.segment.base);
        self.active.set_length(start).map_err(|e| unwritable(&path, "cut", &e))?;
        self.allocated = start;
        self.active.sync().map_err(|e| unwritable(&path, "sync", &e))?;
        Ok(LogError::DiskFull { path: path.display().to_string() })
    }

    fn poison_unless_full<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result
            && !matches!(error, LogError::DiskFull { .. })
        {
            self.poisoned = Some(error.clone());
        }
        result
    }

    /// Writes down how far the log is durable, beyond what its last group says of the groups before it. For moments
    /// in which nothing else is to do.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if that cannot be written; this writer refuses everything then.
    pub fn note_end(&mut self) -> Result<(), LogError> {
        self.poisoned.clone().map_or(Ok(()), Err)?;
        let raised = self.mark.raise(Bound { end: self.end, segment: self.segment.base });
        self.poison_unless_full(raised)
    }

    /// Whether [`Self::note_end`] would say something new.
    pub fn end_is_noted(&self) -> bool {
        self.mark.bound().end >= self.end
    }
}
