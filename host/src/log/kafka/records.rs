//! Answered commands as Kafka records, and back: pure code, bytes in and bytes out. docs and readers in other languages
//! depend on what is written here; a record that was written once is there for ever.
//!
//! - [`writer`]: an answered command becomes its events, or one outcome.
//! - [`assembler`]: records become answered commands again, and anything that does not follow is refused (R4).
//! - [`command`]: what producers send becomes commands; nothing that they send can stop a lane (R6, R12).
//! - [`append`]: a command that came over HTTP becomes the record of a topic of commands.
//! - [`owner`], [`layout`]: who owns a lane, and how types and partitions are laid out (R2, R3).
//!
//! Invariant: nothing here knows a client library, a file or a clock.
//!
//! Measured on one core of a small cloud machine (`cargo run --release --workspace --example record_rates`): with events
//! of 120 bytes, 2.5 million records a second written as JSON and 3.1 million as MessagePack, 1.6 and 2.7 million read
//! back into blocks, and 2.4 and 2.6 million commands taken.

pub mod append;
pub mod assembler;
pub mod command;
mod fields;
mod outcome;
pub mod owner;
mod pack;
mod time;
mod value;
pub mod writer;

#[cfg(test)]
mod tests;

pub use super::options::ValueForm;

/// A header as it is read: name, and value unless that is null.
pub type HeaderView<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record as it is read, borrowed from wherever it lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordView<'a> {
    /// The key, unless null.
    pub key: Option<&'a [u8]>,
    /// The value, unless null.
    pub value: Option<&'a [u8]>,
    /// The headers in their order. A name may be there twice.
    pub headers: &'a [HeaderView<'a>],
    /// The record's own time in milliseconds since 1970-01-01 UTC; what it means is the topic's choice.
    pub timestamp_ms: i64,
}

/// A record to be written often, borrowed from the [`writer::Writer`] that made it until it makes the next one.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The aggregate's id.
    pub key: &'a [u8],
    /// The event or the outcome.
    pub value: &'a [u8],
    /// The headers in their order. Names end with a NUL for the sake of C.
    pub headers: &'a [(&'static std::ffi::CStr, &'a [u8])],
}

impl Outgoing<'_> {
    /// At least as many bytes as the record takes in a batch of its own, uncompressed: to be compared with a topic's
    /// `max.message.bytes` before it is produced.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| (name.count_bytes(), value.len()));
        bytes_of(self.key, self.value, headers)
    }
}

fn bytes_of(key: &[u8], value: &[u8], headers: impl Iterator<Item = (usize, usize)>) -> usize {
    let headers: usize = headers.map(|(name, value)| name + value + 10).sum();
    BATCH_BYTES + RECORD_BYTES + key.len() + value.len() + headers
}

/// Bytes of the header of a record batch (Kafka's message format v2).
const BATCH_BYTES: usize = 61;
/// Most bytes that a record takes beside key, value and headers: attributes and six varints.
const RECORD_BYTES: usize = 41;

/// A record to be written now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The headers in their order. No name holds a NUL.
    pub headers: Vec<(Box<str>, Vec<u8>)>,
}

impl OwnedRecord {
    /// As [`Outgoing::bytes`].
    pub fn bytes(&self) -> usize {
        bytes_of(&self.key, &self.value, self.headers.iter().map(|(name, value)| (name.len(), value.len())))
    }
}

/// Names of headers.
pub mod name {
    use std::ffi::CStr;

    /// Media type of the value.
    pub const CONTENT_TYPE: &CStr = c"content-type";
    /// Version of CloudEvents.
    pub const SPEC_VERSION: &CStr = c"ce_specversion";
    /// Name of the record, of a command its id.
    pub const ID: &CStr = c"ce_id";
    /// Who wrote it.
    pub const SOURCE: &CStr = c"ce_source";
    /// What it is: `{type}.{Variant}`, or one of [`super::OUTCOME`] and [`super::OWNER`].
    pub const TYPE: &CStr = c"ce_type";
    /// Id of the aggregate.
    pub const SUBJECT: &CStr = c"ce_subject";
    /// Time of the command.
    pub const TIME: &CStr = c"ce_time";
    /// The aggregate's version after this event, or at this outcome.
    pub const SEQUENCE: &CStr = c"ce_sequence";
    /// Id of the command.
    pub const COMMAND_ID: &CStr = c"ce_commandid";
    /// Hash of the command's MessagePack, 16 hex digits.
    pub const COMMAND_HASH: &CStr = c"ce_commandhash";
    /// Number of the event among those of its command, from 1; 0 for an outcome.
    pub const COMMAND_INDEX: &CStr = c"ce_commandindex";
    /// Number of events of the command; 0 for an outcome.
    pub const COMMAND_COUNT: &CStr = c"ce_commandcount";
    /// Offset of the command in its topic.
    pub const COMMAND_OFFSET: &CStr = c"ce_commandoffset";
    /// Dense number of the record in its partition, from 0.
    pub const LOG_SEQUENCE: &CStr = c"ce_logsequence";
    /// The module that decided.
    pub const MODULE: &CStr = c"ce_module";
    /// Offset of the record by which the writer took its lane.
    pub const EPOCH: &CStr = c"ce_epoch";
    /// What the caller correlates the command with.
    pub const CORRELATION_ID: &CStr = c"ce_correlationid";
    /// W3C trace context.
    pub const TRACEPARENT: &CStr = c"traceparent";
    /// The version that a command expects.
    pub const EXPECTED_VERSION: &CStr = c"ce_expectedversion";
    /// Metadata of a command that is more than texts by name, as a MessagePack map.
    pub const METADATA: &CStr = c"ordain-metadata";
}

/// `ce_type` of an outcome without events.
pub const OUTCOME: &str = "ordain.outcome";
/// `ce_type` of the record by which a host takes a lane.
pub const OWNER: &str = "ordain.owner";
/// The version of CloudEvents that records follow.
pub const SPEC_VERSION: &str = "1.0";
/// Content type of JSON.
pub const JSON: &str = "application/json";
/// Content type of MessagePack.
pub const MESSAGEPACK: &str = "application/msgpack";

/// A value's form as its content type says; `None` if it is neither JSON nor MessagePack. Without one it is JSON.
fn form_of(content_type: Option<&[u8]>) -> Option<ValueForm> {
    let Some(content_type) = content_type else { return Some(ValueForm::Json) };
    let media = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
    if is(JSON) {
        Some(ValueForm::Json)
    } else if is(MESSAGEPACK) || is("application/x-msgpack") {
        Some(ValueForm::Msgpack)
    } else {
        None
    }
}

/// A record whose value is JSON that serde wrote.
fn json_record(
    key: &str,
    kind: &str,
    value: &impl serde::Serialize,
    headers: &[(&std::ffi::CStr, &str)],
) -> OwnedRecord {
    let mut all = vec![header(name::CONTENT_TYPE, JSON), header(name::SPEC_VERSION, SPEC_VERSION)];
    all.push(header(name::TYPE, kind));
    all.extend(headers.iter().map(|(name, value)| header(name, value)));
    // Records of ours have string keys and no floats: writing them cannot fail.
    OwnedRecord { key: key.into(), value: serde_json::to_vec(value).unwrap_or_default(), headers: all }
}

fn header(name: &std::ffi::CStr, value: &str) -> (Box<str>, Vec<u8>) {
    (name.to_string_lossy().into(), value.into())
}
