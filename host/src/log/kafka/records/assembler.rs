//! Records become answered commands again. This is where a log is believed or not (R4): a record that does not follow
//! from the ones before it ends the restore, because deciding on a log with a hole would be deciding on stale state.
//!
//! Refused are: a gap or a repeat in the numbers of a partition's records, a command that is not behind the one before,
//! a command whose events are not all there, in order and with dense versions, and headers or values that cannot be read.
//! That an aggregate's versions are dense over its commands is checked where aggregates are folded.

use ordain_sdk::contract::write_frame;

use super::fields::{Fields, Memory};
use super::{RecordView, ValueForm, outcome};
use crate::json;
use crate::log::{Answer, EntryHead, LogError};
use crate::message::{AggregateId, AggregateType, Command, CommandId};

/// Most bytes of events that one command may have gathered. A broker's transaction is far smaller.
const GATHERED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One answered command, to be pushed into a block. What the topic does not hold is empty: the command's body and
/// metadata, and the version it expected unless that was the conflict.
#[derive(Debug, Clone, Copy)]
pub struct Restored<'a> {
    /// Its numbers.
    pub head: EntryHead,
    /// The command.
    pub command: &'a Command,
    /// The answer. A repeated one does not say where the first one is.
    pub answer: Answer<'a>,
    /// Offset of the record by which its writer had taken the lane.
    pub epoch: u64,
}

/// Reads the records of one partition of one type's events, in order.
#[derive(Debug)]
pub struct Assembler {
    of: AggregateType,
    stream: u32,
    place: Place,
    next_sequence: u64,
    next_command_offset: u64,
    memory: Memory,
    /// The command whose events are being gathered, or that was given last.
    command: Option<(EntryHead, Command, u64)>,
    /// How many of its events were gathered, of how many; equal if none is missing.
    gathered: (u32, u32),
    /// Events as frames, or the MessagePack of an outcome.
    bytes: Vec<u8>,
    rejection: Vec<u8>,
    value: Vec<u8>,
}

/// Where records are read from.
#[derive(Debug)]
struct Place {
    topic: Box<str>,
    partition: u32,
}

impl Place {
    fn corrupt(&self, offset: u64, what: &str) -> LogError {
        LogError::Corrupt(format!(
            "the record at offset {offset} of {} partition {} {what}; nothing is decided on such a log. Something else \
             wrote to the topic, or lost a part of it: see that it is neither compacted nor deleted from, and restore it \
             from a backup",
            self.topic, self.partition
        ))
    }
}

