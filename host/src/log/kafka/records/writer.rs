//! Answered commands become records. The hot path of a lane: what the events of a command share is made once, everything
//! is written into buffers that stay, and nothing is allocated per record.

use std::ffi::CStr;

use ordain_sdk::contract::Frames;

use super::value::to_json;
use super::{JSON, MESSAGEPACK, OUTCOME, Outgoing, SPEC_VERSION, ValueForm, name, outcome, time};
use crate::json::text::{Digits, hex, write_number};
use crate::log::{Answer, Entry};
use crate::message::Digest;
use crate::outcome::tagged;

/// Most headers of a record.
const HEADERS: usize = 18;
/// Longest name of an event that becomes a header: what a record takes beside its value is bounded.
const TAG_BYTES_MAX: usize = 1024;

/// Writes answered commands as records.
#[derive(Debug)]
pub struct Writer {
    source: Box<[u8]>,
    form: ValueForm,
    value: Vec<u8>,
    id: Vec<u8>,
    kind: Vec<u8>,
    time: time::Cached,
    module: ModuleText,
}

/// The text of the last module that decided.
#[derive(Debug)]
struct ModuleText(Digest, [u8; 71]);

impl ModuleText {
    fn of(digest: Digest) -> Self {
        let mut text = [0; 71];
        text[..7].copy_from_slice(b"sha256:");
        for (pair, byte) in text[7..].chunks_exact_mut(2).zip(digest.0) {
            pair.copy_from_slice(&hex(byte));
        }
        Self(digest, text)
    }
}

/// What the records of one command share, as text.
struct Shared {
    hash: [u8; 16],
    count: Digits,
    offset: Digits,
    epoch: Digits,
}

/// What one record has of its own.
struct Own<'a> {
    value: &'a [u8],
    content_type: &'static str,
    id: &'a [u8],
    kind: &'a [u8],
    version: u64,
    index: u32,
    sequence: u64,
}

impl Writer {
    /// A writer whose records say that they come from `source` (a URI reference, as CloudEvents wants it).
    pub fn new(source: &str, form: ValueForm) -> Self {
        Self {
            source: source.as_bytes().into(),
            form,
            value: Vec::new(),
            id: Vec::new(),
            kind: Vec::new(),
            time: time::Cached::default(),
            module: ModuleText::of(Digest([0; 32])),
        }
    }

