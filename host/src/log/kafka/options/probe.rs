//! Whether librdkafka makes each kind of client with the properties that were passed through. Some of them it compares with
//! each other, and with what a kind of client fixes, only when a client is made.
//!
//! Invariant: nothing here reaches a network: the clients that are tried know of no broker.

use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::{ClientConfig, NativeClientConfig};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;

use super::clients::{self, Setting};
use super::{Options, is_secret};

/// A kind of client: what it is for, and its settings in parts.
type Kind = (&'static str, RDKafkaType, &'static [&'static [Setting]]);

/// What differs from one client to the next, as some client of the kind could have it.
const SOME_ID: &[Setting] = &[("transactional.id", "ordain")];
const SOME_GROUP: &[Setting] = &[("group.id", "ordain")];

const KINDS: [Kind; 8] = [
    ("a client for administration", RDKafkaType::RD_KAFKA_PRODUCER, &[&[clients::LEADERS]]),
    ("the producer of a lane", RDKafkaType::RD_KAFKA_PRODUCER, &[SOME_ID, clients::LANE]),
    ("the producer of the layout", RDKafkaType::RD_KAFKA_PRODUCER, &[SOME_ID, clients::LAYOUT]),
    ("the producer of commands", RDKafkaType::RD_KAFKA_PRODUCER, &[clients::COMMANDS]),
    ("a reader of a lane", RDKafkaType::RD_KAFKA_CONSUMER, &[SOME_GROUP, clients::READER, clients::RESTORE]),
    ("a reader of commands", RDKafkaType::RD_KAFKA_CONSUMER, &[SOME_GROUP, clients::READER, clients::FEED]),
    ("a member of the group of hosts", RDKafkaType::RD_KAFKA_CONSUMER, &[SOME_GROUP, clients::MEMBER]),
    ("the writer of offsets for tools", RDKafkaType::RD_KAFKA_CONSUMER, &[SOME_GROUP, clients::LAG]),
];

impl Options {
    /// Makes a client of each kind, and drops it again.
    ///
    /// # Errors
    /// A sentence that names the property with which librdkafka makes none, and the bound that it breaks.
    pub fn probe(&self) -> Result<(), String> {
        if self.properties.is_empty() {
            return Ok(());
        }
        KINDS.iter().try_for_each(|kind| self.make(kind).map_err(|why| self.blame(kind, &why)))
    }

    fn make(&self, kind: &Kind) -> Result<(), String> {
        let (_, of, parts) = kind;
        let usual = parts.concat();
        let mut config = self.client_with(&usual);
        config.set("session.timeout.ms", self.session_of(*of, &usual)).remove("bootstrap.servers");
        // What is wrong is told once, by the error.
        config.set("log_level", "0");
        let native = config.create_native_config().map_err(|e| e.to_string())?;
        let client = Client::new(&config, native, *of, DefaultClientContext).map(drop);
        client.map_err(|error| match error {
            KafkaError::ClientCreation(why) => self.with_values(&config, &why),
            other => other.to_string(),
        })
    }

    /// Milliseconds of the session of a client: what it says, the members' own, or librdkafka's usual.
    fn session_of(&self, of: RDKafkaType, usual: &[Setting]) -> String {
        let said = |name: &str| usual.iter().find(|(said, _)| *said == name).map(|(_, value)| *value);
        match said("session.timeout.ms") {
            Some(value) => value.to_owned(),
            None if of == RDKafkaType::RD_KAFKA_CONSUMER && said("max.poll.interval.ms").is_some() => {
                self.session_timeout_ms.to_string()
            }
            None => "45000".to_owned(),
        }
    }

    /// librdkafka's sentence, with the values of the settings that it names in backticks.
    fn with_values(&self, config: &ClientConfig, why: &str) -> String {
        let native = config.create_native_config().ok();
        let number = |name: &str| {
            let value = native.as_ref().and_then(|known: &NativeClientConfig| known.get(name).ok())?;
            (!is_secret(name) && value.parse::<i64>().is_ok()).then_some(value)
        };
        let part = |(at, part): (usize, &str)| match number(part) {
            Some(value) if at % 2 == 1 => format!("`{part}` ({value})"),
            _ if at % 2 == 1 => format!("`{part}`"),
            _ if at > 0 && part.starts_with(char::is_alphabetic) => format!(" {part}"),
            _ => part.to_owned(),
        };
        let told: String = why.split('`').enumerate().map(part).collect();
        let secrets = self.properties.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        secrets.fold(told, |told, (_, value)| told.replace(value, "(hidden)"))
    }

    /// The property without which the client can be made; if there are several, one that librdkafka names.
    fn blame(&self, kind: &Kind, why: &str) -> String {
        let is_cause = |name: &&String| {
            let mut without = self.clone();
            without.properties.remove(*name);
            without.make(kind).is_ok()
        };
        let causes: Vec<&String> = self.properties.keys().filter(is_cause).collect();
        let named = causes.iter().find(|name| why.contains(name.as_str()));
        match named.or(causes.first()) {
            Some(name) => format!(
                "the property `{name}` in [log.properties] cannot be set so: {} cannot be made with it: {why}",
                kind.0
            ),
            None => format!("the properties in [log.properties] do not fit together: {} cannot be made: {why}", kind.0),
        }
    }
}
