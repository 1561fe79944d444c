//! What a record of a topic of events says: one event of a command, or an outcome without events.

use std::borrow::Cow;

use serde::Deserialize;

use super::names::OUTCOME;
use super::record::Record;
use super::text::{self, Form};
use crate::canonical::{Tagged, whole_messagepack};
use crate::check::Said;
use crate::history::Ending;
use crate::history::read::{Conflict, Event, Failure, Outcome, Rejection};

/// The header fields of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The record's name.
    pub id: &'a str,
    /// Variant of the event; `None` for an outcome.
    pub variant: Option<&'a str>,
    /// The aggregate.
    pub subject: &'a str,
    /// Log time.
    pub time_ms: i64,
    /// The aggregate's version after it.
    pub version: u64,
    /// Id of the command.
    pub command_id: &'a str,
    /// The host's own hash of the command.
    pub command_hash: &'a [u8],
    /// Number among the command's events, from 1; 0 for an outcome.
    pub index: u64,
    /// Number of the command's events; 0 for an outcome.
    pub count: u64,
    /// Offset of the command in its partition.
    pub command_offset: u64,
    /// The module that decided.
    pub module: [u8; 32],
    /// Offset of the record by which the writer took its lane.
    pub epoch: u64,
    form: Form,
}

fn required<'a>(record: &'a Record, name: &str) -> Result<&'a [u8], String> {
    record.header(name)?.ok_or_else(|| format!("the header {name} is missing"))
}

fn number(record: &Record, name: &str) -> Result<u64, String> {
    text::number(required(record, name)?).ok_or_else(|| format!("the header {name} is no number"))
}

fn words<'a>(record: &'a Record, name: &str) -> Result<&'a str, String> {
    std::str::from_utf8(required(record, name)?).map_err(|_| format!("the header {name} is not UTF-8"))
}

/// The dense number of a record in its partition.
///
/// # Errors
/// If it has none.
pub fn log_sequence(record: &Record) -> Result<u64, String> {
    number(record, "ce_logsequence")
}

/// Offset of the command that a record answers.
pub fn command_offset(record: &Record) -> Option<u64> {
    number(record, "ce_commandoffset").ok()
}

impl<'a> Fields<'a> {
    /// Reads the headers of an answer of a type, and compares them with each other and the key.
    ///
    /// # Errors
    /// What is missing, unreadable or contradicts itself.
    pub fn read(record: &'a Record, aggregate_type: &str) -> Result<Self, String> {
        let kind = words(record, "ce_type")?;
        let variant = match kind.strip_prefix(aggregate_type).and_then(|rest| rest.strip_prefix('.')) {
            Some(variant) => Some(variant),
            None if kind == OUTCOME => None,
            None => return Err(format!("a record of type {kind} does not belong here")),
        };
        let form = required(record, "content-type")?;
        let fields = Self {
            id: words(record, "ce_id")?,
            variant,
            subject: words(record, "ce_subject")?,
            time_ms: text::time_ms(required(record, "ce_time")?).ok_or("the header ce_time is no time")?,
            version: number(record, "ce_sequence")?,
            command_id: words(record, "ce_commandid")?,
            command_hash: required(record, "ce_commandhash")?,
            index: number(record, "ce_commandindex")?,
            count: number(record, "ce_commandcount")?,
            command_offset: number(record, "ce_commandoffset")?,
            module: text::digest(required(record, "ce_module")?).ok_or("the header ce_module is no digest")?,
            epoch: number(record, "ce_epoch")?,
            form: text::form(Some(form)).ok_or("its content type is unknown")?,
        };
        if required(record, "ce_specversion")? != b"1.0" {
            return Err("it does not follow CloudEvents 1.0".into());
        }
        if words(record, "ce_source")?.is_empty() {
            return Err("it does not say who wrote it".into());
        }
        fields.agree(record.key(), aggregate_type)?;
        Ok(fields)
    }

    fn agree(&self, key: Option<&[u8]>, aggregate_type: &str) -> Result<(), String> {
        if key != Some(self.subject.as_bytes()) {
            return Err(format!("its key is not its subject {}", self.subject));
        }
        let numbered = match self.variant {
            Some(_) => (1..=self.count).contains(&self.index),
            None => (self.index, self.count) == (0, 0),
        };
        if !numbered {
            return Err(format!("number {} of {} is none", self.index, self.count));
        }
        let named = match self.id.strip_prefix(aggregate_type).and_then(|id| id.strip_prefix('/')) {
            Some(rest) => rest.strip_prefix(self.subject).and_then(|rest| rest.strip_prefix('/')),
            None => None,
        };
        let fits = match (named, self.variant) {
            (Some(version), Some(_)) => version.parse() == Ok(self.version),
            (Some(own), None) => !own.is_empty(),
            (None, _) => false,
        };
        if !fits {
            return Err(format!("{} does not name it", self.id));
        }
        Ok(())
    }

    /// Whether another record is of the same command and the same commit.
    pub fn shares(&self, other: &Self) -> bool {
        self.subject == other.subject
            && self.time_ms == other.time_ms
            && self.command_id == other.command_id
            && self.command_hash == other.command_hash
            && self.count == other.count
            && self.command_offset == other.command_offset
            && self.module == other.module
            && self.epoch == other.epoch
    }

