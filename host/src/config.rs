//! The one tree of settings: defaults, then the file, then the environment, then flags. Unknown keys are refused.
//!
//! Units end the names. docs/config.md shows every key with its default; a test compares the page with this file.
//! Invariant: nothing outside `config/load.rs` reads an environment variable for a setting.

mod kafka;
mod load;
mod properties;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::decider::Limits;
pub use crate::log::kafka::options::ValueForm;
pub use load::{BadConfig, load};
pub use properties::Properties;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the log, the store, and the archive of modules. One process at a time may use it.
    pub data: PathBuf,
    /// Folder that is watched for modules.
    pub modules: PathBuf,
    /// Number of partitions, fixed for ever at the first start. On Kafka 0 = what the layout says, and nothing set is 0.
    pub partitions: u32,
    /// Number of lanes; 0 = one per core, and may change at any start. On Kafka it is the whole cluster's, and fixed:
    /// 0 = what the layout says.
    pub lanes: u32,
    /// The HTTP listeners and what they grant to a client.
    pub http: Http,
    /// Where answered commands live.
    pub log: Log,
    /// What a lane takes together.
    pub batch: Batch,
    /// What waits for a lane.
    pub queue: Queue,
    /// What a module may use.
    pub limits: Limits,
    /// Resident states and checkpoints.
    pub state: State,
    /// Reads of the past.
    pub history: History,
    /// What the daemon says of itself on standard error.
    pub telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            modules: "modules".into(),
            partitions: 16,
            lanes: 0,
            http: Http::default(),
            log: Log::default(),
            batch: Batch::default(),
            queue: Queue::default(),
            limits: Limits::default(),
            state: State::default(),
            history: History::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Config {
    /// The number of lanes to run on the embedded log: `lanes`, or one per core, and never more than there are
    /// partitions. On Kafka the layout tells.
    pub fn lanes_effective(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let lanes = if self.lanes == 0 { cores } else { self.lanes };
        lanes.clamp(1, self.partitions.max(1))
    }

    /// The settings as TOML that can be read back.
    ///
    /// # Panics
    /// Never: every field of the tree has a TOML form, which a test writes and reads back.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every field has a TOML form")
    }

    /// The same for people to see: passwords are left out.
    pub fn without_secrets(&self) -> Self {
        Self { log: Log { properties: self.log.properties.hidden(), ..self.log.clone() }, ..self.clone() }
    }
}

/// The HTTP listeners and what they grant to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the API; port 0 = any free one.
    pub listen: SocketAddr,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    pub admin_listen: SocketAddr,
    /// Allows addresses other than loopback although nobody has to prove who they are.
    pub insecure: bool,
    /// Connections at once.
    pub connections_max: u32,
    /// Connections at once from one address.
    pub connections_per_address_max: u32,
    /// Time for a whole request head, from its first byte (from the accept for the first one).
    pub header_timeout_ms: u64,
    /// Bytes of a request head.
    pub header_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of one command's body, and of one line of a stream.
    pub body_bytes_max: usize,
    /// Time for a whole request body, and for one line of a stream from its first byte.
    pub body_timeout_ms: u64,
    /// Time for a request's answer, after its body arrived.
    pub request_timeout_ms: u64,
    /// Time a connection may stay open between two requests, and a stream without a line on its way in or out.
    pub idle_timeout_ms: u64,
    /// Time in which a client must take at least one byte of what is ready for it.
    pub write_timeout_ms: u64,
    /// Longest wait of `?min_version`.
    pub state_wait_ms: u64,
    /// Time for a deployed module to be checked and activated.
    pub deploy_timeout_ms: u64,
    /// Time for open requests to end when the daemon stops.
    pub drain_timeout_ms: u64,
    /// Lines of one stream that are in flight: read, and not yet written as answers.
    pub stream_window_lines: u32,
    /// Bytes of one stream's lines that are in flight.
    pub stream_window_bytes: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 7400).into(),
            admin_listen: ([127, 0, 0, 1], 7401).into(),
            insecure: false,
            connections_max: 1024,
            connections_per_address_max: 512,
            header_timeout_ms: 5_000,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            body_bytes_max: 1024 * 1024,
            body_timeout_ms: 15_000,
            request_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
            write_timeout_ms: 10_000,
            state_wait_ms: 10_000,
            deploy_timeout_ms: 120_000,
            drain_timeout_ms: 10_000,
            stream_window_lines: 1024,
            stream_window_bytes: 4 * 1024 * 1024,
        }
    }
}

