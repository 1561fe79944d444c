//! The bytes of keys and values in the store. Hand-made because it is small, fast, and checked on every read.
//!
//! A value is an 8-byte checksum (xxh3 of the rest, seeded with the hash of its key, so that a value under another key
//! is caught too) and a body. Numbers are LEB128 varints or fixed little endian.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Mark, RECENT_MAX, Recent, Stored};
use crate::log::Lsn;

/// Bytes of the checksum before each body.
const SUM_BYTES: usize = 8;
/// Where the store's own records begin; a type begins with a letter, so no aggregate is there.
const OWN: u8 = 0;
/// Between type and id; neither can hold it.
const SEPARATOR: u8 = 0;

/// Whose store this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Layout of keys and values.
    pub format: u32,
    /// The log it is a cache of.
    pub log_id: u128,
    /// That log's number of partitions.
    pub partitions: u32,
}

/// How far the store is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// One for each partition that was ever marked.
    pub marks: Vec<Mark>,
    /// The last block any state in the store has seen; states may be newer than the marks.
    pub seen: Option<Lsn>,
}

/// The key of an aggregate: byte order is the order of types, then of ids.
pub fn key(aggregate_type: &str, aggregate_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(aggregate_type.len() + 1 + aggregate_id.len());
    key.extend_from_slice(aggregate_type.as_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(aggregate_id.as_bytes());
    key
}

/// The keys of a type's aggregates with an id after `after`.
pub fn list_range(aggregate_type: &str, after: Option<&str>) -> Range<Vec<u8>> {
    let mut start = key(aggregate_type, after.unwrap_or(""));
    if after.is_some() {
        // The smallest key that is larger.
        start.push(0);
    }
    let mut end = aggregate_type.as_bytes().to_vec();
    end.push(SEPARATOR + 1);
    start..end
}

/// The key of the store's identity.
pub fn identity_key() -> Vec<u8> {
    vec![OWN, b'i']
}

/// The key of the last block the store has seen.
pub fn seen_key() -> Vec<u8> {
    vec![OWN, b's']
}

/// The key of a partition's mark.
pub fn mark_key(partition: u32) -> Vec<u8> {
    let mut key = vec![OWN, b'm'];
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// All keys of marks.
pub fn mark_range() -> Range<Vec<u8>> {
    vec![OWN, b'm']..vec![OWN, b'm' + 1]
}

fn checksum(key: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(key))
}

/// Begins a value; [`sealed`] ends it.
fn unsealed(capacity: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(SUM_BYTES + capacity);
    value.extend_from_slice(&[0; SUM_BYTES]);
    value
}

fn sealed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value[SUM_BYTES..]);
    value[..SUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    value
}

/// The body of a value, once its checksum holds.
fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], String> {
    let (sum, body) = value.split_first_chunk::<SUM_BYTES>().ok_or("a value is cut")?;
    if u64::from_le_bytes(*sum) != checksum(key, body) {
        return Err("a value fails its checksum".to_owned());
    }
    Ok(body)
}

/// The value of an aggregate.
pub fn encode(key: &[u8], stored: &Stored) -> Vec<u8> {
    let recent = &stored.recent[stored.recent.len().saturating_sub(RECENT_MAX)..];
    let mut out = unsealed(32 + stored.state.len() + recent.len() * 32);
    put_varint(&mut out, stored.version);
    put_varint(&mut out, stored.last.0);
    out.extend_from_slice(&stored.state_tag.to_le_bytes());
    put_varint(&mut out, recent.len() as u64);
    let mut before = Recent::default();
    for one in recent {
        out.extend_from_slice(&one.id.to_le_bytes());
        out.extend_from_slice(&one.body_hash.to_le_bytes());
        // Neighbours are near in the log and in time, so differences are short.
        put_difference(&mut out, one.at.0, before.at.0);
        put_difference(&mut out, one.time_ms as u64, before.time_ms as u64);
        before = *one;
    }
    out.extend_from_slice(&stored.state);
    sealed(key, out)
}

