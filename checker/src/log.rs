//! The log as it lies on disk, read without the host: segment files, blocks, entries, and what is wrong with them.
//!
//! A folder of files `{20-digit address}.log`. Blocks stand back to back, a block's address counts bytes since the log
//! began, over all files. Files are made larger than what is in them, so a file may end in zeros.
//! What a crash may leave behind the last durable block is a torn tail; the same anywhere else is damage.

pub mod entry;

use std::fs;
use std::path::{Path, PathBuf};

pub use entry::{Answer, Entry};

/// Bytes of a block before its entries.
pub const HEADER_BYTES: usize = 48;
const MAGIC: &[u8; 4] = b"OBLK";
/// More than any block can hold; a longer one is not believed.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// A log's folder.
#[derive(Debug)]
pub struct Log {
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    base: u64,
    path: PathBuf,
}

/// One commit.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Its address.
    pub lsn: u64,
    /// 1: answered commands, 2: an owner's record.
    pub kind: u8,
    /// The lane that wrote it.
    pub lane: u32,
    /// Number of lanes when it was written.
    pub lanes: u32,
    /// Everything below this address was durable when it was written.
    pub durable: u64,
    /// Address of the owner's record under which it was written.
    pub term: u64,
    /// Number of entries its header claims.
    pub count: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A block of answered commands.
pub const KIND_ENTRIES: u8 = 1;
/// The record by which an owner took its lane.
pub const KIND_OWNER: u8 = 2;

/// What reading a log comes across, in order.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A whole block.
    Block(Block<'a>),
    /// Bytes that are no block although durable blocks follow them.
    Damage {
        /// Address of the first bad byte.
        lsn: u64,
        /// What is there.
        what: String,
    },
    /// What a crash left behind the last durable block: legal, and the end.
    TornTail {
        /// Address of the first bad byte.
        lsn: u64,
        /// Bytes up to the last one that is not zero.
        bytes: u64,
    },
}

/// The log cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("the log at {path} cannot be read: {cause}")]
pub struct Unreadable {
    /// Folder or file.
    pub path: String,
    /// What the system said.
    pub cause: String,
}

fn unreadable(path: &Path, cause: impl ToString) -> Unreadable {
    Unreadable { path: path.display().to_string(), cause: cause.to_string() }
}

