//! Reading a log while it is being written: by address, in order, and by aggregate. Many threads at once, without a
//! lock that a writer could wait for, and never beyond what was committed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::super::{Block, History, LogError, Lsn};
use super::disk::read_full;
use super::error::{corrupt, unreadable};
use super::files::Files;
use super::format::{NotABlock, aggregate_key};
use super::index::{Memory, Part, entries_of};
use super::window::Window;

/// First read of a single block: most blocks are whole in it.
const BLOCK_READ_BYTES: usize = 8 << 10;

/// A log's committed blocks and their index.
#[derive(Debug)]
pub struct Reader {
    files: Files,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    end: AtomicU64,
}

/// One segment file and its part of the index.
#[derive(Debug)]
pub struct Segment {
    pub base: Lsn,
    pub index: Part,
}

impl Reader {
    /// A reader of segments in order of their addresses, committed up to `end`.
    pub(super) fn new(files: Files, segments: Vec<Arc<Segment>>, end: Lsn) -> Self {
        Self { files, segments: RwLock::new(Arc::new(segments)), end: AtomicU64::new(end.0) }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Everything below is committed and durable.
    pub fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::Acquire))
    }

    /// Lets readers see everything below `end`.
    pub(super) fn publish(&self, end: Lsn) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Adds a segment that begins at the end.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut longer = Vec::clone(&segments);
        longer.push(segment);
        *segments = Arc::new(longer);
    }

    fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The committed block at an address.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if no committed block begins there, or it is damaged; [`LogError::Fatal`] if the disk does
    /// not let itself be read.
    pub fn block(&self, lsn: Lsn) -> Result<Block, LogError> {
        let (base, end) = self.segment_of(lsn)?;
        let path = self.files.segment(base);
        let offset = lsn.0 - base.0;
        let room = (end.0 - lsn.0) as usize;
        let broken = |e: std::io::Error| unreadable(&path, "read", &e);
        let damaged = |e: NotABlock| corrupt(&path, offset, e);
        let file = self.files.reading(&path).map_err(broken)?;
        let mut bytes = vec![0; room.min(BLOCK_READ_BYTES)];
        let first = read_full(&*file, &mut bytes, offset).map_err(broken)?;
        let length = Block::length(&bytes[..first]).map_err(damaged)?;
        if length > room {
            return Err(damaged(NotABlock::Short));
        }
        bytes.resize(length, 0);
        if length > first {
            let rest = read_full(&*file, &mut bytes[first..], offset + first as u64).map_err(broken)?;
            bytes.truncate(first + rest);
        }
        bytes.shrink_to_fit();
        Block::parse(bytes, lsn).map_err(damaged)
    }

    /// The committed blocks that begin at or after `from` and before `until`, in order. `from` is the address of a
    /// block, or the end. What is committed while it goes on is not part of it.
    pub fn iterate(&self, from: Lsn, until: Lsn) -> Blocks<'_> {
        Blocks { reader: self, at: from, until: until.min(self.end()), window: None, failed: false }
    }

    /// Base and end of the segment that holds an address.
    fn segment_of(&self, lsn: Lsn) -> Result<(Lsn, Lsn), LogError> {
        // The end is read first: a segment that is pushed afterwards begins at or behind it.
        let end = self.end();
        if lsn >= end {
            return Err(LogError::Corrupt(format!(
                "the log in {} ends at address {end}, but a block at {lsn} is asked for: \
                 what named it belongs to another or a longer log",
                self.files.folder().display()
            )));
        }
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.base <= lsn);
        let next = segments.get(after).map_or(end, |segment| segment.base);
        Ok((segments[after.saturating_sub(1)].base, next.min(end)))
    }

    /// Addresses of all committed blocks with entries of an aggregate, oldest first, each with the aggregate's version
    /// before it. Another aggregate may share the key: compare type and id.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the disk does not let itself be read; [`LogError::Corrupt`] if an index had to be made
    /// anew and its segment is damaged.
    pub fn blocks_of(&self, key: u64) -> Result<Vec<(Lsn, u64)>, LogError> {
        let mut all = self.blocks_before(key, self.end(), usize::MAX)?;
        all.reverse();
        Ok(all)
    }

    /// Like [`Self::blocks_of`] newest first: at most `limit` blocks that begin before `before`, to be asked again with
    /// the last one's address. Segments older than the last one needed are not looked at.
    ///
    /// # Errors
    /// As [`Self::blocks_of`].
    pub fn blocks_before(&self, key: u64, before: Lsn, limit: usize) -> Result<Vec<(Lsn, u64)>, LogError> {
        let end = self.end();
        let before = before.min(end);
        let segments = self.segments();
        let mut out = Vec::new();
        let mut found = Vec::new();
        let mut next = end;
        for segment in segments.iter().rev() {
            let range = (segment.base, next);
            next = segment.base.min(end);
            if segment.base >= before {
                continue;
            }
            found.clear();
            segment.index.newest_first(&self.files, range, key, &mut found, || self.scan(range))?;
            out.extend(found.iter().filter(|(lsn, _)| *lsn < before));
            if out.len() >= limit {
                out.truncate(limit);
                break;
            }
        }
        Ok(out)
    }

    /// The blocks one must read to see an aggregate's events from version `from` on (1 is the first), oldest first,
    /// each with the aggregate's version before it. Stops looking as soon as it meets an older block of this very
    /// aggregate, which it reads to be sure.
    ///
    /// # Errors
    /// As [`Self::blocks_of`], and as [`Self::block`].
    pub fn blocks_from(&self, aggregate_type: &str, id: &str, from: u64) -> Result<Vec<(Lsn, u64)>, LogError> {
        const PAGE: usize = 256;
        let key = aggregate_key(aggregate_type, id);
        let mut out = Vec::new();
        let mut before = self.end();
        loop {
            let page = self.blocks_before(key, before, PAGE)?;
            for &(lsn, version_before) in &page {
                before = lsn;
                if version_before < from {
                    let block = self.block(lsn)?;
                    if block.entries().any(|(_, e)| e.aggregate_type == aggregate_type && e.aggregate_id == id) {
                        out.push((lsn, version_before));
                        out.reverse();
                        return Ok(out);
                    }
                } else {
                    out.push((lsn, version_before));
                }
            }
            if page.len() < PAGE {
                out.reverse();
                return Ok(out);
            }
        }
    }

    /// Makes the index of a segment from its blocks.
    fn scan(&self, (base, end): (Lsn, Lsn)) -> Result<Memory, LogError> {
        let mut memory = Memory::default();
        for block in self.iterate(base, end) {
            let block = block?;
            memory.add(block.lsn(), &entries_of(&block));
        }
        Ok(memory)
    }
}

