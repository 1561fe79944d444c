//! One line of a stream becomes a command.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock;
use crate::gateway::Gateway;
use crate::gateway::headers::correlation_id;
use crate::gateway::problem::{Kind, Problem};
use crate::gateway::target::routed;
use crate::json;
use crate::message::{AggregateId, AggregateType, Command, CommandId, partition_of};

/// The line as it is written; nothing is copied that need not be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    command: &'a RawValue,
    #[serde(borrow, default)]
    command_id: Option<Text<'a>>,
    #[serde(default)]
    expected_version: Option<u64>,
    #[serde(borrow, default)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// A string that is borrowed where it has no escapes; serde borrows a `Cow` only outside of an `Option`.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Makes commands of lines; remembers the type of the line before, which is usually the type of the next one.
pub struct Lines {
    gateway: Gateway,
    partitions: u32,
    last: Option<AggregateType>,
}

impl Lines {
    pub fn new(gateway: Gateway) -> Self {
        Self { partitions: gateway.engine.partitions(), gateway, last: None }
    }

    /// A type that was active once may be gone by now: asks again at the next line.
    pub fn forget(&mut self) {
        self.last = None;
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
        let body = messagepack(line.command)?;
        Ok(Command {
            partition: partition_of(aggregate_id.as_str(), self.partitions),
            aggregate_type,
            aggregate_id,
            command_id,
            expected_version: line.expected_version,
            time_ms: clock::now_ms(),
            correlation_id: match &line.correlation_id {
                Some(Text(id)) => correlation_id(id)?,
                None => Box::default(),
            },
            traceparent: Box::default(),
            metadata: metadata(line.metadata)?,
            body_hash: json::body_hash(&body),
            body: body.into(),
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

fn messagepack(value: &RawValue) -> Result<Vec<u8>, Problem> {
    json::to_messagepack(value.get().as_bytes()).map_err(|e| Problem::new(Kind::NotJson, e))
}

/// Metadata is a JSON object, or nothing.
fn metadata(value: Option<&RawValue>) -> Result<Box<[u8]>, Problem> {
    match value.map(RawValue::get) {
        None | Some("{}" | "null") => Ok(Box::default()),
        Some(text) if text.starts_with('{') => messagepack(value.unwrap_or(RawValue::NULL)).map(Into::into),
        Some(_) => Err(Problem::bad_request("metadata is not a JSON object: write {\"key\":\"value\"}")),
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
        assert_eq!(line.command.get(), r#"{"Close":{}}"#);
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
        let raw = |text: &str| RawValue::from_string(text.to_string()).unwrap();
        assert!(metadata(None).unwrap().is_empty());
        assert!(metadata(Some(&raw("{}"))).unwrap().is_empty());
        assert!(metadata(Some(&raw("[1]"))).is_err());
        assert!(metadata(Some(&raw("7"))).is_err());
    }
}