/// Where answered commands live. The keys from `brokers` on belong to Kafka, and are refused with another log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Which log.
    pub kind: LogKind,
    /// Bytes of a segment file, of the embedded log and of the local copy of what Kafka holds.
    pub segment_bytes: u64,
    /// Brokers to begin with, as `host:port,host:port`.
    pub brokers: String,
    /// What the names of all topics, of the group and of transactions begin with.
    pub prefix: String,
    /// The group that shares the lanes; empty = `{prefix}hosts`.
    pub group: String,
    /// Whether topics that are missing are created.
    pub create_topics: bool,
    /// Copies of a topic that is created; 0 = three, or one per broker where there are fewer.
    pub replication: u16,
    /// Refuses to start where an answered command could be lost with one machine, instead of warning.
    pub production: bool,
    /// How values are written.
    pub value_form: ValueForm,
    /// What this host is called as a member of the group, the same at every start; empty = a new member at every start.
    pub instance: String,
    /// Time without a sign of life after which a host's lanes are given to others.
    pub session_timeout_ms: u64,
    /// Transactions of this host per second, over all its lanes.
    pub commits_per_second_max: u32,
    /// The URL under which other hosts reach this one's API; empty = the address it listens at.
    pub advertised: String,
    /// Properties of librdkafka for every client: names that it knows, with their values.
    pub properties: Properties,
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// Files in the data folder.
    Embedded,
    /// Topics of an Apache Kafka cluster, shared with other hosts.
    Kafka,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kind: LogKind::Embedded,
            segment_bytes: 64 << 20,
            brokers: String::new(),
            prefix: "ordain.".into(),
            group: String::new(),
            create_topics: true,
            replication: 0,
            production: false,
            value_form: ValueForm::Json,
            instance: String::new(),
            session_timeout_ms: 10_000,
            commits_per_second_max: 1_000,
            advertised: String::new(),
            properties: Properties::default(),
        }
    }
}

/// What a lane takes together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Commands of a batch.
    pub commands_max: usize,
    /// Bytes of a batch's commands; the first is always taken.
    pub bytes_max: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { commands_max: 1024, bytes_max: 4 * 1024 * 1024 }
    }
}

/// What waits for a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Commands that wait for one lane; above it, single requests get 429 and streams are slowed down.
    pub commands_max: usize,
    /// Bytes of the commands that wait for one lane.
    pub bytes_max: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { commands_max: 8192, bytes_max: 64 * 1024 * 1024 }
    }
}

/// Resident states and checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Decoded states that one lane keeps of one type.
    pub resident_states_max: usize,
    /// Memory of one lane's instance of one type above which states are let go.
    pub resident_bytes_max: usize,
    /// Changed aggregates of one lane after which a checkpoint is written.
    pub checkpoint_aggregates: usize,
    /// Longest time between two checkpoints while commands come in.
    pub checkpoint_interval_ms: u64,
    /// Bytes of log after which a checkpoint is written.
    pub checkpoint_log_bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            resident_states_max: 500_000,
            resident_bytes_max: 192 * 1024 * 1024,
            checkpoint_aggregates: 50_000,
            checkpoint_interval_ms: 30_000,
            checkpoint_log_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Reads of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Threads that read the past.
    pub readers: u32,
    /// Reads that wait for one of them; above it, reads are refused with 429.
    pub queue_max: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { readers: 2, queue_max: 256 }
    }
}

/// What the daemon says of itself on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Which parts speak, and how much: `info`, or `warn,ordain::gateway=debug`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// For people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Human,
    /// One JSON object per line.
    Json,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Human }
    }
}

#[cfg(test)]
mod tests;
