//! Walking the blocks of one segment file with few, large reads.

use std::io;
use std::sync::Arc;

use super::super::{Block, Lsn};
use super::disk::{DiskFile, read_full};
use super::format::{HEADER_BYTES, NotABlock};

/// Read at once: large enough that the system call does not count.
const READ_BYTES: usize = 1 << 20;

/// The part of a segment that was read and not handed out yet.
#[derive(Debug)]
pub struct Window {
    file: Arc<dyn DiskFile>,
    base: Lsn,
    /// Nothing is read from here on.
    end: Lsn,
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Window {
    /// A window on a file that begins at address `base` and is not read beyond `end`.
    pub fn new(file: Arc<dyn DiskFile>, base: Lsn, end: Lsn) -> Self {
        Self { file, base, end, bytes: Vec::new(), start: 0, filled: 0 }
    }

    pub fn base(&self) -> Lsn {
        self.base
    }

    pub fn end(&self) -> Lsn {
        self.end
    }

    /// The block at `at`, which is where the last one ended, or anywhere at first.
    ///
    /// # Errors
    /// What the operating system says; inside, why there is no good block.
    pub fn block(&mut self, at: Lsn) -> io::Result<Result<Block, NotABlock>> {
        let room = self.end.0 - at.0;
        self.fill(at, HEADER_BYTES)?;
        let length = match Block::length(self.ready()) {
            Ok(length) if length as u64 <= room => length,
            Ok(_) => return Ok(Err(NotABlock::Short)),
            Err(why) => return Ok(Err(why)),
        };
        self.fill(at, length)?;
        let Some(bytes) = self.ready().get(..length) else { return Ok(Err(NotABlock::Short)) };
        let block = Block::parse(bytes.to_vec(), at);
        self.start += length;
        Ok(block)
    }

    fn ready(&self) -> &[u8] {
        &self.bytes[self.start..self.filled]
    }

    /// Sees to it that `need` bytes from `at` on are there, if the file has them.
    fn fill(&mut self, at: Lsn, need: usize) -> io::Result<()> {
        if self.filled - self.start >= need {
            return Ok(());
        }
        self.bytes.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        let from = at.0 + self.filled as u64;
        let left = usize::try_from(self.end.0 - from).unwrap_or(usize::MAX);
        let wanted = need.max(READ_BYTES).min(self.filled.saturating_add(left));
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.filled += read_full(&*self.file, &mut self.bytes[self.filled..wanted], from - self.base.0)?;
        Ok(())
    }
}
