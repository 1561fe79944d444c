//! One line of a stream becomes a command.

use std::borrow::Cow;

use serde::Deserialize;

use crate::clock;
use crate::gateway::Gateway;
use crate::gateway::headers::correlation_id;
use crate::gateway::problem::{Kind, Problem};
use crate::gateway::target::routed;
use crate::json::{self, Packed};
use crate::message::{AggregateId, AggregateType, Command, CommandId, partition_of};

/// The line as it is written; nothing is copied that need not be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    command: Packed,
    #[serde(borrow, default)]
    command_id: Option<Text<'a>>,
    #[serde(default)]
    expected_version: Option<u64>,
    #[serde(borrow, default)]
    correlation_id: Option<Text<'a>>,
    #[serde(default)]
    metadata: Option<Packed>,
}

/// A string that is borrowed where it has no escapes; serde borrows a `Cow` only outside of an `Option`.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Makes commands of lines; remembers the type of the line before, which is usually the type of the next one.
pub struct Lines {
    gateway: Gateway,
    partitions: u32,
    last: Option<AggregateType>,
    time_ms: i64,
}

impl Lines {
    pub fn new(gateway: Gateway) -> Self {
        Self { partitions: gateway.engine.partitions(), gateway, last: None, time_ms: 0 }
    }

    /// Bytes arrived: the commands in them are taken now. A type that was active is asked for again.
    pub fn arrived(&mut self) {
        self.last = None;
        self.time_ms = clock::now_ms();
    }

    /// The command of a line.
    pub fn command(&mut self, text: &[u8]) -> Result<Command, Problem> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(not_a_line)?;
        let aggregate_type = self.routed(&line.aggregate_type)?;
        let aggregate_id = AggregateId::parse(&line.id).map_err(Problem::bad_request)?;
        let command_id = match &line.command_id {
            Some(Text(id)) => CommandId::parse(id).map_err(Problem::bad_request)?,
            None => CommandId::fresh(),
        };
        Ok(Command {
            partition: partition_of(aggregate_id.as_str(), self.partitions),
            aggregate_type,
            aggregate_id,
            command_id,
            expected_version: line.expected_version,
            time_ms: self.time_ms,
            correlation_id: match &line.correlation_id {
                Some(Text(id)) => correlation_id(id)?,
                None => Box::default(),
            },
            traceparent: Box::default(),
            metadata: metadata(line.metadata)?,
            offset: None,
            defect: None,
            body_hash: json::body_hash(&line.command.0),
            body: line.command.0,
        })
    }

    fn routed(&mut self, name: &str) -> Result<AggregateType, Problem> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == name) {
            return Ok(last.clone());
        }
        let of = routed(&self.gateway, name)?;
        self.last = Some(of.clone());
        Ok(of)
    }
}

fn not_a_line(e: serde_json::Error) -> Problem {
    let detail = format!(
        "the line is not a command ({e}): write {{\"type\":…,\"id\":…,\"command\":…}}, optionally with command_id, \
         expected_version, correlation_id and metadata"
    );
    Problem::new(Kind::NotJson, detail)
}

/// Metadata is a map, or nothing.
fn metadata(value: Option<Packed>) -> Result<Box<[u8]>, Problem> {
    match value {
        None => Ok(Box::default()),
        Some(Packed(map)) => match map.first() {
            Some(0x80) => Ok(Box::default()),
            Some(0x81..=0x8f | 0xde | 0xdf) => Ok(map),
            _ => Err(Problem::bad_request("metadata is not a JSON object: write {\"key\":\"value\"}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_borrows_what_has_no_escapes() {
        let text = br#"{"type":"account","id":"a","command":{"Close":{}},"command_id":"c-1","metadata":{"k":[1]}}"#;
        let line: Line<'_> = serde_json::from_slice(text).unwrap();
        assert!(matches!(line.aggregate_type, Cow::Borrowed("account")));
        assert!(matches!(line.command_id, Some(Text(Cow::Borrowed("c-1")))));
        assert_eq!(&line.command.0[..], b"\x81\xa5Close\x80");
        assert_eq!(metadata(line.metadata).unwrap()[0], 0x81);
    }

    #[test]
    fn a_line_must_be_whole_and_know_its_fields() {
        for bad in [
            &b"{}"[..],
            b"[]",
            b"{\"type\":\"account\",\"id\":\"a\"}",
            b"{\"type\":\"account\",\"id\":\"a\",\"command\":1,\"expectedVersion\":1}",
            b"{\"type\":\"account\",\"id\":\"a\",\"command\":1,\"expected_version\":-1}",
            b"{\"type\":\"account\",\"id\":\"a\",\"command\":1} x",
            b"{\"type\":\"account\",\"id\":\"\xff\",\"command\":1}",
        ] {
            assert!(serde_json::from_slice::<Line<'_>>(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        let read = |text: &str| metadata(serde_json::from_str(text).unwrap());
        assert!(read("null").unwrap().is_empty() && read("{}").unwrap().is_empty());
        assert_eq!(&read(r#"{"k":1}"#).unwrap()[..], b"\x81\xa1k\x01");
        assert!(read("[1]").is_err() && read("7").is_err() && read("\"{}\"").is_err());
    }
}
