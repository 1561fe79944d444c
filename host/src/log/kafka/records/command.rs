//! What producers send becomes commands. Anybody may write to a topic of commands, so nothing in a record is believed, and
//! nothing in it can stop a lane: whatever is wrong becomes a command with a [`Defect`], which is answered like every
//! other, because every record has exactly one answer (R6, R12).
//!
//! A record that names no aggregate, or one that lives in another partition, is answered in the partition it was read
//! from, under the aggregate [`unrouted`] of its stream: the aggregate it names has its answers elsewhere.

pub(super) mod metadata;

use std::ffi::CStr;

use xxhash_rust::xxh3::xxh3_64;

use super::fields::number;
use super::{HeaderView, RecordView, ValueForm, form_of, name, pack, time};
use crate::json;
use crate::message::{
    AggregateId, AggregateType, COMMAND_ID_BYTES_MAX, Command, CommandId, Defect, FailureReason, is_correlation_id,
    is_traceparent, partition_of,
};

/// What ids of aggregates begin with that stand for records without a place. No command can be sent to one.
pub const UNROUTED: &str = "ordain.unrouted.";

/// The aggregate that answers for records of a stream which belong to no aggregate of it.
pub fn unrouted(stream: u32) -> String {
    format!("{UNROUTED}{stream}")
}

/// How much of a record is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the value, and of the MessagePack that it becomes.
    pub value_bytes_max: usize,
    /// Headers that become metadata.
    pub headers_max: usize,
    /// Bytes of their names and values together.
    pub headers_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { value_bytes_max: 1024 * 1024, headers_max: 64, headers_bytes_max: 16 * 1024 }
    }
}

/// Reads the records of one partition of one type's commands.
#[derive(Debug, Clone)]
pub struct CommandReader {
    of: AggregateType,
    /// What the ids of commands without one begin with.
    default_id: Box<str>,
    partition: u32,
    partitions: u32,
    stream: u32,
    limits: Limits,
}

/// What was found in headers.
#[derive(Default)]
struct Envelope {
    command_id: Option<CommandId>,
    expected_version: Option<u64>,
    time_ms: Option<i64>,
    correlation_id: Box<str>,
    traceparent: Box<str>,
    metadata: Box<[u8]>,
}

fn defect(reason: FailureReason, message: impl Into<Box<str>>) -> Box<Defect> {
    Box::new(Defect { reason, message: message.into() })
}

fn unreadable(message: impl Into<Box<str>>) -> Box<Defect> {
    defect(FailureReason::Unreadable, message)
}

/// Runs a step of reading, whose failure is kept unless there is one already.
fn keep<T>(first: &mut Option<Box<Defect>>, step: Result<T, Box<Defect>>) -> Option<T> {
    match step {
        Ok(value) => Some(value),
        Err(defect) => {
            first.get_or_insert(defect);
            None
        }
    }
}

impl CommandReader {
    /// For partition `partition` of `topic`, of `partitions`, with the commands of type `of`, whose answers go to stream
    /// number `stream`.
    pub fn new(of: AggregateType, topic: &str, partition: u32, partitions: u32, stream: u32, limits: Limits) -> Self {
        let plain = format!("{topic}-{partition}-");
        // 20 digits of offset must fit behind it. The name of a topic too long for that is as well named by its hash.
        let fits = plain.len() + 20 <= COMMAND_ID_BYTES_MAX && plain.bytes().all(|b| b.is_ascii_graphic());
        let default_id = if fits { plain } else { format!("{:016x}-{partition}-", xxh3_64(topic.as_bytes())) };
        Self { of, default_id: default_id.into(), partition, partitions, stream, limits }
    }

