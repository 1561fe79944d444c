//! The settings of a log on Kafka, checked, and the names that follow from them.

pub mod clients;
mod probe;
mod properties;

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::message::AggregateType;
pub use properties::{is_secret, refused_property};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueForm {
    #[default]
    /// JSON, and MessagePack for a value that JSON could not bring back unchanged.
    Json,
    /// MessagePack.
    Msgpack,
}

/// Where the log is and how it is used. Made by [`crate::config::Config::kafka`], which has checked it.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Brokers to begin with, as `host:port,host:port`.
    pub brokers: String,
    /// What the names of all topics, of the group and of transactions begin with. It ends with a dot or an underscore.
    pub prefix: String,
    /// The group that shares the lanes.
    pub group: String,
    /// The number of lanes that the layout must have; `None` = whatever it has.
    pub lanes: Option<u32>,
    /// The number of partitions that the layout must have; `None` = whatever it has.
    pub partitions: Option<u32>,
    /// Properties of librdkafka for every client.
    pub properties: BTreeMap<String, String>,
    /// Whether topics that are missing are created.
    pub create_topics: bool,
    /// Copies of a topic that is created; 0 = three, or one per broker where there are fewer.
    pub replication: u16,
    /// Refuses what could lose an answered command with one machine, instead of warning (R11).
    pub production: bool,
    /// How values are written.
    pub value_form: ValueForm,
    /// What this host is called as a member of the group; `None` = it is a new member at every start.
    pub instance: Option<String>,
    /// Milliseconds without a sign of life after which a host's lanes are given to others.
    pub session_timeout_ms: u64,
    /// Transactions of this host per second, over all its lanes.
    pub commits_per_second_max: u32,
    /// The URL under which other hosts reach this one's API, without a slash at its end; `None` = the bound address.
    pub advertised: Option<String>,
}

/// Properties that are given a usual value somewhere, and their other names in librdkafka.
const ALIASES: [(&str, &str); 4] = [
    ("linger.ms", "queue.buffering.max.ms"),
    ("compression.type", "compression.codec"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
];

/// All names of a property.
fn names_of(name: &str) -> impl Iterator<Item = &str> {
    let other = ALIASES.iter().find(|(usual, _)| *usual == name).map(|(_, alias)| *alias);
    std::iter::once(name).chain(other)
}

/// Partitions of a new log whose settings say nothing.
pub const PARTITIONS_USUAL: u32 = 16;
/// Copies of a topic where the settings say nothing, and there are brokers enough.
pub const COPIES_USUAL: u32 = 3;
/// Lanes of a new log whose settings say nothing; never more than partitions.
pub const LANES_USUAL: u32 = 8;

impl Options {
    /// What people may send commands of a type to.
    pub fn commands_topic(&self, of: &AggregateType) -> String {
        format!("{}{of}.commands", self.prefix)
    }

    /// What happened to aggregates of a type.
    pub fn events_topic(&self, of: &AggregateType) -> String {
        format!("{}{of}.events", self.prefix)
    }

    /// The topic whose partitions are the lanes; it also holds the layout and each lane's owner.
    pub fn lanes_topic(&self) -> String {
        format!("{}lanes", self.prefix)
    }

    /// The group that nobody joins: how far commands are answered is committed under it, for tools that show lag (R13).
    pub fn lag_group(&self) -> String {
        format!("{}lag", self.prefix)
    }

    /// The group of those who read partitions that they name themselves. Nobody joins it and nothing is committed under it,
    /// but librdkafka asks for its coordinator, and must be allowed to.
    pub fn reader_group(&self) -> String {
        format!("{}reader", self.prefix)
    }

    /// The fence of a lane (R1, R3). It depends on nothing of the host: whoever takes the lane, fences the others.
    pub fn transactional_id(&self, generation: u32, lane: u32) -> String {
        format!("{}g{generation}-lane-{lane}", self.prefix)
    }

    /// The fence of those who change the layout.
    pub fn layout_transactional_id(&self) -> String {
        format!("{}layout", self.prefix)
    }

    /// The settings that all clients share: where the brokers are, and everything that was passed through.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "ordain");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("allow.auto.create.topics", "false");
        config
    }

    /// The settings of one client: those above, and what is usual for such a client wherever the properties do not say it.
    /// What must not be otherwise cannot be among the properties: see [`refused_property`].
    pub fn client_with(&self, usual: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.client();
        for (name, value) in usual {
            if !names_of(name).any(|said| self.properties.contains_key(said)) {
                config.set(*name, *value);
            }
        }
        config
    }

    /// Copies of a topic that is made where there are so many brokers.
    pub fn copies(&self, brokers: u32) -> u32 {
        match self.replication {
            0 => brokers.clamp(1, COPIES_USUAL),
            copies => copies.into(),
        }
    }

    /// Partitions and lanes of a log that has no layout yet.
    pub fn dimensions(&self) -> (u32, u32) {
        let partitions = self.partitions.unwrap_or(PARTITIONS_USUAL.max(self.lanes.unwrap_or(0)));
        (partitions, self.lanes.unwrap_or(LANES_USUAL).min(partitions))
    }
}

/// Without the values of the properties: some are secrets.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("group", &self.group)
            .field("lanes", &self.lanes)
            .field("partitions", &self.partitions)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