impl History for Reader {
    fn block(&self, at: Lsn) -> Result<Block, LogError> {
        self.block(at)
    }

    fn blocks_from(&self, aggregate_type: &str, id: &str, from: u64) -> Result<Vec<Lsn>, LogError> {
        Ok(self.blocks_from(aggregate_type, id, from)?.into_iter().map(|(lsn, _)| lsn).collect())
    }

    fn blocks_after(&self, aggregate_type: &str, id: &str, after: Lsn) -> Result<Vec<Lsn>, LogError> {
        const PAGE: usize = 256;
        let key = aggregate_key(aggregate_type, id);
        let mut out = Vec::new();
        let mut before = self.end();
        loop {
            let page = self.blocks_before(key, before, PAGE)?;
            let newer = page.iter().take_while(|(lsn, _)| *lsn > after).count();
            out.extend(page[..newer].iter().map(|(lsn, _)| *lsn));
            if newer < PAGE {
                out.reverse();
                return Ok(out);
            }
            before = page[PAGE - 1].0;
        }
    }
}

/// Committed blocks in order. Ends after the first error.
#[derive(Debug)]
pub struct Blocks<'a> {
    reader: &'a Reader,
    at: Lsn,
    until: Lsn,
    window: Option<Window>,
    failed: bool,
}

impl Iterator for Blocks<'_> {
    type Item = Result<Block, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.until {
            return None;
        }
        let block = self.read();
        match &block {
            Ok(block) => self.at = block.end(),
            Err(_) => self.failed = true,
        }
        Some(block)
    }
}

impl Blocks<'_> {
    fn read(&mut self) -> Result<Block, LogError> {
        if self.window.as_ref().is_none_or(|window| self.at >= window.end()) {
            let (base, end) = self.reader.segment_of(self.at)?;
            let path = self.reader.files.segment(base);
            let file = self.reader.files.reading(&path).map_err(|e| unreadable(&path, "open", &e))?;
            self.window = Some(Window::new(file, base, end));
        }
        let window = self.window.as_mut().expect("opened above");
        let base = window.base();
        let path = || self.reader.files.segment(base);
        match window.block(self.at) {
            Ok(block) => block.map_err(|why| corrupt(&path(), self.at.0 - base.0, why)),
            Err(error) => Err(unreadable(&path(), "read", &error)),
        }
    }
}
