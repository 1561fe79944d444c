//! Commands as a client sends them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A command with its id, which is made before anything is sent: only so can it be asked for again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: Arc<str>,
    /// The aggregate's id.
    pub id: Arc<str>,
    /// The command, in serde's externally tagged form.
    pub command: Box<RawValue>,
    /// Its own id.
    pub command_id: Arc<str>,
    /// The version the client expects; 0: must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
}

impl Command {
    /// A command that expects no version.
    ///
    /// # Panics
    /// If `command` is not JSON.
    pub fn new(aggregate_type: &str, id: &str, command_id: &str, command: &serde_json::Value) -> Self {
        Self {
            aggregate_type: aggregate_type.into(),
            id: id.into(),
            command: RawValue::from_string(command.to_string()).expect("a value's text is JSON"),
            command_id: command_id.into(),
            expected_version: None,
        }
    }

    /// The same, expecting a version.
    #[must_use]
    pub fn expecting(mut self, version: u64) -> Self {
        self.expected_version = Some(version);
        self
    }

    /// Appends its line for files and streams.
    ///
    /// # Panics
    /// Never: every command is JSON.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("a command is JSON");
        out.push(b'\n');
    }
}

/// An aggregate id as a segment of a path.
pub fn path_segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_segments() {
        assert_eq!(path_segment("acc-17"), "acc-17");
        assert_eq!(path_segment("ä/ö 1"), "%C3%A4%2F%C3%B6%201");
    }

    #[test]
    fn a_line_reads_back() {
        let command = Command::new("account", "a", "c", &serde_json::json!({"Close": {}})).expecting(3);
        let mut line = Vec::new();
        command.write_line(&mut line);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let back: Command = serde_json::from_slice(&line).unwrap();
        assert_eq!((back.expected_version, back.command.get()), (Some(3), r#"{"Close":{}}"#));
    }
}
