//! The value of an `ordain.outcome` record: the outcome object of the HTTP API, as JSON or as MessagePack.

use super::pack::{self, Item, Reader};
use super::value::to_json;
use crate::log::{Answer, Entry, Lsn};
use crate::message::FailureReason;
use crate::outcome::{Form, Word, code_and_details, events};

/// Bytes of events that a repeated answer still shows. They are in the log already, and JSON may take six times as many
/// bytes: a record of all of them could be one that the broker refuses.
pub const REPEATED_EVENTS_BYTES_MAX: usize = 128 * 1024;

/// Appends the outcome as JSON; gives `false`, with rubbish appended, if JSON cannot hold it.
pub fn write_json(entry: &Entry<'_>, repeated: bool, out: &mut Vec<u8>) -> bool {
    Form { events_bytes_max: REPEATED_EVENTS_BYTES_MAX, value: to_json }.write(entry, repeated, out)
}

/// Appends the outcome as MessagePack, which holds every one.
pub fn write_messagepack(entry: &Entry<'_>, repeated: bool, out: &mut Vec<u8>) {
    let word = Word::of(&entry.answer).map(Word::as_str);
    let shown = match entry.answer {
        Answer::Accepted { events, .. } => events.len() <= REPEATED_EVENTS_BYTES_MAX,
        Answer::Repeated { .. } => false,
        _ => true,
    };
    pack::write(Item::Map(5 + u32::from(word.is_some()) + u32::from(shown) + u32::from(repeated)), out);
    for (key, value) in [("command_id", entry.command_id), ("type", entry.aggregate_type), ("id", entry.aggregate_id)] {
        pack::write_text(key, out);
        pack::write_text(value, out);
    }
    if let Some(word) = word {
        pack::write_text("outcome", out);
        pack::write_text(word, out);
    }
    write_pair("version", Item::Uint(entry.head.version), out);
    if shown {
        write_answer_messagepack(entry, out);
    }
    pack::write_text("module", out);
    pack::write_text(&entry.head.module.to_string(), out);
    if repeated {
        write_pair("replayed", Item::Bool(true), out);
    }
}

fn write_pair(key: &str, item: Item<'_>, out: &mut Vec<u8>) {
    pack::write_text(key, out);
    pack::write(item, out);
}

fn write_answer_messagepack(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry.answer {
        Answer::Accepted { events: frames, .. } => {
            let count = events(entry, frames).count() as u32;
            write_pair("events", Item::Array(count), out);
            for (version, event) in events(entry, frames) {
                pack::write(Item::Map(2), out);
                write_pair("version", Item::Uint(version), out);
                write_whole("event", event, out);
            }
        }
        Answer::Rejected(rejection) => {
            let (code, details) = code_and_details(rejection);
            write_pair("rejection", Item::Map(u32::from(code.is_some()) + u32::from(details.is_some())), out);
            if let Some(code) = code {
                pack::write_text("code", out);
                pack::write_text(code, out);
            }
            if let Some(details) = details {
                write_whole("details", details, out);
            }
        }
        Answer::Conflict { actual } => {
            write_pair("conflict", Item::Map(2), out);
            write_pair("expected", Item::Uint(entry.expected_version.unwrap_or(0)), out);
            write_pair("actual", Item::Uint(actual), out);
        }
        Answer::Failed { reason, message } => {
            write_pair("failure", Item::Map(2), out);
            write_pair("reason", Item::Str(reason.as_str().as_bytes()), out);
            write_pair("message", Item::Str(message.as_bytes()), out);
        }
        Answer::Repeated { .. } => {}
    }
}

/// Appends a value that rules made. Bytes that are no value would break everything around them: these are written as
/// bytes under the key with `_raw` behind it.
fn write_whole(key: &str, value: &[u8], out: &mut Vec<u8>) {
    if pack::is_value(value) {
        pack::write_text(key, out);
        out.extend_from_slice(value);
    } else {
        pack::write_text(&format!("{key}_raw"), out);
        pack::write(Item::Bin(value), out);
    }
}

