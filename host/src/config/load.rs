//! Puts the layers of the settings together and checks the result once.

use std::path::Path;

use figment::error::Kind;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;

use super::{Config, LogKind};

/// Settings that cannot be used. The message names the key, where it was set, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// Variables with our prefix that are no settings of the daemon: the command line reads them itself.
const NOT_SETTINGS: [&str; 3] = ["ORDAIN_URL", "ORDAIN_OUTPUT", "ORDAIN_SDK"];
const PREFIX: &str = "ORDAIN_";
/// Properties of librdkafka have dots in their names, which are no levels.
const PROPERTIES: &str = "log__properties__";

/// Defaults, then the file if there is one, then the variables that begin with `ORDAIN_`, then the flags.
/// `flags` serializes to a part of the tree: only what was given on the command line.
///
/// # Errors
/// [`BadConfig`] for a file that cannot be read, an unknown key, a value of a wrong kind, or one that makes no sense.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &impl Serialize,
) -> Result<Config, BadConfig> {
    let mut layers = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|e| BadConfig(format!("the config file {} cannot be read: {e}", path.display())))?;
        toml::from_str::<toml::Table>(&text)
            .map_err(|e| BadConfig(format!("the config file {} is not TOML: {e}", path.display())))?;
        layers = layers.merge(Named { name: format!("the file {}", path.display()), inner: Toml::string(&text) });
    }
    for (name, value) in variables {
        // Set to nothing is how scripts and service files leave a variable out.
        if name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()) && !value.is_empty() {
            layers = layers.merge(Variable { name, value });
        }
    }
    layers = layers.merge(Named { name: "the command line".into(), inner: Given(Serialized::defaults(flags)) });
    let mut config: Config = layers.extract().map_err(|e| BadConfig(explain(e)))?;
    // The usual number is for a log of one's own; on Kafka the layout knows it, unless somebody insists.
    let usual = Serialized::defaults(Config::default()).metadata().name;
    if config.log.kind == LogKind::Kafka && layers.find_metadata("partitions").is_none_or(|from| from.name == usual) {
        config.partitions = 0;
    }
    validate(&config)?;
    Ok(config)
}

/// One sentence per mistake: which key, where it was set, what is wrong.
fn explain(errors: figment::Error) -> String {
    let one = |e: figment::Error| {
        let key = e.path.join(".");
        let place = e.metadata.as_ref().map_or_else(String::new, |m| format!(" (set by {})", m.name));
        let what = match &e.kind {
            Kind::UnknownField(field, known) => {
                let known = known.join(", ");
                // The path ends with the field itself.
                let within = e.path.iter().rev().skip(1).rev().map(String::as_str).collect::<Vec<_>>().join(".");
                let within = if within.is_empty() { "at the top level".to_owned() } else { format!("in [{within}]") };
                return format!("there is no setting `{field}` {within}{place}: known there are {known}");
            }
            Kind::UnknownVariant(found, known) => format!("{found:?} is not known, write one of {}", known.join(", ")),
            Kind::InvalidType(found, expected) if expected.starts_with("struct ") => {
                format!(
                    "it holds settings and is not {found}: set one of them, such as those in [{key}] of docs/config.md"
                )
            }
            kind => kind.to_string(),
        };
        format!("the setting `{key}`{place} cannot be used: {what}")
    };
    errors.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A provider under a name that people recognise.
struct Named<P> {
    name: String,
    inner: P,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        self.inner.data()
    }
}

/// Flags, without the groups of which none was given: an empty group would go before a mistake in an earlier layer.
struct Given<P>(P);

impl<P: Provider> Provider for Given<P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let mut data = self.0.data()?;
        data.values_mut()
            .for_each(|flags| flags.retain(|_, value| value.as_dict().is_none_or(|group| !group.is_empty())));
        Ok(data)
    }
}

