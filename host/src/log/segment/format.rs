//! The bytes of a block: one commit of one lane. docs/log-format.md spells them out for other readers.
//!
//! A block is a header of [`HEADER_BYTES`], a payload of entries, and nothing else. An entry is one answered command:
//! the command as it was taken, and its answer. All integers are little endian.

use std::sync::Arc;

use super::super::Lsn;
use crate::message::{Command, Digest, FailureReason};

/// First bytes of every block.
pub const MAGIC: u32 = u32::from_le_bytes(*b"OBLK");
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 48;
/// The version of this format.
pub const FORMAT: u8 = 1;
/// A block of answered commands.
pub const KIND_ENTRIES: u8 = 1;
/// The record by which an owner proves that it took a lane; its payload is UTF-8 text for people.
pub const KIND_OWNER: u8 = 2;

/// Where the header's fields are.
pub mod header {
    /// `u32` magic.
    pub const MAGIC: usize = 0;
    /// `u32` bytes of payload.
    pub const LENGTH: usize = 4;
    /// `u32` CRC32C of everything from the next field to the end of the payload.
    pub const CRC: usize = 8;
    /// `u8` kind.
    pub const KIND: usize = 12;
    /// `u8` format.
    pub const FORMAT: usize = 13;
    /// `u16` lane that wrote it.
    pub const LANE: usize = 14;
    /// `u64` the block's own address.
    pub const LSN: usize = 16;
    /// `u64` everything below this address was durable when the block was written.
    pub const DURABLE: usize = 24;
    /// `u64` the writer's term.
    pub const TERM: usize = 32;
    /// `u32` number of entries.
    pub const COUNT: usize = 40;
    /// `u32` number of lanes when it was written.
    pub const LANES: usize = 44;
}

/// Where an answered command stands in its partition: numbers its lane assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// Dense number of the entry's first record (event or outcome) in its partition, from 0.
    pub sequence: u64,
    /// Dense number of the command in its partition, from 0.
    pub command_offset: u64,
    /// The aggregate's version after the command.
    pub version: u64,
    /// The module that decided, or was active when it was refused.
    pub module: Digest,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The rules said yes: `count` events as frames, possibly none.
    Accepted {
        /// Number of events.
        count: u32,
        /// The events as frames of MessagePack.
        events: &'a [u8],
    },
    /// The rules said no; their rejection as MessagePack.
    Rejected(&'a [u8]),
    /// The expected version was not the aggregate's.
    Conflict {
        /// The version the aggregate has.
        actual: u64,
    },
    /// No decision came about.
    Failed {
        /// Why.
        reason: FailureReason,
        /// The same for people.
        message: &'a str,
    },
    /// The command's id is known: its answer is the one in the block at `original`.
    Repeated {
        /// Address of the block that holds the first answer to this command id; [`Lsn::UNKNOWN`] if that was not
        /// committed yet: it is in the same block or in the lane's block before.
        original: Lsn,
    },
}

/// One answered command as it is read from a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Partition of the aggregate.
    pub partition: u32,
    /// Its numbers.
    pub head: EntryHead,
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// The command's id.
    pub command_id: &'a str,
    /// The version the caller expected.
    pub expected_version: Option<u64>,
    /// The command's time in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// Order-insensitive hash of the command's body.
    pub body_hash: u64,
    /// What the caller correlates it with; empty if nothing.
    pub correlation_id: &'a str,
    /// W3C trace context; empty if none.
    pub traceparent: &'a str,
    /// The caller's metadata as a MessagePack map; empty if none.
    pub metadata: &'a [u8],
    /// The command as MessagePack.
    pub body: &'a [u8],
    /// What was answered.
    pub answer: Answer<'a>,
}

impl<'a> Entry<'a> {
    /// How many records the entry is worth: its events, or one for an outcome without events.
    pub fn records(&self) -> u64 {
        match self.answer {
            Answer::Accepted { count, .. } => u64::from(count.max(1)),
            _ => 1,
        }
    }