/// An outcome that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The answer.
    pub answer: Answer<'a>,
    /// The version in it: the aggregate's when it was first given.
    pub version: u64,
    /// The version that a conflicting command expected.
    pub expected: Option<u64>,
}

/// The fields of an outcome object that were found.
#[derive(Default)]
struct Found<'a> {
    word: Option<&'a str>,
    version: Option<u64>,
    code: Option<&'a str>,
    details: Option<&'a [u8]>,
    expected: Option<u64>,
    actual: Option<u64>,
    reason: Option<&'a str>,
    message: Option<&'a str>,
    replayed: bool,
}

/// Reads an outcome from its MessagePack. A rejection is put together in `scratch`, if it has to be.
///
/// # Errors
/// What is missing or wrong in it.
pub fn read<'a>(messagepack: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Outcome<'a>, String> {
    let mut found = Found::default();
    find(messagepack, 0, &mut found).ok_or("the outcome is not one MessagePack map of known fields")?;
    let version = found.version.ok_or("the outcome has no version")?;
    if found.replayed {
        return Ok(Outcome { answer: Answer::Repeated { original: Lsn::UNKNOWN }, version, expected: None });
    }
    let mut expected = None;
    let answer = match found.word.ok_or("the outcome has no field \"outcome\"")? {
        "accepted" => Answer::Accepted { count: 0, events: &[] },
        "rejected" => {
            Answer::Rejected(rejection(&found, scratch).ok_or("the outcome is rejected without a rejection")?)
        }
        "conflict" => {
            expected = Some(found.expected.ok_or("the conflict has no expected version")?);
            Answer::Conflict { actual: found.actual.ok_or("the conflict has no actual version")? }
        }
        "failed" => {
            let reason = found.reason.ok_or("the failure has no reason")?;
            let known = FailureReason::ALL.into_iter().find(|known| known.as_str() == reason);
            Answer::Failed {
                reason: known.ok_or_else(|| format!("the failure has the unknown reason {reason:?}"))?,
                message: found.message.ok_or("the failure has no message")?,
            }
        }
        other => return Err(format!("the outcome is {other:?}, which this version does not know")),
    };
    Ok(Outcome { answer, version, expected })
}

/// The rejection in serde's externally tagged form, as the rules gave it.
fn rejection<'a>(found: &Found<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let Some(code) = found.code else { return found.details };
    scratch.clear();
    if found.details.is_some() {
        pack::write(Item::Map(1), scratch);
    }
    pack::write_text(code, scratch);
    scratch.extend_from_slice(found.details.unwrap_or_default());
    Some(scratch)
}

/// Collects the fields of a map and of the maps in it, whose keys are all different.
fn find<'a>(map: &'a [u8], depth: u32, found: &mut Found<'a>) -> Option<()> {
    let mut from = Reader(map);
    let Item::Map(pairs) = from.item()? else { return None };
    for _ in 0..pairs {
        let key = from.text()?;
        let value = from.value()?;
        let text = || Reader(value).text();
        let number = || match pack::only(value) {
            Some(Item::Uint(n)) => Some(n),
            _ => None,
        };
        match (depth, key) {
            (0, "outcome") => found.word = Some(text()?),
            (0, "version") => found.version = Some(number()?),
            (0, "replayed") => found.replayed = pack::only(value) == Some(Item::Bool(true)),
            (0, "rejection" | "conflict" | "failure") => find(value, 1, found)?,
            (1, "code") => found.code = Some(text()?),
            (1, "details") => found.details = Some(value),
            (1, "details_raw") => match pack::only(value)? {
                Item::Bin(bytes) => found.details = Some(bytes),
                _ => return None,
            },
            (1, "expected") => found.expected = Some(number()?),
            (1, "actual") => found.actual = Some(number()?),
            (1, "reason") => found.reason = Some(text()?),
            (1, "message") => found.message = Some(text()?),
            _ => {}
        }
    }
    from.0.is_empty().then_some(())
}