impl Log {
    /// Finds the segments of a log.
    ///
    /// # Errors
    /// If the folder cannot be listed, or a `.log` file in it is not named by an address.
    pub fn open(folder: &Path) -> Result<Self, Unreadable> {
        let mut segments = Vec::new();
        for file in fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
            let path = file.map_err(|e| unreadable(folder, e))?.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let base = match name.parse() {
                Ok(base) if name.len() == 20 => base,
                _ => return Err(unreadable(&path, "its name is not an address of 20 digits")),
            };
            segments.push(Segment { base, path });
        }
        segments.sort_by_key(|segment| segment.base);
        Ok(Self { segments })
    }

    /// Hands every piece of the log to `visit`, in order. One segment is in memory at a time.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn read(&self, visit: &mut dyn FnMut(Piece<'_>)) -> Result<(), Unreadable> {
        let mut expected = 0;
        for (index, segment) in self.segments.iter().enumerate() {
            if segment.base != expected {
                let what = format!("the log goes on at {} in {}", segment.base, segment.path.display());
                visit(Piece::Damage { lsn: expected, what });
            }
            let bytes = fs::read(&segment.path).map_err(|e| unreadable(&segment.path, e))?;
            match self.walk(index, &bytes, visit)? {
                Walked::To(end) => expected = end,
                Walked::TornAt(lsn) => {
                    let start = usize::try_from(lsn - segment.base).unwrap_or(usize::MAX);
                    let rest = bytes.get(start..).unwrap_or_default();
                    let torn = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
                    visit(Piece::TornTail { lsn, bytes: torn });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The block at an address, with the bytes it lies in, for showing it again.
    pub fn with_block<T>(&self, lsn: u64, show: impl FnOnce(Block<'_>) -> T) -> Option<T> {
        use std::io::{Read, Seek, SeekFrom};
        let segment = self.segments.iter().rev().find(|segment| segment.base <= lsn)?;
        let mut file = fs::File::open(&segment.path).ok()?;
        file.seek(SeekFrom::Start(lsn - segment.base)).ok()?;
        let mut bytes = vec![0; HEADER_BYTES];
        file.read_exact(&mut bytes).ok()?;
        let length = block_length(&bytes)?;
        file.take((length - HEADER_BYTES) as u64).read_to_end(&mut bytes).ok()?;
        block_at(&bytes, lsn).ok().map(show)
    }

    fn walk(&self, index: usize, bytes: &[u8], visit: &mut dyn FnMut(Piece<'_>)) -> Result<Walked, Unreadable> {
        let base = self.segments[index].base;
        let mut at = 0;
        loop {
            let lsn = base + at as u64;
            let rest = &bytes[at..];
            match block_at(rest, lsn) {
                Ok(block) => {
                    visit(Piece::Block(block));
                    at += HEADER_BYTES + block.payload.len();
                }
                Err(_) if rest.iter().all(|&byte| byte == 0) => return Ok(Walked::To(lsn)),
                Err(what) => match self.resume(index, bytes, at)? {
                    None => return Ok(Walked::TornAt(lsn)),
                    Some(next) => {
                        visit(Piece::Damage { lsn, what });
                        match next.checked_sub(base).and_then(|next| usize::try_from(next).ok()) {
                            Some(next) if next < bytes.len() => at = next,
                            _ => return Ok(Walked::To(next)),
                        }
                    }
                },
            }
        }
    }

    /// Where the log goes on after the bad bytes at `at`, if a later block proves that they had been durable.
    fn resume(&self, index: usize, bytes: &[u8], at: usize) -> Result<Option<u64>, Unreadable> {
        let bad = self.segments[index].base + at as u64;
        let mut first = None;
        let mut proved = |base: u64, bytes: &[u8], from: usize| {
            later_blocks(bytes, from, base).any(|block| {
                first.get_or_insert(block.lsn);
                block.durable > bad
            })
        };
        let mut found = proved(self.segments[index].base, bytes, at + 1);
        for segment in &self.segments[index + 1..] {
            if found {
                break;
            }
            let bytes = fs::read(&segment.path).map_err(|e| unreadable(&segment.path, e))?;
            found = proved(segment.base, &bytes, 0);
        }
        Ok(first.filter(|_| found))
    }
}

enum Walked {
    To(u64),
    TornAt(u64),
}

/// Whole blocks at their own address anywhere behind `from`.
fn later_blocks(bytes: &[u8], from: usize, base: u64) -> impl Iterator<Item = Block<'_>> {
    let mut at = from;
    std::iter::from_fn(move || {
        loop {
            let found = bytes.get(at..)?.windows(4).position(|window| window == MAGIC)?;
            at += found;
            match block_at(&bytes[at..], base + at as u64) {
                Ok(block) => {
                    at += HEADER_BYTES + block.payload.len();
                    return Some(block);
                }
                Err(_) => at += 1,
            }
        }
    })
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn block_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER_BYTES || &bytes[..4] != MAGIC {
        return None;
    }
    let payload = u32::from_le_bytes(number(bytes, 4)) as usize;
    (payload <= PAYLOAD_BYTES_MAX).then_some(HEADER_BYTES + payload)
}

/// The block that starts with these bytes, if it is whole, unharmed and where it says it is.
fn block_at(bytes: &[u8], lsn: u64) -> Result<Block<'_>, String> {
    let Some(length) = block_length(bytes) else { return Err("no block starts here".into()) };
    let Some(bytes) = bytes.get(..length) else { return Err("a block is cut short".into()) };
    if crc32c::crc32c(&bytes[12..]) != u32::from_le_bytes(number(bytes, 8)) {
        return Err("a block's checksum does not match its bytes".into());
    }
    if bytes[13] != 1 {
        return Err(format!("a block of format {}, this reader knows format 1", bytes[13]));
    }
    let own = u64::from_le_bytes(number(bytes, 16));
    if own != lsn {
        return Err(format!("a block that belongs at {own}"));
    }
    Ok(Block {
        lsn,
        kind: bytes[12],
        lane: u32::from(u16::from_le_bytes(number(bytes, 14))),
        durable: u64::from_le_bytes(number(bytes, 24)),
        term: u64::from_le_bytes(number(bytes, 32)),
        count: u32::from_le_bytes(number(bytes, 40)),
        lanes: u32::from_le_bytes(number(bytes, 44)),
        payload: &bytes[HEADER_BYTES..],
    })
}