    /// The command in the record at `offset`, which the host takes at `now_ms`. Never fails: see [`Command::defect`].
    pub fn read(&self, offset: u64, record: &RecordView<'_>, now_ms: i64) -> Command {
        let mut first = None;
        let id = keep(&mut first, self.aggregate_id(record.key));
        let mut envelope = Envelope::default();
        keep(&mut first, self.headers(record.headers, &mut envelope));
        let body = keep(&mut first, self.body(record));
        let mut body_hash = match &body {
            Some(body) => json::body_hash(body),
            None => xxh3_64(record.value.unwrap_or_default()),
        };
        if id.is_none() {
            // One id of a command for two keys is not one command, though both are answered under one aggregate.
            body_hash ^= xxh3_64(record.key.unwrap_or_default()).rotate_left(1);
        }
        Command {
            partition: self.stream,
            offset: Some(offset),
            defect: first,
            aggregate_type: self.of.clone(),
            aggregate_id: id.unwrap_or_else(|| self.placeholder()),
            command_id: envelope.command_id.unwrap_or_else(|| self.default_id(offset)),
            expected_version: envelope.expected_version,
            // A time to come would be the log's from then on: no later command could be before it.
            time_ms: envelope.time_ms.map_or(now_ms, |sent| sent.clamp(0, now_ms.max(0))),
            correlation_id: envelope.correlation_id,
            traceparent: envelope.traceparent,
            metadata: envelope.metadata,
            body: body.unwrap_or_default().into(),
            body_hash,
        }
    }

    fn placeholder(&self) -> AggregateId {
        AggregateId::parse(&unrouted(self.stream)).expect("a fixed word and a number are an id")
    }

    /// The id of the command at an offset that brought none: reading the record again gives the same.
    pub fn default_id(&self, offset: u64) -> CommandId {
        CommandId::parse(&format!("{}{offset}", self.default_id)).expect("its length and letters were seen to")
    }

    fn aggregate_id(&self, key: Option<&[u8]>) -> Result<AggregateId, Box<Defect>> {
        let key = key.ok_or_else(|| unreadable("the record has no key: send the id of the aggregate as key"))?;
        let text = std::str::from_utf8(key).map_err(|_| {
            unreadable(format!("the key {} is not UTF-8: send the id of the aggregate as key", shown(key)))
        })?;
        let id = AggregateId::parse(text).map_err(|bad| {
            unreadable(format!("the key {} is no id of an aggregate ({}): send the id as key", shown(key), cut(&bad.0)))
        })?;
        if text.starts_with(UNROUTED) {
            return Err(unreadable(format!(
                "the key {} is reserved for answers to records that have no place: choose another id",
                shown(key)
            )));
        }
        let home = partition_of(text, self.partitions);
        if home != self.partition {
            return Err(defect(
                FailureReason::Misrouted,
                format!(
                    "the key {} belongs to partition {home}, but the record came on {}: let the producer choose the \
                     partition by murmur2 of the key (librdkafka: partitioner=murmur2_random)",
                    shown(key),
                    self.partition
                ),
            ));
        }
        Ok(id)
    }