impl Assembler {
    /// For a partition of a topic with the events of type `of`, whose stream has the given number.
    pub fn new(of: AggregateType, topic: &str, partition: u32, stream: u32) -> Self {
        Self {
            of,
            stream,
            place: Place { topic: topic.into(), partition },
            next_sequence: 0,
            next_command_offset: 0,
            memory: Memory::default(),
            command: None,
            gathered: (0, 0),
            bytes: Vec::new(),
            rejection: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Goes on behind what is known already: the number of the next record, and the smallest offset of the next command.
    pub fn resume(&mut self, next_sequence: u64, next_command_offset: u64) {
        (self.next_sequence, self.next_command_offset) = (next_sequence, next_command_offset);
        self.command = None;
        self.gathered = (0, 0);
    }

    /// The number that the next record must have.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The smallest offset that the next command can have.
    pub fn next_command_offset(&self) -> u64 {
        self.next_command_offset
    }

    /// Takes the record at `offset`. Gives the command that it completes; the owner's record of a lane completes none.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it does not follow from the records before it; it names the record and what to do.
    pub fn record(&mut self, offset: u64, record: &RecordView<'_>) -> Result<Option<Restored<'_>>, LogError> {
        match self.take(record) {
            Ok(true) => self.restored(offset).map(Some),
            Ok(false) => Ok(None),
            Err(what) => Err(self.place.corrupt(offset, &what)),
        }
    }

    /// Checks that no command is half read, as where a transaction ends.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if one is.
    pub fn end(&self, offset: u64) -> Result<(), LogError> {
        self.whole().map_err(|what| self.place.corrupt(offset, &what))
    }

    fn whole(&self) -> Result<(), String> {
        let (index, count) = self.gathered;
        match &self.command {
            Some((_, command, _)) if index < count => {
                Err(format!("comes where event {} of {count} of command {} is missing", index + 1, command.command_id))
            }
            _ => Ok(()),
        }
    }

    /// Takes a record; tells whether it completes its command.
    fn take(&mut self, record: &RecordView<'_>) -> Result<bool, String> {
        if Fields::is_owner(record.headers) {
            return self.whole().map(|()| false);
        }
        let fields = Fields::read(record.headers, &mut self.memory)?;
        let key = record.key.ok_or("has no key")?;
        let value = record.value.ok_or("has no value")?;
        if fields.log_sequence != self.next_sequence {
            return Err(format!("has ce_logsequence {}, but {} comes next", fields.log_sequence, self.next_sequence));
        }
        if self.gathered.0 < self.gathered.1 {
            self.follows(&fields, key)?;
        } else {
            self.begin(&fields, key)?;
        }
        self.gathered.0 = fields.index;
        self.next_sequence += 1;
        self.content(fields.form, value)?;
        Ok(fields.index == fields.count)
    }

    /// Begins a command with its first record.
    fn begin(&mut self, fields: &Fields<'_>, key: &[u8]) -> Result<(), String> {
        if fields.command_offset < self.next_command_offset {
            return Err(format!(
                "answers the command at offset {}, but that of {} or later comes next",
                fields.command_offset, self.next_command_offset
            ));
        }
        if fields.index != u32::from(fields.count > 0) {
            return Err(format!("is event {} of {}, but the first one comes next", fields.index, fields.count));
        }
        if fields.version < u64::from(fields.index) {
            return Err("is an event with version 0".into());
        }
        let id = std::str::from_utf8(key).map_err(|_| "has a key that is not UTF-8")?;
        let command = Command {
            partition: self.stream,
            offset: Some(fields.command_offset),
            defect: None,
            aggregate_type: self.of.clone(),
            aggregate_id: AggregateId::parse(id).map_err(|e| format!("has a wrong key: {e}"))?,
            command_id: CommandId::parse(fields.command_id).map_err(|e| format!("has a wrong ce_commandid: {e}"))?,
            expected_version: None,
            time_ms: fields.time_ms,
            correlation_id: fields.correlation_id.into(),
            traceparent: fields.traceparent.into(),
            metadata: Box::default(),
            body: Box::default(),
            body_hash: fields.command_hash,
        };
        let head = EntryHead {
            sequence: fields.log_sequence,
            command_offset: fields.command_offset,
            version: fields.version,
            module: fields.module,
        };
        self.command = Some((head, command, fields.epoch));
        self.gathered = (0, fields.count);
        self.bytes.clear();
        self.next_command_offset = fields.command_offset.checked_add(1).ok_or("has an impossible ce_commandoffset")?;
        Ok(())
    }

    /// Checks that a record is the next event of the command being gathered.
    fn follows(&mut self, fields: &Fields<'_>, key: &[u8]) -> Result<(), String> {
        let (index, count) = self.gathered;
        let Some((head, command, epoch)) = &mut self.command else { return Ok(()) };
        let same = command.command_id.as_str() == fields.command_id
            && command.aggregate_id.as_str().as_bytes() == key
            && command.body_hash == fields.command_hash
            && command.time_ms == fields.time_ms
            && head.command_offset == fields.command_offset
            && head.module == fields.module
            && *epoch == fields.epoch;
        if !same {
            return Err(format!(
                "belongs to command {}, but event {} of {count} of command {} comes next",
                fields.command_id,
                index + 1,
                command.command_id
            ));
        }
        if (fields.index, fields.count) != (index + 1, count) {
            return Err(format!(
                "is event {} of {} of command {}, but {} of {count} comes next",
                fields.index,
                fields.count,
                command.command_id,
                index + 1
            ));
        }
        if head.version.checked_add(1) != Some(fields.version) {
            return Err(format!("has version {} behind version {} of the same command", fields.version, head.version));
        }
        head.version = fields.version;
        Ok(())
    }

    /// Keeps the value of an event as a frame, of an outcome as it is.
    fn content(&mut self, form: ValueForm, value: &[u8]) -> Result<(), String> {
        let messagepack = match form {
            ValueForm::Msgpack => value,
            ValueForm::Json => {
                self.value.clear();
                json::append_messagepack(value, &mut self.value)
                    .map_err(|e| format!("has a value that is not the JSON it says to be ({e})"))?;
                &self.value
            }
        };
        if self.bytes.len() + messagepack.len() > GATHERED_BYTES_MAX {
            return Err(format!("belongs to a command with more than {GATHERED_BYTES_MAX} bytes of events"));
        }
        if self.gathered.1 == 0 {
            self.bytes.extend_from_slice(messagepack);
        } else {
            write_frame(&mut self.bytes, messagepack);
        }
        Ok(())
    }

    /// The command that was completed.
    fn restored(&mut self, offset: u64) -> Result<Restored<'_>, LogError> {
        let Self { place, command, gathered, bytes, rejection, .. } = self;
        let corrupt = |what: &str| place.corrupt(offset, what);
        let (head, command, epoch) = command.as_mut().ok_or_else(|| corrupt("belongs to no command"))?;
        let (head, epoch, count) = (*head, *epoch, gathered.1);
        if count > 0 {
            return Ok(Restored { head, command, answer: Answer::Accepted { count, events: bytes }, epoch });
        }
        let read = outcome::read(bytes, rejection).map_err(|what| corrupt(&format!("cannot be read: {what}")))?;
        let at = match read.answer {
            Answer::Conflict { actual } => actual,
            Answer::Repeated { .. } => head.version,
            _ => read.version,
        };
        if at != head.version {
            return Err(corrupt(&format!("is an outcome at version {} with version {at} in it", head.version)));
        }
        command.expected_version = read.expected;
        Ok(Restored { head, command, answer: read.answer, epoch })
    }
}
