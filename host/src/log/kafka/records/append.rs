//! A command that came another way becomes the record of a topic of commands, from which [`super::command`] reads the same
//! command again: id, expected version, correlation, trace, metadata, and a body with the same hash.
//!
//! Its time is not in it: that is given by the lane that takes it, and the record's own timestamp says when it was sent.

use super::command::metadata;
use super::value::to_json;
use super::{JSON, MESSAGEPACK, OwnedRecord, ValueForm, header, name};
use crate::message::Command;

/// The record of a command.
pub fn command_record(command: &Command, form: ValueForm) -> OwnedRecord {
    let mut value = Vec::with_capacity(2 * command.body.len());
    let json = form == ValueForm::Json && to_json(&command.body, &mut value);
    if !json {
        value.extend_from_slice(&command.body);
    }
    let mut headers = vec![
        header(name::CONTENT_TYPE, if json { JSON } else { MESSAGEPACK }),
        header(name::ID, command.command_id.as_str()),
    ];
    if let Some(version) = command.expected_version {
        headers.push(header(name::EXPECTED_VERSION, &version.to_string()));
    }
    if !command.correlation_id.is_empty() {
        headers.push(header(name::CORRELATION_ID, &command.correlation_id));
    }
    if !command.traceparent.is_empty() {
        headers.push(header(name::TRACEPARENT, &command.traceparent));
    }
    headers.extend(metadata::write(&command.metadata));
    OwnedRecord { key: command.aggregate_id.as_str().into(), value, headers }
}
