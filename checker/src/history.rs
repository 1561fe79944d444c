//! What clients saw and what was done to the host, written down while it happens: JSON lines, append only.
//!
//! A history is a folder: one `client-NAME.jsonl` per client and one `nemesis.jsonl`. All times are nanoseconds of one
//! monotonic clock. Whoever writes them is another process than the host, so that a kill leaves the record whole.
//! An answer is kept verbatim. No answer, or one that leaves it open whether the command was taken (a timeout, a
//! connection that broke, 5xx), is `unknown`; `refused` only where the host says that nothing was recorded.

pub mod read;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How an operation ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The outcome `accepted`.
    Accepted,
    /// The outcome `rejected`.
    Rejected,
    /// The outcome `conflict`.
    Conflict,
    /// The outcome `failed`.
    Failed,
    /// Nobody told; the command may have been decided or not.
    Unknown,
    /// Turned away before anything was recorded (400 not JSON, 401, 403, 404, 413, 429).
    Refused,
}

/// One attempt to have one command decided. A resend under the same id is an operation of its own.
#[derive(Debug, Clone, Serialize)]
pub struct Operation<'a> {
    /// Number in the client's record, or of the line in its stream.
    pub seq: u64,
    /// The connection it went over: operations of one stream and one aggregate are decided in the order of `seq`.
    /// Every connection of a client has a number of its own. `None` if no order is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<u64>,
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub id: &'a str,
    /// The command's id.
    pub command_id: &'a str,
    /// The version the client expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
    /// The command as it was sent.
    pub command: &'a RawValue,
    /// When it was about to be sent.
    pub invoke_ns: u64,
    /// When the answer was there, or was given up.
    pub done_ns: u64,
    /// How it ended.
    pub result: Ending,
    /// The outcome as it came, if one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'a RawValue>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'a str>,
}

/// A state that a client read.
#[derive(Debug, Clone, Serialize)]
pub struct ReadOperation<'a> {
    /// Number in the client's record, from 0.
    pub seq: u64,
    /// When it was about to be asked.
    pub invoke_ns: u64,
    /// When the answer was there.
    pub done_ns: u64,
    /// What was read.
    pub read: StateSeen<'a>,
}

/// The answer to a read.
#[derive(Debug, Clone, Serialize)]
pub struct StateSeen<'a> {
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub id: &'a str,
    /// The version of the state; 0 for "never existed".
    pub version: u64,
    /// The state; `null` for "never existed".
    pub state: &'a RawValue,
    /// Whether the past was asked for, which may be older than what was acknowledged.
    pub past: bool,
}

/// Something done to the host, or by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NemesisEvent {
    /// When.
    pub at_ns: u64,
    /// What.
    #[serde(flatten)]
    pub event: Nemesis,
}

/// What can happen to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Nemesis {
    /// A host process was started.
    HostStart,
    /// It said that it is ready.
    HostReady,
    /// It was killed without warning.
    Kill,
    /// It was asked to stop and did.
    Stop,
    /// A module is about to be given to the host: from here on it may decide.
    SwapBegin {
        /// The type its rules are for.
        #[serde(rename = "type")]
        aggregate_type: String,
        /// Its digest, `sha256:` and 64 hex digits.
        module: String,
        /// Name of the rules in the reference model, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<String>,
    },
    /// The host said that the module decides everywhere: from here on the one before it may not.
    SwapEnd {
        /// The type its rules are for.
        #[serde(rename = "type")]
        aggregate_type: String,
        /// Its digest.
        module: String,
    },
}

/// Appends to one file of a history.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    next: u64,
}

impl Recorder {
    /// Opens the record of a client, making the folder if needed.
    ///
    /// # Errors
    /// What the system says.
    pub fn client(folder: &Path, name: &str) -> io::Result<Self> {
        Self::open(folder, &format!("client-{name}.jsonl"))
    }

    /// Opens the record of the nemesis.
    ///
    /// # Errors
    /// What the system says.
    pub fn nemesis(folder: &Path) -> io::Result<Self> {
        Self::open(folder, "nemesis.jsonl")
    }

    fn open(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = OpenOptions::new().create(true).append(true).open(folder.join(name))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), next: 0 })
    }

    /// The number of the next operation.
    pub fn next_seq(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Appends one line.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// Appends one line and hands it to the system at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_now(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.write(line)?;
        self.file.flush()
    }

    /// Hands everything written to the system.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