    /// How many events it holds.
    pub fn events(&self) -> u64 {
        match self.answer {
            Answer::Accepted { count, .. } => u64::from(count),
            _ => 0,
        }
    }

    /// The aggregate's version before the command.
    pub fn version_before(&self) -> u64 {
        self.head.version.saturating_sub(self.events())
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cut = Cut(bytes);
        let kind = cut.u8()?;
        let reason = cut.u8()?;
        let has_expected = cut.u8()? != 0;
        let _reserved = cut.u8()?;
        let partition = cut.u32()?;
        let (sequence, command_offset, version) = (cut.u64()?, cut.u64()?, cut.u64()?);
        let (expected, time_ms, body_hash) = (cut.u64()?, cut.u64()? as i64, cut.u64()?);
        let module = Digest(cut.take(32)?.try_into().ok()?);
        let count = cut.u32()?;
        let lengths = [cut.u32()?, cut.u32()?, cut.u32()?, cut.u32()?, cut.u32()?, cut.u32()?, cut.u32()?, cut.u32()?];
        let mut part = lengths.iter().map(|&n| cut.take(n as usize));
        let mut text = || std::str::from_utf8(part.next()??).ok();
        let (aggregate_type, aggregate_id, command_id) = (text()?, text()?, text()?);
        let (correlation_id, traceparent) = (text()?, text()?);
        let (metadata, body, payload) = (part.next()??, part.next()??, part.next()??);
        let answer = match kind {
            0 => Answer::Accepted { count, events: payload },
            1 => Answer::Rejected(payload),
            2 => Answer::Conflict { actual: version },
            3 => Answer::Failed {
                reason: *FailureReason::ALL.get(reason as usize)?,
                message: std::str::from_utf8(payload).ok()?,
            },
            4 => Answer::Repeated { original: Lsn(u64::from_le_bytes(payload.try_into().ok()?)) },
            _ => return None,
        };
        Some(Self {
            partition,
            head: EntryHead { sequence, command_offset, version, module },
            aggregate_type,
            aggregate_id,
            command_id,
            expected_version: has_expected.then_some(expected),
            time_ms,
            body_hash,
            correlation_id,
            traceparent,
            metadata,
            body,
            answer,
        })
    }
}

/// Takes fixed-size pieces off the front of a byte string.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// A block being filled by its lane. Its header is completed by [`BlockBuilder::seal`] when the log knows its address.
#[derive(Debug)]
pub struct BlockBuilder {
    bytes: Vec<u8>,
    count: u32,
    index: Vec<IndexEntry>,
}

/// That a block holds entries of an aggregate, and at which version the aggregate was before the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// [`aggregate_key`] of the aggregate.
    pub key: u64,
    /// The aggregate's version before the block's first entry for it.
    pub version_before: u64,
}

/// The hash under which an aggregate is indexed. Two aggregates may share one: readers compare type and id.
pub fn aggregate_key(aggregate_type: &str, aggregate_id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(aggregate_id.as_bytes(), xxhash_rust::xxh3::xxh3_64(aggregate_type.as_bytes()))
}

