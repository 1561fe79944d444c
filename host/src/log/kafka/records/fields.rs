//! The headers of a record that this log wrote.

use std::ffi::CStr;

use super::{HeaderView, ValueForm, form_of, name, time};
use crate::message::Digest;

/// Finds headers by name. Those that are asked for in the order they were written in are found at once.
struct Headers<'a> {
    all: &'a [HeaderView<'a>],
    at: usize,
}

impl<'a> Headers<'a> {
    fn get(&mut self, name: &CStr) -> Option<&'a [u8]> {
        let (before, behind) = self.all.split_at(self.at);
        let i = behind.iter().chain(before).position(|(one, _)| *one == name.to_bytes())?;
        let i = (self.at + i) % self.all.len();
        self.at = i + 1;
        self.all[i].1
    }

    fn need(&mut self, name: &CStr) -> Result<&'a [u8], String> {
        self.get(name).ok_or_else(|| format!("has no header {}", name.to_string_lossy()))
    }

    fn text(&mut self, name: &CStr) -> Result<&'a str, String> {
        std::str::from_utf8(self.need(name)?).map_err(|_| wrong(name, "UTF-8"))
    }

    fn number(&mut self, name: &CStr) -> Result<u64, String> {
        number(self.need(name)?).ok_or_else(|| wrong(name, "a number"))
    }

    fn small(&mut self, name: &CStr) -> Result<u32, String> {
        u32::try_from(self.number(name)?).map_err(|_| wrong(name, "a number below 2^32"))
    }
}

fn wrong(name: &CStr, wanted: &str) -> String {
    format!("has a header {} that is not {wanted}", name.to_string_lossy())
}

/// A number of decimal digits alone.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn hash(digits: &[u8]) -> Option<u64> {
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0, |n, &b| Some(n << 4 | u64::from(char::from(b).to_digit(16)?)))
}

/// What the headers of an event or outcome say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a> {
    pub form: ValueForm,
    pub time_ms: i64,
    pub version: u64,
    pub command_id: &'a str,
    pub command_hash: u64,
    pub index: u32,
    pub count: u32,
    pub command_offset: u64,
    pub log_sequence: u64,
    pub module: Digest,
    pub epoch: u64,
    pub correlation_id: &'a str,
    pub traceparent: &'a str,
}

/// Remembers the texts that many records have in common.
#[derive(Debug, Default)]
pub struct Memory {
    time: time::Cached,
    module: Option<(Box<[u8]>, Digest)>,
}

impl Memory {
    fn module(&mut self, text: &[u8]) -> Option<Digest> {
        if let Some((known, digest)) = &self.module
            && **known == *text
        {
            return Some(*digest);
        }
        let digest = Digest::parse(std::str::from_utf8(text).ok()?).ok()?;
        self.module = Some((text.into(), digest));
        Some(digest)
    }
}

impl<'a> Fields<'a> {
    /// Whether the headers are those of the record by which a host takes a lane, which has no place in the numbering.
    pub fn is_owner(all: &[HeaderView<'_>]) -> bool {
        let value =
            |wanted: &CStr| all.iter().find(|(name, _)| *name == wanted.to_bytes()).and_then(|(_, value)| *value);
        value(name::TYPE) == Some(super::OWNER.as_bytes()) && value(name::LOG_SEQUENCE).is_none()
    }

    /// Reads them.
    ///
    /// # Errors
    /// Which one is missing or wrong, as the end of a sentence about the record.
    pub fn read(all: &'a [HeaderView<'a>], memory: &mut Memory) -> Result<Self, String> {
        let mut from = Headers { all, at: 0 };
        let content_type = from.need(name::CONTENT_TYPE)?;
        let time = from.need(name::TIME)?;
        let version = from.number(name::SEQUENCE)?;
        let command_id = from.text(name::COMMAND_ID)?;
        let command_hash = from.need(name::COMMAND_HASH)?;
        let (index, count) = (from.small(name::COMMAND_INDEX)?, from.small(name::COMMAND_COUNT)?);
        let command_offset = from.number(name::COMMAND_OFFSET)?;
        let log_sequence = from.number(name::LOG_SEQUENCE)?;
        let module = from.need(name::MODULE)?;
        let epoch = from.number(name::EPOCH)?;
        let correlation_id = from.get(name::CORRELATION_ID);
        let traceparent = from.get(name::TRACEPARENT);
        let text = |name, bytes: Option<&'a [u8]>| {
            std::str::from_utf8(bytes.unwrap_or_default()).map_err(|_| wrong(name, "UTF-8"))
        };
        Ok(Self {
            form: form_of(Some(content_type)).ok_or_else(|| wrong(name::CONTENT_TYPE, "JSON or MessagePack"))?,
            time_ms: memory.time.parse(time).ok_or_else(|| wrong(name::TIME, "a time as 2026-01-02T03:04:05.678Z"))?,
            version,
            command_id,
            command_hash: hash(command_hash).ok_or_else(|| wrong(name::COMMAND_HASH, "16 hex digits"))?,
            index,
            count,
            command_offset,
            log_sequence,
            module: memory.module(module).ok_or_else(|| wrong(name::MODULE, "a module's digest"))?,
            epoch,
            correlation_id: text(name::CORRELATION_ID, correlation_id)?,
            traceparent: text(name::TRACEPARENT, traceparent)?,
        })
    }
}
