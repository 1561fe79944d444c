//! The index of a finished segment as a file: a header page, pages of sorted postings, pages of first keys. Every page
//! carries its number and a checksum, so a lookup reads one page and can believe it. docs/log-format.md has the bytes.
//!
//! It is never synced: after a power loss it may be anything, and a damaged one is made anew from its segment.

use std::io;
use std::path::PathBuf;

use super::super::super::{LogError, Lsn};
use super::super::disk::{Access, DiskFile, read_full};
use super::super::error::unreadable;
use super::super::files::Files;
use super::Posting;

const MAGIC: u32 = u32::from_le_bytes(*b"OIDX");
const FORMAT: u32 = 1;
const PAGE_BYTES: usize = 4096;
/// Payload of a page; behind it: `u32` items in the page, `u64` number of the page, `u32` CRC32C of all before.
const PAGE_PAYLOAD_BYTES: usize = PAGE_BYTES - 16;
const POSTING_BYTES: usize = 24;
const POSTINGS_PER_PAGE: usize = PAGE_PAYLOAD_BYTES / POSTING_BYTES;
const KEYS_PER_PAGE: usize = PAGE_PAYLOAD_BYTES / 8;
/// Pages written at once.
const WRITE_PAGES: usize = 64;

type Page = [u8; PAGE_BYTES];

/// A sidecar whose first keys are in memory: 8 bytes per 170 postings.
#[derive(Debug)]
pub struct Sidecar {
    path: PathBuf,
    /// Key of the first posting of each page.
    first_keys: Vec<u64>,
}

impl Sidecar {
    /// Opens the sidecar of the segment from `base` to `end`; `None` if it is missing, damaged or of another segment.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the disk does not let itself be read.
    pub fn open(files: &Files, base: Lsn, end: Lsn) -> Result<Option<Self>, LogError> {
        let path = files.sidecar(base);
        let file = match files.reading(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, "open", &error)),
        };
        let first_keys = read_first_keys(&*file, base, end).map_err(|e| unreadable(&path, "read", &e))?;
        Ok(first_keys.map(|first_keys| Self { path, first_keys }))
    }

    /// Writes the sidecar of a segment from postings sorted by key and address. `None` if that does not work, which is
    /// said in the log and harms only the speed of reading.
    pub fn write(files: &Files, base: Lsn, end: Lsn, postings: Vec<Posting>) -> Option<Self> {
        let path = files.sidecar(base);
        let draft = path.with_extension("idx-tmp");
        let done = files
            .disk()
            .open(&draft, Access::Create)
            .and_then(|file| write_pages(&*file, base, end, &postings))
            .and_then(|()| files.disk().rename(&draft, &path));
        files.forget(&path);
        match done {
            Ok(()) => {
                let first_keys = postings.chunks(POSTINGS_PER_PAGE).map(|page| page[0].key).collect();
                Some(Self { path, first_keys })
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot write the index of a segment: it stays in memory");
                None
            }
        }
    }

    /// Appends the blocks of a key to `out`, newest first; `false` if a page is damaged.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the disk does not let itself be read.
    pub fn newest_first(&self, files: &Files, key: u64, out: &mut Vec<(Lsn, u64)>) -> Result<bool, LogError> {
        let start = out.len();
        // The page before the first that begins with the key may end with it.
        let from = self.first_keys.partition_point(|first| *first < key).saturating_sub(1);
        let until = self.first_keys.partition_point(|first| *first <= key);
        let file = match files.reading(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(&self.path, "open", &error)),
        };
        for number in from..until {
            let page = read_page(&*file, 1 + number).map_err(|e| unreadable(&self.path, "read", &e))?;
            let Some((page, count)) = page else { return Ok(false) };
            let found = page.chunks_exact(POSTING_BYTES).take(count).map(posting).filter(|p| p.key == key);
            out.extend(found.map(|p| (p.lsn, p.version_before)));
        }
        out[start..].reverse();
        Ok(true)
    }
}