impl Default for BlockBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockBuilder {
    /// An empty block of entries.
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0, index: Vec::new() }
    }

    /// Appends an answered command and returns the byte offset of its entry in the block.
    pub fn push(&mut self, head: &EntryHead, command: &Command, answer: &Answer<'_>) -> u32 {
        let start = self.bytes.len();
        let original;
        let (kind, reason, count, payload): (u8, u8, u32, &[u8]) = match *answer {
            Answer::Accepted { count, events } => (0, 0, count, events),
            Answer::Rejected(rejection) => (1, 0, 0, rejection),
            Answer::Conflict { .. } => (2, 0, 0, &[]),
            Answer::Failed { reason, message } => (3, reason as u8, 0, message.as_bytes()),
            Answer::Repeated { original: lsn } => {
                original = lsn.0.to_le_bytes();
                (4, 0, 0, &original)
            }
        };
        let parts: [&[u8]; 8] = [
            command.aggregate_type.as_str().as_bytes(),
            command.aggregate_id.as_str().as_bytes(),
            command.command_id.as_str().as_bytes(),
            command.correlation_id.as_bytes(),
            command.traceparent.as_bytes(),
            &command.metadata,
            &command.body,
            payload,
        ];
        let out = &mut self.bytes;
        out.reserve(128 + parts.iter().map(|p| p.len()).sum::<usize>());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[kind, reason, u8::from(command.expected_version.is_some()), 0]);
        out.extend_from_slice(&command.partition.to_le_bytes());
        for number in [
            head.sequence,
            head.command_offset,
            head.version,
            command.expected_version.unwrap_or(0),
            command.time_ms as u64,
            command.body_hash,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&head.module.0);
        out.extend_from_slice(&count.to_le_bytes());
        for part in parts {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        }
        for part in parts {
            out.extend_from_slice(part);
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        self.index.push(IndexEntry {
            key: aggregate_key(command.aggregate_type.as_str(), command.aggregate_id.as_str()),
            version_before: head.version - u64::from(count),
        });
        start as u32
    }

    /// Entries so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far, header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entry at a byte offset that [`Self::push`] returned.
    pub fn entry(&self, offset: u32) -> Option<Entry<'_>> {
        entry_at(&self.bytes, offset).map(|(entry, _)| entry)
    }

    /// The entries so far, each with its byte offset.
    pub fn entries(&self) -> Entries<'_> {
        Entries { bytes: &self.bytes, at: HEADER_BYTES as u32 }
    }

    /// One index entry per aggregate of the block, by key.
    pub fn take_index(&mut self) -> Vec<IndexEntry> {
        let mut index = std::mem::take(&mut self.index);
        index.sort_unstable();
        index.dedup_by_key(|entry| entry.key);
        index
    }

    /// Completes the header and the checksum. `durable`: everything below it was on disk before this block is written.
    pub fn seal(mut self, kind: u8, lane: u32, lanes: u32, lsn: Lsn, durable: Lsn, term: u64) -> Block {
        let payload = (self.bytes.len() - HEADER_BYTES) as u32;
        let mut put = |at: usize, bytes: &[u8]| self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        put(header::MAGIC, &MAGIC.to_le_bytes());
        put(header::LENGTH, &payload.to_le_bytes());
        put(header::KIND, &[kind, FORMAT]);
        put(header::LANE, &(lane as u16).to_le_bytes());
        put(header::LSN, &lsn.0.to_le_bytes());
        put(header::DURABLE, &durable.0.to_le_bytes());
        put(header::TERM, &term.to_le_bytes());
        put(header::COUNT, &self.count.to_le_bytes());
        put(header::LANES, &lanes.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[header::KIND..]);
        self.bytes[header::CRC..header::CRC + 4].copy_from_slice(&crc.to_le_bytes());
        Block { bytes: Arc::new(self.bytes) }
    }

    /// A block that is an owner's record; `text` says for people who took the lane.
    pub fn owner(text: &str) -> Self {
        let mut owner = Self::new();
        owner.bytes.extend_from_slice(text.as_bytes());
        owner
    }
}

/// A whole, checked block. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Arc<Vec<u8>>,
}

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABlock {
    /// Fewer bytes than the header says, or than a header has.
    #[error("the block is cut short")]
    Short,
    /// Not the magic, or not this format, or an absurd length.
    #[error("there is no block here")]
    Magic,
    /// The checksum does not match.
    #[error("the block's checksum does not match its bytes")]
    Checksum,
    /// The address in it is another one: bytes of an older file or a misdirected write.
    #[error("the block belongs to another place in the log")]
    Address,
}

/// Largest payload believed when reading.
pub const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