    /// The event as MessagePack.
    ///
    /// # Errors
    /// If the value cannot be read, or is another event than the header says.
    pub fn event(&self, record: &Record) -> Result<Vec<u8>, String> {
        let value = record.value().ok_or("an event without a value")?;
        let event = text::messagepack(self.form, value).map_err(|e| format!("its value cannot be read: {e}"))?;
        let named = whole_messagepack::<Tagged>(&event).ok().map(|event| event.name);
        match (named, self.variant) {
            (Some(name), Some(variant)) if name != variant => Err(format!("its type says {variant}, its value {name}")),
            _ => Ok(event),
        }
    }

    /// The outcome in the value.
    ///
    /// # Errors
    /// If the value cannot be read, or says something else than the headers.
    pub fn outcome(&self, record: &'a Record, aggregate_type: &str) -> Result<Shown<'a>, String> {
        let value = record.value().ok_or("an outcome without a value")?;
        let read: Result<Value<'a>, String> = match self.form {
            Form::Json => serde_json::from_slice(value).map_err(|e| e.to_string()),
            Form::Messagepack => rmp_serde::from_slice(value).map_err(|e| e.to_string()),
        };
        let read = read.map_err(|e| format!("its outcome cannot be read: {e}"))?;
        if (&*read.command_id, &*read.aggregate_type, &*read.id) != (self.command_id, aggregate_type, self.subject) {
            return Err(format!("its outcome is about {} of {}/{}", read.command_id, read.aggregate_type, read.id));
        }
        if !read.replayed && text::digest(read.module.as_bytes()) != Some(self.module) {
            return Err(format!("its outcome names {}", read.module));
        }
        if !read.replayed && read.version != self.version {
            return Err(format!("its outcome has version {}, its header {}", read.version, self.version));
        }
        let shown = read.shown()?;
        let parts = match &shown.outcome {
            None => shown.replayed,
            Some(outcome) => whole(outcome, shown.replayed),
        };
        if !parts {
            return Err("its outcome lacks a part, or has one that does not belong to it".into());
        }
        Ok(shown)
    }
}

/// Whether an outcome has the parts that belong to it and no others.
fn whole(outcome: &Outcome<'_>, replayed: bool) -> bool {
    let has = (outcome.rejection.is_some(), outcome.conflict.is_some(), outcome.failure.is_some());
    let events = outcome.events.is_empty() || (replayed && outcome.outcome == Ending::Accepted);
    let right = match outcome.outcome {
        Ending::Accepted => (false, false, false),
        Ending::Rejected => (true, false, false),
        Ending::Conflict => (false, true, false),
        Ending::Failed => (false, false, true),
        Ending::Unknown | Ending::Refused => return false,
    };
    let actual = outcome.conflict.is_none_or(|conflict| Some(conflict.actual) == outcome.version);
    has == right && events && actual
}

#[derive(Debug, Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    command_id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    outcome: Option<Ending>,
    version: u64,
    #[serde(default)]
    events: Option<Vec<Event>>,
    #[serde(default, borrow)]
    rejection: Option<Rejection<'a>>,
    #[serde(default)]
    conflict: Option<Conflict>,
    #[serde(default, borrow)]
    failure: Option<Failure<'a>>,
    #[serde(borrow)]
    module: Cow<'a, str>,
    #[serde(default)]
    replayed: bool,
}

impl<'a> Value<'a> {
    fn shown(self) -> Result<Shown<'a>, String> {
        let events_left_out = self.events.is_none();
        let replayed = self.replayed;
        let outcome = match self.outcome {
            None => None,
            Some(outcome) => Some(Outcome {
                command_id: self.command_id,
                aggregate_type: self.aggregate_type,
                id: self.id,
                outcome,
                version: Some(self.version),
                events: self.events.unwrap_or_default(),
                rejection: self.rejection,
                conflict: self.conflict,
                failure: self.failure,
                module: self.module,
                replayed,
            }),
        };
        Ok(Shown { outcome, events_left_out, replayed })
    }
}

/// An outcome as its record shows it.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The outcome. A repeated one may be left out: the first one is in the log.
    pub outcome: Option<Outcome<'a>>,
    /// There are none of an accepted command's events in it, because they would be too many.
    pub events_left_out: bool,
    /// It is the answer to an earlier command with this id, given again.
    pub replayed: bool,
}

impl<'a> Shown<'a> {
    /// What it says, for a command that was not answered before.
    pub fn said(&'a self) -> Said<'a> {
        let Some(outcome) = self.outcome.as_ref().filter(|_| !self.replayed) else {
            return Said::Repeated(crate::check::Pointer::Shown);
        };
        match (&outcome.rejection, &outcome.failure) {
            (Some(no), _) => Said::Rejected(Tagged { name: no.code.to_string(), inside: no.details }),
            (_, Some(failure)) => Said::Failed { reason: &failure.reason, message: &failure.message },
            _ if outcome.conflict.is_some() => Said::Conflict,
            _ => Said::Accepted,
        }
    }
}