/// One variable; `__` separates the levels of its key.
struct Variable {
    name: String,
    value: String,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("the variable {}", self.name))
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let name = self.name[PREFIX.len()..].to_ascii_lowercase();
        if let Some(property) = name.strip_prefix(PROPERTIES) {
            // Taken as text: a password of digits is no number.
            let one = Dict::from([(property.replace("__", "."), Value::from(self.value.as_str()))]);
            let log = Dict::from([("properties".to_owned(), Value::from(one))]);
            return Ok(Profile::Default.collect(Dict::from([("log".to_owned(), Value::from(log))])));
        }
        let key = name.replace("__", ".");
        let value: Value = self.value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        let nested = figment::util::nest(&key, value);
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

/// What no type can say: ranges, and settings that contradict each other.
fn validate(config: &Config) -> Result<(), BadConfig> {
    let http = &config.http;
    // On Kafka 0 stands for what the layout says.
    let (fewest, lanes_max) = match (config.log.kind, config.partitions) {
        (LogKind::Embedded, partitions) => (1, partitions),
        (LogKind::Kafka, 0) => (0, 32_768),
        (LogKind::Kafka, partitions) => (0, partitions),
    };
    let ranges: [(&str, u64, u64, u64); 24] = [
        ("partitions", config.partitions.into(), fewest, 32_768),
        ("lanes", config.lanes.into(), 0, lanes_max.into()),
        ("http.connections_max", http.connections_max.into(), 1, 1_000_000),
        ("http.connections_per_address_max", http.connections_per_address_max.into(), 1, 1_000_000),
        ("http.header_timeout_ms", http.header_timeout_ms, 1, 3_600_000),
        ("http.header_bytes_max", http.header_bytes_max as u64, 8 * 1024, 1024 * 1024),
        ("http.headers_max", http.headers_max as u64, 8, 1024),
        ("http.body_bytes_max", http.body_bytes_max as u64, 1, 64 * 1024 * 1024),
        ("http.body_timeout_ms", http.body_timeout_ms, 1, 3_600_000),
        ("http.request_timeout_ms", http.request_timeout_ms, 1, 3_600_000),
        ("http.idle_timeout_ms", http.idle_timeout_ms, 1, 86_400_000),
        ("http.write_timeout_ms", http.write_timeout_ms, 1, 3_600_000),
        ("http.state_wait_ms", http.state_wait_ms, 0, http.request_timeout_ms),
        ("http.stream_window_lines", http.stream_window_lines.into(), 1, 1_000_000),
        ("http.stream_window_bytes", http.stream_window_bytes as u64, http.body_bytes_max as u64, 1 << 30),
        ("log.segment_bytes", config.log.segment_bytes, 1024 * 1024, 1 << 40),
        ("log.replication", config.log.replication.into(), 0, 32),
        ("log.session_timeout_ms", config.log.session_timeout_ms, 1_000, 300_000),
        ("log.commits_per_second_max", config.log.commits_per_second_max.into(), 1, 100_000),
        ("batch.commands_max", config.batch.commands_max as u64, 1, 65_536),
        ("batch.bytes_max", config.batch.bytes_max as u64, 1024, 512 * 1024 * 1024),
        ("queue.commands_max", config.queue.commands_max as u64, 1, 1 << 24),
        ("queue.bytes_max", config.queue.bytes_max as u64, http.body_bytes_max as u64, 1 << 36),
        ("history.readers", config.history.readers.into(), 1, 1024),
    ];
    for (key, value, min, max) in ranges {
        if value < min || value > max {
            return Err(BadConfig(format!("the setting `{key}` is {value}: use {min} to {max}")));
        }
    }
    config.limits.check().map_err(BadConfig)?;
    super::kafka::validate(config)?;
    let listeners = [("http.listen", http.listen), ("http.admin_listen", http.admin_listen)];
    let open = listeners.into_iter().find(|(_, address)| !address.ip().is_loopback() && !http.insecure);
    open.map_or(Ok(()), |(key, address)| {
        Err(BadConfig(format!(
            "the setting `{key}` is {address}, which others than this machine may reach, and nobody has to prove who they are: \
             use 127.0.0.1, or accept it with `--insecure` (`http.insecure = true`)"
        )))
    })
}