    /// Calls `sink` once per record of an answered command, in order: its events, or one outcome. Its events are whole
    /// frames, as many as it says: what decides saw to that.
    ///
    /// `epoch`: offset of the record by which the lane was taken. `first`: for a repeated command the first answer to its
    /// id; without it the outcome says only that there is one.
    ///
    /// # Errors
    /// Whatever `sink` returns; nothing more is written then.
    pub fn entry<E>(
        &mut self,
        entry: &Entry<'_>,
        epoch: u64,
        first: Option<&Entry<'_>>,
        mut sink: impl FnMut(Outgoing<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut shared = Shared {
            hash: hash_text(entry.body_hash),
            count: Digits::of(entry.events()),
            offset: Digits::of(entry.head.command_offset),
            epoch: Digits::of(epoch),
        };
        if self.module.0 != entry.head.module {
            self.module = ModuleText::of(entry.head.module);
        }
        self.id.clear();
        self.id.extend_from_slice(entry.aggregate_type.as_bytes());
        self.id.push(b'/');
        self.id.extend_from_slice(entry.aggregate_id.as_bytes());
        self.id.push(b'/');
        match entry.answer {
            Answer::Accepted { count: 1.., events } => self.events(entry, events, &mut shared, &mut sink),
            _ => self.outcome(entry, first, &mut shared, &mut sink),
        }
    }

    fn events<E>(
        &mut self,
        entry: &Entry<'_>,
        events: &[u8],
        shared: &mut Shared,
        sink: &mut impl FnMut(Outgoing<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let prefix = self.id.len();
        let mut version = entry.version_before();
        for (index, event) in (0..).zip(Frames(events).map_while(Result::ok)) {
            version += 1;
            self.id.truncate(prefix);
            write_number(version, &mut self.id);
            self.kind.clear();
            self.kind.extend_from_slice(entry.aggregate_type.as_bytes());
            self.kind.push(b'.');
            let tag = tagged(event).map(|(tag, _)| tag).filter(|tag| tag.len() <= TAG_BYTES_MAX);
            self.kind.extend_from_slice(tag.unwrap_or("event").as_bytes());
            self.value.clear();
            let json = self.form == ValueForm::Json && to_json(event, &mut self.value);
            let own = Own {
                value: if json { &self.value } else { event },
                content_type: if json { JSON } else { MESSAGEPACK },
                id: &self.id,
                kind: &self.kind,
                version,
                index: index + 1,
                sequence: entry.head.sequence + u64::from(index),
            };
            let time = self.time.text(entry.time_ms);
            give(entry, shared, &own, &self.source, time, &self.module.1, sink)?;
        }
        Ok(())
    }

    fn outcome<E>(
        &mut self,
        entry: &Entry<'_>,
        first: Option<&Entry<'_>>,
        shared: &mut Shared,
        sink: &mut impl FnMut(Outgoing<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let repeated = matches!(entry.answer, Answer::Repeated { .. });
        let shown = if repeated { first.unwrap_or(entry) } else { entry };
        self.id.extend_from_slice(b"outcome-");
        write_number(entry.head.sequence, &mut self.id);
        self.value.clear();
        let json = self.form == ValueForm::Json && outcome::write_json(shown, repeated, &mut self.value);
        if !json {
            self.value.clear();
            outcome::write_messagepack(shown, repeated, &mut self.value);
        }
        let own = Own {
            value: &self.value,
            content_type: if json { JSON } else { MESSAGEPACK },
            id: &self.id,
            kind: OUTCOME.as_bytes(),
            version: entry.head.version,
            index: 0,
            sequence: entry.head.sequence,
        };
        let time = self.time.text(entry.time_ms);
        give(entry, shared, &own, &self.source, time, &self.module.1, sink)
    }
}

/// Puts a record together and hands it over.
fn give<E>(
    entry: &Entry<'_>,
    shared: &Shared,
    own: &Own<'_>,
    source: &[u8],
    time: &[u8],
    module: &[u8],
    sink: &mut impl FnMut(Outgoing<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (version, index, sequence) =
        (Digits::of(own.version), Digits::of(u64::from(own.index)), Digits::of(own.sequence));
    let mut headers: [(&'static CStr, &[u8]); HEADERS] = [
        (name::CONTENT_TYPE, own.content_type.as_bytes()),
        (name::SPEC_VERSION, SPEC_VERSION.as_bytes()),
        (name::ID, own.id),
        (name::SOURCE, source),
        (name::TYPE, own.kind),
        (name::SUBJECT, entry.aggregate_id.as_bytes()),
        (name::TIME, time),
        (name::SEQUENCE, version.text()),
        (name::COMMAND_ID, entry.command_id.as_bytes()),
        (name::COMMAND_HASH, &shared.hash),
        (name::COMMAND_INDEX, index.text()),
        (name::COMMAND_COUNT, shared.count.text()),
        (name::COMMAND_OFFSET, shared.offset.text()),
        (name::LOG_SEQUENCE, sequence.text()),
        (name::MODULE, module),
        (name::EPOCH, shared.epoch.text()),
        (name::CORRELATION_ID, entry.correlation_id.as_bytes()),
        (name::TRACEPARENT, entry.traceparent.as_bytes()),
    ];
    let mut count = HEADERS;
    if entry.traceparent.is_empty() {
        count -= 1;
    }
    if entry.correlation_id.is_empty() {
        headers[HEADERS - 2] = headers[HEADERS - 1];
        count -= 1;
    }
    sink(Outgoing { key: entry.aggregate_id.as_bytes(), value: own.value, headers: &headers[..count] })
}

fn hash_text(hash: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash.to_be_bytes()) {
        pair.copy_from_slice(&hex(byte));
    }
    text
}
