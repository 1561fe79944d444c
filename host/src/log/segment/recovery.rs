//! Opening a log that something may have happened to. What a power loss can leave is made good; everything else is
//! refused by file and byte.
//!
//! A power loss (or a kill in the middle of a write) can only damage what was never acknowledged: the group that was
//! being written, at the very end. The end is the first place without a good block. It is believed to be the end only if
//! nobody contradicts: no block behind it that was written after a sync of what is missing ([`Block::durable`]), no
//! [`Mark`] beyond it, no segment after it.

use std::sync::Arc;

use super::super::{Block, LogError, Lsn};
use super::disk::{Access, DiskFile, read_full};
use super::error::{corrupt, is_full, unreadable, unwritable};
use super::files::Files;
use super::format::{HEADER_BYTES, MAGIC, NotABlock, header};
use super::index::{Memory, entries_of};
use super::mark::{Bound, Mark};
use super::window::Window;

const READ_BYTES: usize = 1 << 20;

/// A log that can be written on from its end.
#[derive(Debug)]
pub struct Recovered {
    pub mark: Mark,
    /// Where the segments begin; the last one is open for writing.
    pub bases: Vec<Lsn>,
    pub active: Arc<dyn DiskFile>,
    pub end: Lsn,
    /// Index of the last segment.
    pub memory: Memory,
}

/// Brings a folder's log into a state in which it can be written on; an empty folder gets its first segment.
///
/// # Errors
/// [`LogError::Corrupt`] if acknowledged data is missing or damaged; [`LogError::Fatal`] or [`LogError::DiskFull`] if
/// the disk does not do what is asked.
pub fn recover(files: &Files) -> Result<Recovered, LogError> {
    remove_drafts(files)?;
    let mut bases = files.bases()?;
    let mut mark = Mark::open(files)?;
    if bases.is_empty() {
        if mark.bound() > Bound::default() {
            return Err(corrupt(&files.segment(Lsn(0)), 0, "the file is missing"));
        }
        create_segment(files, Lsn(0))?;
        bases.push(Lsn(0));
    }
    check_joins(files, &bases, mark.bound())?;
    let base = *bases.last().expect("there is at least one segment");
    let path = files.segment(base);
    let active = files.disk().open(&path, Access::Write).map_err(|e| unreadable(&path, "open", &e))?;
    let tail = scan(files, &active, base)?;
    let torn = tail.why.is_some() && !is_zero(files, &*active, base, tail.end)?;
    judge(files, &*active, base, &tail, &mark, torn)?;
    let active = if tail.end == base {
        // The process that made it may have failed to make its name durable, and would have written nothing then.
        create_segment(files, base)?
    } else {
        make_durable(files, &*active, base, &tail, mark.bound().end, torn)?;
        active
    };
    mark.raise(Bound { end: tail.end, segment: base })?;
    Ok(Recovered { mark, bases, active, end: tail.end, memory: tail.memory })
}

/// Makes an empty segment whose name and length are durable.
///
/// # Errors
/// [`LogError::DiskFull`] if there is no space for it; [`LogError::Fatal`] if it cannot be made.
pub fn create_segment(files: &Files, base: Lsn) -> Result<Arc<dyn DiskFile>, LogError> {
    let path = files.segment(base);
    files.make_durable(&path, &[]).map_err(|error| {
        if is_full(&error) {
            LogError::DiskFull { path: path.display().to_string() }
        } else {
            unwritable(&path, "make", &error)
        }
    })
}

/// Files that were being written when the process ended, and were to get their name later.
fn remove_drafts(files: &Files) -> Result<(), LogError> {
    let names = files.disk().names(files.folder()).map_err(|e| unreadable(files.folder(), "list", &e))?;
    for name in names.iter().filter(|name| name.ends_with("tmp")) {
        let path = files.folder().join(name);
        files.disk().remove(&path).map_err(|e| unwritable(&path, "remove", &e))?;
    }
    Ok(())
}

/// Every segment must end where the next one begins, and begin with its own first block. The blocks between are checked
/// when they are read: a finished segment was synced as a whole before its successor was made.
fn check_joins(files: &Files, bases: &[Lsn], bound: Bound) -> Result<(), LogError> {
    if bases[0] != Lsn(0) {
        return Err(corrupt(&files.segment(Lsn(0)), 0, "the file is missing, the log begins with a later one"));
    }
    for pair in bases.windows(2) {
        let path = files.segment(pair[0]);
        let file = files.disk().open(&path, Access::Read).map_err(|e| unreadable(&path, "open", &e))?;
        let (length, wanted) = (file.length().map_err(|e| unreadable(&path, "read", &e))?, pair[1].0 - pair[0].0);
        if length != wanted {
            let why = format!(
                "it has {length} bytes, but the next segment, {}, begins {wanted} bytes after it: \
                 a segment between them is missing, or this one was cut or lengthened",
                files.segment(pair[1]).display()
            );
            return Err(corrupt(&path, length.min(wanted), why));
        }
        let mut header = [0; HEADER_BYTES];
        read_full(&*file, &mut header, 0).map_err(|e| unreadable(&path, "read", &e))?;
        if Block::length(&header).is_err() || header[header::LSN..][..8] != pair[0].0.to_le_bytes() {
            return Err(corrupt(&path, 0, NotABlock::Address));
        }
    }
    let last = *bases.last().expect("there is at least one segment");
    if last < bound.segment {
        return Err(corrupt(&files.segment(bound.segment), 0, "the file is missing"));
    }
    Ok(())
}