    /// Reads everything but the content type. Goes on after a failure, so that the answer can be found by the command's
    /// id and what it correlates with.
    fn headers(&self, headers: &[HeaderView<'_>], into: &mut Envelope) -> Result<(), Box<Defect>> {
        let mut first = None;
        let id = keep(&mut first, single(headers, name::ID)).flatten();
        let other = keep(&mut first, single(headers, name::COMMAND_ID)).flatten();
        if let Some(id) = id.or(other) {
            into.command_id = keep(&mut first, command_id(id));
        }
        let expected = headers.iter().any(|(header, _)| *header == name::EXPECTED_VERSION.to_bytes());
        if expected {
            into.expected_version = keep(&mut first, expected_version(headers));
        }
        if let Some(Some(sent)) = keep(&mut first, single(headers, name::TIME)) {
            into.time_ms = keep(&mut first, time_ms(sent));
        }
        if let Some(Some(id)) = keep(&mut first, single(headers, name::CORRELATION_ID)) {
            into.correlation_id = keep(&mut first, correlation_id(id)).unwrap_or_default();
        }
        if let Some(Some(trace)) = keep(&mut first, single(headers, name::TRACEPARENT)) {
            // W3C Trace Context: a receiver goes on without a traceparent that it cannot read.
            let text = std::str::from_utf8(trace).ok().filter(|text| is_traceparent(text));
            into.traceparent = text.unwrap_or_default().into();
        }
        into.metadata = keep(&mut first, metadata::read(headers, id.is_some(), &self.limits)).unwrap_or_default();
        first.map_or(Ok(()), Err)
    }

    fn body(&self, record: &RecordView<'_>) -> Result<Vec<u8>, Box<Defect>> {
        let value = record.value.ok_or_else(|| {
            unreadable("the record has no value: send the command as {\"Name\":{…}}; nothing is deleted by a null")
        })?;
        self.bounded(value.len())?;
        let content_type = single(record.headers, name::CONTENT_TYPE)?;
        let body = match form_of(content_type) {
            Some(ValueForm::Json) => json::to_messagepack(value).map_err(|e| {
                unreadable(format!(
                    "the value is not one JSON value ({}): send the command as {{\"Name\":{{…}}}}, or say its form in the header \
                     content-type",
                    cut(&e)
                ))
            })?,
            Some(ValueForm::Msgpack) => {
                let mut body = Vec::with_capacity(value.len());
                pack::canonical(value, &mut body)
                    .map_err(|e| unreadable(format!("the value is not one MessagePack value ({e}): send one")))?;
                body
            }
            None => {
                return Err(unreadable(format!(
                    "the content type {} is not known: send {} or {}, and CloudEvents in binary mode",
                    shown(content_type.unwrap_or_default()),
                    super::JSON,
                    super::MESSAGEPACK
                )));
            }
        };
        self.bounded(body.len())?;
        Ok(body)
    }

    fn bounded(&self, bytes: usize) -> Result<(), Box<Defect>> {
        if bytes <= self.limits.value_bytes_max {
            return Ok(());
        }
        Err(defect(
            FailureReason::TooLarge,
            format!("the command has {bytes} bytes, at most {} are taken: send less", self.limits.value_bytes_max),
        ))
    }
}

/// The value of a header that may be there once. Null is none.
fn single<'a>(headers: &[HeaderView<'a>], name: &CStr) -> Result<Option<&'a [u8]>, Box<Defect>> {
    let mut found = headers.iter().filter(|(header, _)| *header == name.to_bytes());
    let value = found.next().and_then(|(_, value)| *value);
    if found.next().is_some() {
        let name = name.to_string_lossy();
        return Err(unreadable(format!("the header {name} is there twice: send it once")));
    }
    Ok(value)
}

fn command_id(id: &[u8]) -> Result<CommandId, Box<Defect>> {
    let parsed = std::str::from_utf8(id).ok().and_then(|text| CommandId::parse(text).ok());
    parsed.ok_or_else(|| {
        unreadable(format!(
            "the command id {} is not valid: use 1 to {COMMAND_ID_BYTES_MAX} visible ASCII characters without spaces. The \
             command is answered under an id made of its topic, partition and offset",
            shown(id)
        ))
    })
}

fn expected_version(headers: &[HeaderView<'_>]) -> Result<u64, Box<Defect>> {
    let value = single(headers, name::EXPECTED_VERSION)?;
    let name = name::EXPECTED_VERSION.to_string_lossy();
    value.and_then(number).ok_or_else(|| {
        unreadable(format!(
            "the header {name} is {}: send the version in decimal digits, 0 if the aggregate must not exist, or leave it out",
            value.map_or_else(|| "null".into(), shown)
        ))
    })
}

fn time_ms(sent: &[u8]) -> Result<i64, Box<Defect>> {
    time::read(sent).ok_or_else(|| {
        let name = name::TIME.to_string_lossy();
        unreadable(format!(
            "the header {name} is {}: send a time as RFC 3339 has it, 2026-01-02T03:04:05Z, or leave it out",
            shown(sent)
        ))
    })
}

fn correlation_id(id: &[u8]) -> Result<Box<str>, Box<Defect>> {
    let text = std::str::from_utf8(id).ok().filter(|text| is_correlation_id(text));
    text.map(Into::into).ok_or_else(|| {
        unreadable(format!(
            "the correlation id {} is not valid: use at most {} bytes of UTF-8 without control characters",
            shown(id),
            crate::message::CORRELATION_ID_BYTES_MAX
        ))
    })
}

/// Bytes for people, cut where they are long.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    if bytes.len() > MOST { format!("{text:?}… ({} bytes)", bytes.len()) } else { format!("{text:?}") }
}

/// The beginning of a message that may hold what was sent.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(300);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests;
