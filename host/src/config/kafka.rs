//! What the settings of a log on Kafka mean together, and what cannot be.

use super::{BadConfig, Config, Log, LogKind};
use crate::log::kafka::options::{Options, refused_property};

/// Bytes of a prefix: the longest type's `.commands` must fit into Kafka's 249.
const PREFIX_BYTES_MAX: usize = 128;

impl Config {
    /// The options of the log on Kafka; `None` with another log.
    pub fn kafka(&self) -> Option<Options> {
        let log = &self.log;
        (log.kind == LogKind::Kafka).then(|| Options {
            brokers: log.brokers.clone(),
            prefix: log.prefix.clone(),
            group: if log.group.is_empty() { format!("{}hosts", log.prefix) } else { log.group.clone() },
            lanes: (self.lanes > 0).then_some(self.lanes),
            partitions: (self.partitions > 0).then_some(self.partitions),
            properties: log.properties.0.clone(),
            create_topics: log.create_topics,
            replication: log.replication,
            production: log.production,
            value_form: log.value_form,
            instance: (!log.instance.is_empty()).then(|| log.instance.clone()),
            session_timeout_ms: log.session_timeout_ms,
            commits_per_second_max: log.commits_per_second_max,
            advertised: (!log.advertised.is_empty()).then(|| log.advertised.trim_end_matches('/').to_owned()),
        })
    }
}

/// Settings of `[log]` that contradict each other or cannot be used.
pub(super) fn validate(config: &Config) -> Result<(), BadConfig> {
    match config.log.kind {
        LogKind::Embedded => embedded(config),
        LogKind::Kafka => kafka(&config.log),
    }
}

/// A key of Kafka that is set while the log is another: whoever set it believes to run on Kafka.
fn embedded(config: &Config) -> Result<(), BadConfig> {
    let (log, usual) = (&config.log, Log::default());
    let of_kafka = [
        ("brokers", log.brokers == usual.brokers),
        ("prefix", log.prefix == usual.prefix),
        ("group", log.group == usual.group),
        ("create_topics", log.create_topics == usual.create_topics),
        ("replication", log.replication == usual.replication),
        ("production", log.production == usual.production),
        ("value_form", log.value_form == usual.value_form),
        ("instance", log.instance == usual.instance),
        ("session_timeout_ms", log.session_timeout_ms == usual.session_timeout_ms),
        ("commits_per_second_max", log.commits_per_second_max == usual.commits_per_second_max),
        ("advertised", log.advertised == usual.advertised),
        ("properties", log.properties == usual.properties),
    ];
    if let Some((key, _)) = of_kafka.iter().find(|(_, untouched)| !untouched) {
        return Err(BadConfig(format!(
            "the setting `log.{key}` belongs to Kafka, but `log.kind` is \"embedded\": set `log.kind = \"kafka\"`, or remove it"
        )));
    }
    Ok(())
}

fn kafka(log: &Log) -> Result<(), BadConfig> {
    brokers(&log.brokers)?;
    prefix(&log.prefix)?;
    let plain = |c: char| c.is_ascii_graphic();
    if log.group.len() > 249 || !log.group.chars().all(plain) {
        return Err(BadConfig("the setting `log.group` needs at most 249 visible ASCII characters".into()));
    }
    let of_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if log.instance.len() > 249 || !log.instance.chars().all(of_name) {
        return Err(BadConfig("the setting `log.instance` needs at most 249 of a-z A-Z 0-9 . _ -".into()));
    }
    let advertised = &log.advertised;
    let host = advertised.strip_prefix("http://").or_else(|| advertised.strip_prefix("https://"));
    if !advertised.is_empty() && !host.is_some_and(|rest| is_address(rest.trim_end_matches('/'))) {
        return Err(BadConfig(format!(
            "the setting `log.advertised` is {advertised:?}: write what other hosts can reach, like \"http://10.0.0.7:7400\""
        )));
    }
    for (name, value) in &log.properties.0 {
        if let Some(why) = refused_property(name, value) {
            return Err(BadConfig(format!("the property `{name}` in [log.properties] cannot be set: {why}")));
        }
    }
    Ok(())
}

fn brokers(list: &str) -> Result<(), BadConfig> {
    if list.is_empty() {
        return Err(BadConfig(
            "`log.kind` is \"kafka\", but `log.brokers` says not where: write `brokers = \"host:9092\"` in [log]"
                .into(),
        ));
    }
    let wrong = list.split(',').map(str::trim).find(|one| !is_address(one));
    wrong.map_or(Ok(()), |one| {
        Err(BadConfig(format!(
            "the setting `log.brokers` names {one:?}: write `host:port`, with commas between several"
        )))
    })
}

/// `host:port`, where the host may be a name, an address, or an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains([':', '/', ' ']) || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && bare && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn prefix(prefix: &str) -> Result<(), BadConfig> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    // Types hold no dot and no underscore: with one of them at the end, no topic can belong to two prefixes.
    let ends = prefix.ends_with('.') || prefix.ends_with('_');
    if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(plain) || !ends {
        return Err(BadConfig(format!(
            "the setting `log.prefix` is {prefix:?}: use at most {PREFIX_BYTES_MAX} of a-z A-Z 0-9 . _ - with a dot or an \
             underscore at the end, like \"ordain.\""
        )));
    }
    Ok(())
}