/// An aggregate from its value.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Stored, String> {
    let mut from = Reader(checked(key, value)?);
    let version = from.varint()?;
    let last = Lsn(from.varint()?);
    let state_tag = u64::from_le_bytes(from.array()?);
    let count = from.varint()? as usize;
    if count > RECENT_MAX {
        return Err(format!("a value holds {count} command ids"));
    }
    let mut recent = Vec::with_capacity(count);
    let mut before = Recent::default();
    for _ in 0..count {
        before = Recent {
            id: u128::from_le_bytes(from.array()?),
            body_hash: u64::from_le_bytes(from.array()?),
            at: Lsn(from.difference(before.at.0)?),
            time_ms: from.difference(before.time_ms as u64)? as i64,
        };
        recent.push(before);
    }
    Ok(Stored { version, last, state_tag, state: from.0.to_vec(), recent })
}

/// The version in an aggregate's value, without decoding the rest.
///
/// # Errors
/// What is wrong with the bytes.
pub fn version(key: &[u8], value: &[u8]) -> Result<u64, String> {
    Reader(checked(key, value)?).varint()
}

/// The value of a mark.
pub fn encode_mark(key: &[u8], mark: &Mark) -> Vec<u8> {
    let mut out = unsealed(32);
    for number in [mark.position.0, mark.next_sequence, mark.next_command_offset, mark.log_time_ms as u64] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    sealed(key, out)
}

/// A mark from its key and value.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_mark(key: &[u8], value: &[u8]) -> Result<Mark, String> {
    let mut from = Reader(checked(key, value)?);
    let partition = key.last_chunk::<4>().ok_or("a mark's key is cut")?;
    Ok(Mark {
        partition: u32::from_be_bytes(*partition),
        position: Lsn(u64::from_le_bytes(from.array()?)),
        next_sequence: u64::from_le_bytes(from.array()?),
        next_command_offset: u64::from_le_bytes(from.array()?),
        log_time_ms: i64::from_le_bytes(from.array()?),
    })
}

/// The value of the last block seen.
pub fn encode_seen(key: &[u8], seen: Lsn) -> Vec<u8> {
    let mut out = unsealed(8);
    out.extend_from_slice(&seen.0.to_le_bytes());
    sealed(key, out)
}

/// The last block seen from its value.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_seen(key: &[u8], value: &[u8]) -> Result<Lsn, String> {
    Ok(Lsn(u64::from_le_bytes(Reader(checked(key, value)?).array()?)))
}

/// The value of an identity.
pub fn encode_identity(key: &[u8], identity: Identity) -> Vec<u8> {
    let mut out = unsealed(24);
    out.extend_from_slice(&identity.format.to_le_bytes());
    out.extend_from_slice(&identity.log_id.to_le_bytes());
    out.extend_from_slice(&identity.partitions.to_le_bytes());
    sealed(key, out)
}

/// An identity from its value.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_identity(key: &[u8], value: &[u8]) -> Result<Identity, String> {
    let mut from = Reader(checked(key, value)?);
    Ok(Identity {
        format: u32::from_le_bytes(from.array()?),
        log_id: u128::from_le_bytes(from.array()?),
        partitions: u32::from_le_bytes(from.array()?),
    })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The wrapping difference, zigzag: short in both directions.
fn put_difference(out: &mut Vec<u8>, number: u64, before: u64) {
    let signed = number.wrapping_sub(before) as i64;
    put_varint(out, ((signed << 1) ^ (signed >> 63)) as u64);
}

/// Reads what the functions above wrote, and never past the end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or("a value is cut")?;
        self.0 = tail;
        Ok(*head)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long".to_owned())
    }

    fn difference(&mut self, before: u64) -> Result<u64, String> {
        let zigzag = self.varint()?;
        let signed = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Ok(before.wrapping_add(signed))
    }
}