impl Block {
    /// Bytes of the whole block that starts with `header`, if that looks like one.
    ///
    /// # Errors
    /// [`NotABlock`] if there are too few bytes, or other ones than a block's first.
    pub fn length(header: &[u8]) -> Result<usize, NotABlock> {
        let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let (magic, length) =
            (word(header::MAGIC).ok_or(NotABlock::Short)?, word(header::LENGTH).ok_or(NotABlock::Short)?);
        if magic != MAGIC || length > PAYLOAD_BYTES_MAX {
            return Err(NotABlock::Magic);
        }
        Ok(HEADER_BYTES + length as usize)
    }

    /// Checks the bytes of exactly one block that should be at `lsn`.
    ///
    /// # Errors
    /// [`NotABlock`] says what is wrong with them.
    pub fn check(bytes: &[u8], lsn: Lsn) -> Result<(), NotABlock> {
        if bytes.len() < HEADER_BYTES || Self::length(bytes)? != bytes.len() {
            return Err(NotABlock::Short);
        }
        let crc = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if crc32c::crc32c(&bytes[header::KIND..]) != crc {
            return Err(NotABlock::Checksum);
        }
        if bytes[header::FORMAT] != FORMAT {
            return Err(NotABlock::Magic);
        }
        if bytes[header::LSN..header::LSN + 8] != lsn.0.to_le_bytes() {
            return Err(NotABlock::Address);
        }
        Ok(())
    }

    /// Takes bytes that are exactly one block.
    ///
    /// # Errors
    /// [`NotABlock`] says what is wrong with them.
    pub fn parse(bytes: Vec<u8>, lsn: Lsn) -> Result<Self, NotABlock> {
        Self::check(&bytes, lsn)?;
        Ok(Self { bytes: Arc::new(bytes) })
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("a block has a whole header"))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("a block has a whole header"))
    }

    /// Its bytes as they are on disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its address.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.u64(header::LSN))
    }

    /// The address right behind it.
    pub fn end(&self) -> Lsn {
        Lsn(self.lsn().0 + self.bytes.len() as u64)
    }

    /// Everything below this address was durable when the block was written.
    pub fn durable(&self) -> Lsn {
        Lsn(self.u64(header::DURABLE))
    }

    /// The term of its writer.
    pub fn term(&self) -> u64 {
        self.u64(header::TERM)
    }

    /// [`KIND_ENTRIES`] or [`KIND_OWNER`].
    pub fn kind(&self) -> u8 {
        self.bytes[header::KIND]
    }

    /// The lane that wrote it.
    pub fn lane(&self) -> u32 {
        u32::from(u16::from_le_bytes([self.bytes[header::LANE], self.bytes[header::LANE + 1]]))
    }

    /// The number of lanes when it was written.
    pub fn lanes(&self) -> u32 {
        self.u32(header::LANES)
    }

    /// Number of entries.
    pub fn count(&self) -> u32 {
        self.u32(header::COUNT)
    }

    /// Its entries in order, each with its byte offset. Empty for an owner's record.
    pub fn entries(&self) -> Entries<'_> {
        let at = if self.kind() == KIND_ENTRIES { HEADER_BYTES } else { self.bytes.len() };
        Entries { bytes: &self.bytes, at: at as u32 }
    }

    /// The entry at a byte offset.
    pub fn entry(&self, offset: u32) -> Option<Entry<'_>> {
        entry_at(&self.bytes, offset).map(|(entry, _)| entry)
    }
}

fn entry_at(bytes: &[u8], offset: u32) -> Option<(Entry<'_>, u32)> {
    let rest = bytes.get(offset as usize..)?;
    let (head, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*head);
    Some((Entry::read(rest.get(..length as usize)?)?, offset + 4 + length))
}

/// The entries of a block. Ends early at bytes that are no entry, which a checksummed block of this format never has.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (u32, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at as usize >= self.bytes.len() {
            return None;
        }
        let offset = self.at;
        match entry_at(self.bytes, offset) {
            Some((entry, next)) => {
                self.at = next;
                Some((offset, entry))
            }
            None => {
                self.at = self.bytes.len() as u32;
                None
            }
        }
    }
}
