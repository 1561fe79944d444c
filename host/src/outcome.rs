//! An outcome as JSON, and what it looks like as a schema: one home for the answers of HTTP and the records of Kafka, so
//! that both say the same. Written by hand: it is the hot path of a stream.

use ordain_sdk::contract::Frames;
use serde_json::{Value, json};

use crate::json::text::{write_hex, write_number, write_string};
use crate::log::{Answer, Entry};
use crate::message::FailureReason;

/// The word of an outcome, also the label of its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The rules said yes.
    Accepted,
    /// The rules said no.
    Rejected,
    /// The expected version was not the aggregate's.
    Conflict,
    /// No decision came about.
    Failed,
}

impl Word {
    /// All words, at the index of their number.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::Conflict, Self::Failed];

    /// The word of an answer; none for one that only points at another.
    pub fn of(answer: &Answer<'_>) -> Option<Self> {
        match answer {
            Answer::Accepted { .. } => Some(Self::Accepted),
            Answer::Rejected(_) => Some(Self::Rejected),
            Answer::Conflict { .. } => Some(Self::Conflict),
            Answer::Failed { .. } => Some(Self::Failed),
            Answer::Repeated { .. } => None,
        }
    }

    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

/// How the parts of an outcome are written that are not the same everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Form<V> {
    /// Events of more bytes are not shown.
    pub events_bytes_max: usize,
    /// Appends a MessagePack value as JSON; gives `false` if it cannot.
    pub value: V,
}

impl<V: Fn(&[u8], &mut Vec<u8>) -> bool> Form<V> {
    /// Appends the outcome object of an answer; `repeated`: it was given before. Gives `false`, with rubbish appended, if
    /// a value could not be written.
    pub fn write(&self, entry: &Entry<'_>, repeated: bool, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b"{\"command_id\":");
        write_string(entry.command_id, out);
        out.extend_from_slice(b",\"type\":");
        write_string(entry.aggregate_type, out);
        out.extend_from_slice(b",\"id\":");
        write_string(entry.aggregate_id, out);
        if let Some(word) = Word::of(&entry.answer) {
            out.extend_from_slice(b",\"outcome\":\"");
            out.extend_from_slice(word.as_str().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"version\":");
        write_number(entry.head.version, out);
        let written = self.answer(entry, out);
        out.extend_from_slice(b",\"module\":\"sha256:");
        write_hex(&entry.head.module.0, out);
        out.push(b'"');
        if repeated {
            out.extend_from_slice(b",\"replayed\":true");
        }
        out.push(b'}');
        written
    }

    /// The fields that only one kind of answer has, each with a comma before it.
    fn answer(&self, entry: &Entry<'_>, out: &mut Vec<u8>) -> bool {
        match entry.answer {
            Answer::Accepted { events: frames, .. } if frames.len() <= self.events_bytes_max => {
                out.extend_from_slice(b",\"events\":[");
                for (n, (version, event)) in events(entry, frames).enumerate() {
                    out.extend_from_slice(if n == 0 { b"{\"version\":" } else { b",{\"version\":" });
                    write_number(version, out);
                    out.extend_from_slice(b",\"event\":");
                    if !(self.value)(event, out) {
                        return false;
                    }
                    out.push(b'}');
                }
                out.push(b']');
            }
            Answer::Accepted { .. } | Answer::Repeated { .. } => {}
            Answer::Rejected(rejection) => return self.rejection(rejection, out),
            Answer::Conflict { actual } => {
                out.extend_from_slice(b",\"conflict\":{\"expected\":");
                write_number(entry.expected_version.unwrap_or(0), out);
                out.extend_from_slice(b",\"actual\":");
                write_number(actual, out);
                out.push(b'}');
            }
            Answer::Failed { reason, message } => {
                out.extend_from_slice(b",\"failure\":{\"reason\":\"");
                out.extend_from_slice(reason.as_str().as_bytes());
                out.extend_from_slice(b"\",\"message\":");
                write_string(message, out);
                out.push(b'}');
            }
        }
        true
    }

    fn rejection(&self, rejection: &[u8], out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b",\"rejection\":{");
        let (code, details) = code_and_details(rejection);
        if let Some(code) = code {
            out.extend_from_slice(b"\"code\":");
            write_string(code, out);
        }
        if let Some(details) = details {
            out.extend_from_slice(if code.is_some() { b",\"details\":" } else { b"\"details\":" });
            if !(self.value)(details, out) {
                return false;
            }
        }
        out.push(b'}');
        true
    }
}