/// What the last segment holds.
#[derive(Debug)]
struct Tail {
    /// Behind the last good block.
    end: Lsn,
    /// Why there is no block there; `None` if the file ends there.
    why: Option<NotABlock>,
    /// What the good blocks say was synced.
    durable: Lsn,
    memory: Memory,
}

/// Walks the good blocks of the last segment.
fn scan(files: &Files, file: &Arc<dyn DiskFile>, base: Lsn) -> Result<Tail, LogError> {
    let path = files.segment(base);
    let broken = |e: std::io::Error| unreadable(&path, "read", &e);
    let mut tail = Tail { end: base, why: None, durable: base, memory: Memory::default() };
    let file_end = Lsn(base.0 + file.length().map_err(broken)?);
    let mut window = Window::new(Arc::clone(file), base, file_end);
    while tail.end < file_end {
        match window.block(tail.end).map_err(broken)? {
            Ok(block) => {
                tail.memory.add(block.lsn(), &entries_of(&block));
                tail.durable = tail.durable.max(block.durable());
                tail.end = block.end();
            }
            Err(why) => {
                tail.why = Some(why);
                break;
            }
        }
    }
    Ok(tail)
}

/// Refuses the log if anything says that more than the good blocks was acknowledged.
fn judge(files: &Files, file: &dyn DiskFile, base: Lsn, tail: &Tail, mark: &Mark, torn: bool) -> Result<(), LogError> {
    let path = files.segment(base);
    let offset = tail.end.0 - base.0;
    let why = tail.why.as_ref().map_or_else(|| "the file ends here".to_owned(), ToString::to_string);
    let bound = mark.bound().end;
    if tail.end < bound {
        return Err(corrupt(&path, offset, format!("{why}, but the log was durable up to address {bound}")));
    }
    if !torn {
        return Ok(());
    }
    if !mark.witness() {
        return Err(corrupt(
            &path,
            offset,
            format!("{why}, and the mark, which would tell if that matters, is damaged too"),
        ));
    }
    let later = search(file, base, offset + 1, |block| block.durable() > tail.end);
    match later.map_err(|e| unreadable(&path, "read", &e))? {
        Some(later) => {
            let why = format!("{why}, but a later block (at byte {later}) shows that it was committed");
            Err(corrupt(&path, offset, why))
        }
        None => Ok(()),
    }
}

/// The first place from `offset` on that holds a good block for which `wanted` holds. Blocks begin at any byte, but a
/// good one names its own place.
fn search(
    file: &dyn DiskFile,
    base: Lsn,
    offset: u64,
    wanted: impl Fn(&Block) -> bool,
) -> std::io::Result<Option<u64>> {
    let length = file.length()?;
    let magic = MAGIC.to_le_bytes();
    let mut chunk = vec![0; READ_BYTES + HEADER_BYTES];
    let mut at = offset;
    while at < length {
        let n = read_full(file, &mut chunk, at)?;
        for start in 0..n.min(READ_BYTES) {
            if chunk[start] != magic[0] {
                continue;
            }
            let place = at + start as u64;
            let lsn = Lsn(base.0 + place);
            let Some(head) = chunk[start..n].first_chunk::<HEADER_BYTES>() else { continue };
            let Ok(bytes) = Block::length(head) else { continue };
            if head[header::LSN..header::LSN + 8] != lsn.0.to_le_bytes() || bytes as u64 > length - place {
                continue;
            }
            let mut block = vec![0; bytes];
            let got = read_full(file, &mut block, place)?;
            block.truncate(got);
            if Block::parse(block, lsn).is_ok_and(|block| wanted(&block)) {
                return Ok(Some(place));
            }
        }
        at += READ_BYTES as u64;
    }
    Ok(None)
}

/// Makes sure that what was found survives what comes, and that what was not found never comes back.
fn make_durable(
    files: &Files,
    file: &dyn DiskFile,
    base: Lsn,
    tail: &Tail,
    bound: Lsn,
    torn: bool,
) -> Result<(), LogError> {
    let path = files.segment(base);
    let offset = tail.end.0 - base.0;
    if torn {
        tracing::warn!(file = %path.display(), offset, "cutting off a commit that was never finished");
    }
    if torn || tail.why.is_none() {
        // Otherwise remains of a lost group could later be taken for blocks: their addresses fit. A file that seems to
        // end here is cut too: the process before may have cut it and failed to make that durable. It is lengthened
        // first, because cutting it to the length it has would do nothing.
        for length in [offset + 1, offset] {
            file.set_length(length).map_err(|e| unwritable(&path, "cut", &e))?;
        }
        file.sync().map_err(|e| unwritable(&path, "sync", &e))?;
    }
    // The last group may never have been synced: the process was killed before, or the sync failed and left pages in
    // the cache that look clean. Writing its bytes again makes them dirty again, so that this sync means something.
    let proven = tail.durable.max(bound).max(base).0 - base.0;
    let mut again = vec![0; (offset - proven.min(offset)) as usize];
    if !again.is_empty() {
        read_full(file, &mut again, proven).map_err(|e| unreadable(&path, "read", &e))?;
        file.write_at(&again, proven).map_err(|e| unwritable(&path, "write", &e))?;
    }
    file.sync().map_err(|e| unwritable(&path, "sync", &e))
}

/// Whether the file holds nothing but zeros from `end` on: space that was reserved and never written.
fn is_zero(files: &Files, file: &dyn DiskFile, base: Lsn, end: Lsn) -> Result<bool, LogError> {
    let mut offset = end.0 - base.0;
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let n = read_full(file, &mut chunk, offset).map_err(|e| unreadable(&files.segment(base), "read", &e))?;
        if n == 0 {
            return Ok(true);
        }
        if chunk[..n].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += n as u64;
    }
}