fn posting(bytes: &[u8]) -> Posting {
    Posting { key: u64_at(bytes, 0), lsn: Lsn(u64_at(bytes, 8)), version_before: u64_at(bytes, 16) }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn seal_page(page: &mut Page, count: usize, number: usize) {
    page[PAGE_PAYLOAD_BYTES..PAGE_PAYLOAD_BYTES + 4].copy_from_slice(&(count as u32).to_le_bytes());
    page[PAGE_PAYLOAD_BYTES + 4..PAGE_BYTES - 4].copy_from_slice(&(number as u64).to_le_bytes());
    let crc = crc32c::crc32c(&page[..PAGE_BYTES - 4]);
    page[PAGE_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// Reads a page and how many items it holds; `None` if it is damaged or another one.
fn read_page(file: &dyn DiskFile, number: usize) -> io::Result<Option<(Page, usize)>> {
    let mut page = [0; PAGE_BYTES];
    let n = read_full(file, &mut page, (number * PAGE_BYTES) as u64)?;
    let crc = u32::from_le_bytes(page[PAGE_BYTES - 4..].try_into().expect("four bytes"));
    let whole = n == PAGE_BYTES && crc32c::crc32c(&page[..PAGE_BYTES - 4]) == crc;
    if !whole || u64_at(&page, PAGE_PAYLOAD_BYTES + 4) != number as u64 {
        return Ok(None);
    }
    let count = u32::from_le_bytes(page[PAGE_PAYLOAD_BYTES..PAGE_PAYLOAD_BYTES + 4].try_into().expect("four bytes"));
    Ok(Some((page, count as usize)))
}

fn header(base: Lsn, end: Lsn, postings: usize) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[..4].copy_from_slice(&MAGIC.to_le_bytes());
    page[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    page[8..16].copy_from_slice(&base.0.to_le_bytes());
    page[16..24].copy_from_slice(&end.0.to_le_bytes());
    page[24..32].copy_from_slice(&(postings as u64).to_le_bytes());
    seal_page(&mut page, 0, 0);
    page
}

fn read_first_keys(file: &dyn DiskFile, base: Lsn, end: Lsn) -> io::Result<Option<Vec<u64>>> {
    let Some((page, _)) = read_page(file, 0)? else { return Ok(None) };
    let postings = u64_at(&page, 24) as usize;
    if page != header(base, end, postings) {
        return Ok(None);
    }
    let pages = postings.div_ceil(POSTINGS_PER_PAGE);
    let key_pages = pages.div_ceil(KEYS_PER_PAGE);
    if file.length()? != ((1 + pages + key_pages) * PAGE_BYTES) as u64 {
        return Ok(None);
    }
    let mut first_keys = Vec::with_capacity(pages);
    for number in 0..key_pages {
        let Some((page, count)) = read_page(file, 1 + pages + number)? else { return Ok(None) };
        first_keys.extend(page.chunks_exact(8).take(count).map(|bytes| u64_at(bytes, 0)));
    }
    Ok((first_keys.len() == pages).then_some(first_keys))
}

fn write_pages(file: &dyn DiskFile, base: Lsn, end: Lsn, postings: &[Posting]) -> io::Result<()> {
    let mut out = Pages { file, bytes: Vec::with_capacity(WRITE_PAGES * PAGE_BYTES), number: 0 };
    out.push(header(base, end, postings.len()), 0)?;
    for chunk in postings.chunks(POSTINGS_PER_PAGE) {
        let mut page = [0; PAGE_BYTES];
        for (to, posting) in page.chunks_exact_mut(POSTING_BYTES).zip(chunk) {
            to[..8].copy_from_slice(&posting.key.to_le_bytes());
            to[8..16].copy_from_slice(&posting.lsn.0.to_le_bytes());
            to[16..].copy_from_slice(&posting.version_before.to_le_bytes());
        }
        out.push(page, chunk.len())?;
    }
    let first_keys: Vec<u64> = postings.chunks(POSTINGS_PER_PAGE).map(|page| page[0].key).collect();
    for chunk in first_keys.chunks(KEYS_PER_PAGE) {
        let mut page = [0; PAGE_BYTES];
        for (to, key) in page.chunks_exact_mut(8).zip(chunk) {
            to.copy_from_slice(&key.to_le_bytes());
        }
        out.push(page, chunk.len())?;
    }
    out.flush()
}

/// Gathers pages into large writes.
struct Pages<'a> {
    file: &'a dyn DiskFile,
    bytes: Vec<u8>,
    number: usize,
}

impl Pages<'_> {
    fn push(&mut self, mut page: Page, count: usize) -> io::Result<()> {
        seal_page(&mut page, count, self.number);
        self.bytes.extend_from_slice(&page);
        self.number += 1;
        if self.bytes.len() >= WRITE_PAGES * PAGE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let offset = self.number * PAGE_BYTES - self.bytes.len();
        self.file.write_at(&self.bytes, offset as u64)?;
        self.bytes.clear();
        Ok(())
    }
}