/// The events of an accepted answer, each with its version.
pub fn events<'a>(entry: &Entry<'a>, frames: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
    (entry.version_before() + 1..).zip(Frames(frames).map_while(Result::ok))
}

/// Code and details of a rejection. Rules may reject with any value; one without a tag is all details.
pub fn code_and_details(rejection: &[u8]) -> (Option<&str>, Option<&[u8]>) {
    match tagged(rejection) {
        Some((code, details)) => (Some(code), details),
        None => (None, Some(rejection)),
    }
}

/// Tag and content of a value in serde's externally tagged form: a string, or a map of one from the tag to the content.
/// No content for a unit variant. `None` if it has another form.
pub fn tagged(value: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    if let Ok((tag, [])) = rmp::decode::read_str_from_slice(value) {
        return Some((tag, None));
    }
    let mut rest = value;
    if rmp::decode::read_map_len(&mut rest).ok()? != 1 {
        return None;
    }
    let (tag, content) = rmp::decode::read_str_from_slice(rest).ok()?;
    Some((tag, Some(content)))
}

/// The JSON Schema of an outcome, given those of an event and of the part `rejection`.
pub fn schema(event: &Value, rejection: &Value) -> Value {
    let version = |what: &str| json!({"type": "integer", "minimum": 0, "description": what});
    let text = json!({"type": "string"});
    let words: Vec<_> = Word::ALL.iter().map(|word| word.as_str()).collect();
    let reasons: Vec<_> = FailureReason::ALL.iter().map(|reason| reason.as_str()).collect();
    json!({
        "type": "object",
        "description": "What became of a command. Final for its command id. Fields that do not apply are left out.",
        "properties": {
            "command_id": text,
            "type": text,
            "id": text,
            "outcome": {"type": "string", "enum": words},
            "version": version("The aggregate's version after the command."),
            "events": {
                "type": "array",
                "description": "If it was accepted.",
                "items": {
                    "type": "object",
                    "properties": {"version": version("The aggregate's version after the event."), "event": event},
                    "required": ["version", "event"],
                },
            },
            "rejection": rejection,
            "conflict": {
                "type": "object",
                "description": "The version that was expected, and the aggregate's.",
                "properties": {"expected": version("What the command expected."), "actual": version("What it met.")},
                "required": ["expected", "actual"],
            },
            "failure": {
                "type": "object",
                "description": "Why no decision came about.",
                "properties": {"reason": {"type": "string", "enum": reasons}, "message": text},
                "required": ["reason", "message"],
            },
            "module": digest_schema(),
            "replayed": {"const": true, "description": "The command id was answered before: this is the first answer again."},
        },
        "required": ["command_id", "type", "id", "version", "module"],
    })
}

/// The JSON Schema of a module's digest.
pub fn digest_schema() -> Value {
    json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found() {
        assert_eq!(tagged(b"\xa1a"), Some(("a", None)));
        assert_eq!(tagged(b"\x81\xa1a\x05"), Some(("a", Some(&b"\x05"[..]))));
        for other in [&b"\x05"[..], b"\x82\xa1a\x05\xa1b\x05", b"\x81\x05\x05", b"\xa1\xff", b"\x80", b"\xa1ab", b""] {
            assert_eq!(tagged(other), None, "{other:02x?}");
        }
    }

    #[test]
    fn the_schema_names_what_is_written() {
        let schema = schema(&json!(true), &json!(true));
        for field in ["command_id", "type", "id", "outcome", "version", "events", "rejection", "conflict", "failure"] {
            assert!(schema["properties"].get(field).is_some(), "{field}");
        }
        let reasons = schema["properties"]["failure"]["properties"]["reason"]["enum"].as_array().unwrap();
        assert_eq!(reasons.len(), FailureReason::ALL.len());
    }
}
