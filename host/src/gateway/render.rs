//! Committed answers as the JSON that clients see. Outcomes themselves are written by [`crate::outcome`].

use crate::engine::{History, StateView};
use crate::json;
use crate::json::text::{hex, write_hex};
pub use crate::json::text::{write_number, write_string};
use crate::log::{Answer, Entry};
use crate::message::{Digest, FailureReason};
use crate::outcome::Form;

/// The HTTP status of an answer.
pub fn status(answer: &Answer<'_>) -> u16 {
    match answer {
        Answer::Accepted { .. } => 200,
        Answer::Rejected(_) => 422,
        Answer::Conflict { .. } => 409,
        Answer::Failed { reason: FailureReason::CommandIdReused, .. } => 422,
        Answer::Failed { reason: FailureReason::Unreadable, .. } => 400,
        Answer::Failed { .. } | Answer::Repeated { .. } => 500,
    }
}

/// Appends the outcome object of an answer; `repeated`: it was given before. An answer that only points at another one is
/// resolved before it gets here.
pub fn write_outcome(entry: &Entry<'_>, repeated: bool, out: &mut Vec<u8>) {
    let value = |value: &[u8], out: &mut Vec<u8>| {
        write_value(value, out);
        true
    };
    Form { events_bytes_max: usize::MAX, value }.write(entry, repeated, out);
}

/// Appends the state of an aggregate.
pub fn write_state(aggregate_type: &str, id: &str, view: &StateView, out: &mut Vec<u8>) {
    write_head(aggregate_type, id, view.version, out);
    out.extend_from_slice(b",\"state\":");
    write_value(&view.state, out);
    out.extend_from_slice(b",\"module\":");
    write_digest(&view.module, out);
    out.push(b'}');
}

/// Appends a piece of an aggregate's history.
pub fn write_history(aggregate_type: &str, id: &str, history: &History, out: &mut Vec<u8>) {
    write_head(aggregate_type, id, history.head, out);
    out.extend_from_slice(b",\"events\":[");
    for (n, event) in history.events.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let entry = event.answered.entry();
        write_head(aggregate_type, id, event.version, out);
        out.extend_from_slice(b",\"event\":");
        write_value(event.bytes(), out);
        out.extend_from_slice(b",\"time\":");
        write_time(entry.time_ms, out);
        out.extend_from_slice(b",\"command_id\":");
        write_string(entry.command_id, out);
        out.extend_from_slice(b",\"index\":");
        write_number(u64::from(event.index), out);
        out.extend_from_slice(b",\"count\":");
        write_number(u64::from(event.count), out);
        out.extend_from_slice(b",\"module\":");
        write_digest(&entry.head.module, out);
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = history.next {
        out.extend_from_slice(b",\"next\":");
        write_number(next, out);
    }
    out.push(b'}');
}

/// Appends the ids and versions of a type's aggregates; `next` is the id to go on after.
pub fn write_list(aggregate_type: &str, aggregates: &[(String, u64)], next: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    write_string(aggregate_type, out);
    out.extend_from_slice(b",\"aggregates\":[");
    for (n, (id, version)) in aggregates.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b",{\"id\":" } else { b"{\"id\":" });
        write_string(id, out);
        out.extend_from_slice(b",\"version\":");
        write_number(*version, out);
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = next {
        out.extend_from_slice(b",\"next\":");
        write_string(next, out);
    }
    out.push(b'}');
}

/// Appends `{"type":…,"id":…,"version":…`, not closed.
fn write_head(aggregate_type: &str, id: &str, version: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    write_string(aggregate_type, out);
    out.extend_from_slice(b",\"id\":");
    write_string(id, out);
    out.extend_from_slice(b",\"version\":");
    write_number(version, out);
}

/// Appends a MessagePack value as JSON. One that JSON cannot hold is given as it is: `{"$messagepack":"HEX"}`.
pub fn write_value(messagepack: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if json::from_messagepack(messagepack, out).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"{\"$messagepack\":\"");
        write_hex(messagepack, out);
        out.extend_from_slice(b"\"}");
    }
}

/// Appends a time as RFC 3339 in UTC with milliseconds, in quotes. Times before 1970 are shown as 1970.
pub fn write_time(time_ms: i64, out: &mut Vec<u8>) {
    let since = std::time::Duration::from_millis(time_ms.max(0) as u64);
    let time = std::time::UNIX_EPOCH + since;
    // The year 9999 is where the format ends; such a time is no time, and its number says more.
    if since.as_secs() >= 253_402_300_800 {
        return write_number(since.as_millis() as u64, out);
    }
    write_string(&humantime::format_rfc3339_millis(time).to_string(), out);
}

fn write_digest(digest: &Digest, out: &mut Vec<u8>) {
    let mut text = *b"\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"";
    for (pair, byte) in text[8..72].chunks_exact_mut(2).zip(digest.0) {
        pair.copy_from_slice(&hex(byte));
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests;
