//! How topics must be, as pure functions of what a cluster says of them.

use std::collections::BTreeMap;

use super::problem::{Problem, Repair, Severity};
use crate::log::kafka::bounds::EVENTS_MIN;
use crate::message::AggregateType;

/// A topic and everything that is checked of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id: another one after it was deleted and made again.
    pub id: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Copies of the partition that has the fewest.
    pub replication: u32,
    /// Its settings in effect, its own or the brokers'.
    pub settings: BTreeMap<String, String>,
    /// Partitions whose first records are gone, with the first offset that is left.
    pub cut: Vec<(u32, i64)>,
}

impl Topic {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("unknown", |value| value)
    }

    /// Bytes of the largest batch of records that the topic takes; `None` if the cluster does not say.
    pub fn max_message_bytes(&self) -> Option<usize> {
        self.setting(MESSAGE_BYTES).parse().ok()
    }
}

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What was asked.
    Commands,
    /// What happened.
    Events,
    /// Lanes, their owners and the layout.
    Lanes,
    /// The brokers' own record of transactions.
    Transactions,
}

/// The setting that bounds a record.
const MESSAGE_BYTES: &str = "max.message.bytes";
/// The name of the brokers' own record of transactions.
pub const TRANSACTIONS: &str = "__transaction_state";

/// What the name of a topic says, if it belongs to the prefix.
pub fn parse(prefix: &str, topic: &str) -> Option<(Role, Option<AggregateType>)> {
    let rest = topic.strip_prefix(prefix)?;
    if rest == "lanes" {
        return Some((Role::Lanes, None));
    }
    let (name, kind) = rest.rsplit_once('.')?;
    let role = match kind {
        "commands" => Role::Commands,
        "events" => Role::Events,
        _ => return None,
    };
    Some((role, Some(AggregateType::parse(name).ok()?)))
}

/// The settings that a topic is created with. `replication` copies decide how many of them must have a record.
pub fn settings(role: Role, replication: u32) -> Vec<(&'static str, &'static str)> {
    let in_sync = if replication >= 3 { "2" } else { "1" };
    let mut settings = vec![("min.insync.replicas", in_sync), ("unclean.leader.election.enable", "false")];
    match role {
        Role::Lanes => settings.push(("cleanup.policy", "compact")),
        Role::Transactions => {}
        Role::Commands | Role::Events => {
            settings.extend([("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")]);
            // A command or the events of one may have a megabyte, and their headers come on top.
            settings.push(("max.message.bytes", "4194304"));
        }
    }
    if role == Role::Events {
        settings.push(("message.timestamp.type", "LogAppendTime"));
    }
    settings
}

/// Below it, commands and events of the usual limits do not fit.
const MESSAGE_BYTES_MIN: usize = 1024 * 1024;
/// A host could not read a larger record back: clients take 100 MB at once.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the checks compare with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Number of partitions.
    pub partitions: u32,
    /// Whether the layout has the topic already, for ever.
    pub laid_out: bool,
    /// Whether what could lose an answered command with one machine is refused (R11).
    pub production: bool,
    /// Where tools find the cluster.
    pub brokers: &'a str,
}

/// Everything that is wrong with one topic.
pub fn check(topic: &Topic, role: Role, expected: Expected<'_>) -> Vec<Problem> {
    let mut problems = partitions(topic, role, expected);
    for (setting, value) in fixed(role) {
        if topic.setting(setting) != *value {
            problems.push(setting_problem(topic, setting, value, Severity::Refuse, expected.brokers));
        }
    }
    if let Some((partition, first)) = topic.cut.first().filter(|_| matches!(role, Role::Commands | Role::Events)) {
        problems.push(Problem {
            severity: Severity::Refuse,
            topic: topic.name.clone(),
            setting: "first offset".into(),
            is: format!("{first} in partition {partition} (of {} that were cut)", topic.cut.len()),
            should: "0".into(),
            repair: Repair::Words("records were deleted, and with them state: restore the topic from a backup".into()),
        });
    }
    problems.extend(message_bytes(topic, role, expected.brokers));
    problems.extend(durability(topic, role, expected));
    problems
}

/// Whether a topic takes records that are large enough, and none that nobody can read.
fn message_bytes(topic: &Topic, role: Role, brokers: &str) -> Option<Problem> {
    let bytes = topic.max_message_bytes().filter(|_| matches!(role, Role::Commands | Role::Events))?;
    let (should, severity) = match bytes {
        0..EVENTS_MIN if role == Role::Events => (format!("at least {MESSAGE_BYTES_MIN}"), Severity::Refuse),
        0..MESSAGE_BYTES_MIN => (format!("at least {MESSAGE_BYTES_MIN}"), Severity::Warn),
        MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX => return None,
        _ => (format!("at most {MESSAGE_BYTES_MAX}"), Severity::Refuse),
    };
    Some(problem(topic, MESSAGE_BYTES, &should, severity, alter(brokers, &topic.name, MESSAGE_BYTES, "4194304")))
}

/// Why a host cannot write to a topic of events whose bound was lowered while it runs.
pub fn too_small(brokers: &str, topic: &str, bytes: usize) -> String {
    format!(
        "topic {topic} takes records of {bytes} bytes only (max.message.bytes), which is too little for any answer. \
         Repair it: {}",
        alter(brokers, topic, MESSAGE_BYTES, "4194304")
    )
}

/// Whether a topic has as many partitions as it must.
pub fn partitions(topic: &Topic, role: Role, expected: Expected<'_>) -> Vec<Problem> {
    if role == Role::Transactions || topic.partitions == expected.partitions {
        return Vec::new();
    }
    vec![Problem {
        severity: Severity::Refuse,
        topic: topic.name.clone(),
        setting: "number of partitions".into(),
        is: topic.partitions.to_string(),
        should: expected.partitions.to_string(),
        repair: Repair::Words(if expected.laid_out { CHANGED.into() } else { again(topic) }),
    }]
}

/// What to do about a topic of the layout with another number of partitions. One made anew instead has another id: nobody
/// can tell any more that the deleted one was empty.
const CHANGED: &str = "keys would go to other partitions: restore the cluster from before the change, or begin anew under \
                       another `log.prefix`. Only a log that no command was ever sent to may be made again: stop the \
                       hosts, delete all its topics, the one of lanes too, and run `ordain topics create`";

/// What to do about a topic that no layout has.
fn again(topic: &Topic) -> String {
    let command = match topic.name.rsplit(['.', '_']).nth(1) {
        Some(name) if topic.name.ends_with(".commands") || topic.name.ends_with(".events") => {
            format!("ordain topics create {name}")
        }
        _ => "ordain topics create".into(),
    };
    format!("nothing of the log uses it yet: delete it, unless it holds what you need, and run `{command}`")
}

/// What a role's topics must say to the letter.
fn fixed(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::Commands => &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")],
        Role::Events => &[
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("message.timestamp.type", "LogAppendTime"),
        ],
        Role::Lanes => &[("cleanup.policy", "compact")],
        Role::Transactions => &[],
    }
}

/// What one lost machine may not take along (R11).
fn durability(topic: &Topic, role: Role, expected: Expected<'_>) -> Vec<Problem> {
    let severity = if expected.production { Severity::Refuse } else { Severity::Warn };
    let mut problems = Vec::new();
    let in_sync = topic.setting("min.insync.replicas").parse::<u32>();
    let in_sync_wanted = !in_sync.as_ref().is_ok_and(|in_sync| *in_sync >= 2);
    if topic.replication < 3 {
        problems.push(Problem {
            severity,
            topic: topic.name.clone(),
            setting: "replication factor".into(),
            is: topic.replication.to_string(),
            should: format!(
                "at least 3{}",
                if in_sync_wanted { ", and min.insync.replicas then at least 2" } else { "" }
            ),
            repair: reassign(expected.brokers, topic, role),
        });
    }
    if in_sync.as_ref().is_ok_and(|in_sync| *in_sync > topic.replication) {
        let repair = alter(expected.brokers, &topic.name, "min.insync.replicas", &usual_in_sync(topic).to_string());
        let should = format!("at most the {} copies that there are", topic.replication);
        problems.push(problem(topic, "min.insync.replicas", &should, Severity::Refuse, repair));
    } else if in_sync_wanted && topic.replication >= 3 {
        // With fewer copies it would stop the log together with one machine, or at once: the line above says both.
        let repair = alter(expected.brokers, &topic.name, "min.insync.replicas", "2");
        problems.push(problem(topic, "min.insync.replicas", "at least 2", severity, repair));
    }
    if topic.setting("unclean.leader.election.enable") != "false" {
        problems.push(setting_problem(topic, "unclean.leader.election.enable", "false", severity, expected.brokers));
    }
    problems
}

fn usual_in_sync(topic: &Topic) -> u32 {
    if topic.replication >= 3 { 2 } else { 1 }
}

fn problem(topic: &Topic, setting: &str, should: &str, severity: Severity, command: String) -> Problem {
    Problem {
        severity,
        topic: topic.name.clone(),
        setting: setting.into(),
        is: topic.setting(setting).to_owned(),
        should: should.into(),
        repair: Repair::Command(command),
    }
}

fn setting_problem(topic: &Topic, setting: &str, value: &str, severity: Severity, brokers: &str) -> Problem {
    problem(topic, setting, value, severity, alter(brokers, &topic.name, setting, value))
}

/// The command that sets one setting of a topic.
fn alter(brokers: &str, topic: &str, setting: &str, value: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} \
         --add-config {setting}={value}"
    )
}

fn reassign(brokers: &str, topic: &Topic, role: Role) -> Repair {
    let also = if role == Role::Transactions {
        " (for a new cluster: transaction.state.log.replication.factor=3 and transaction.state.log.min.isr=2 on the brokers)"
    } else {
        ""
    };
    let then = alter(brokers, &topic.name, "min.insync.replicas", "2");
    Repair::Words(format!(
        "with three brokers or more, name three replicas per partition in FILE, run `kafka-reassign-partitions.sh \
         --bootstrap-server {brokers} --reassignment-json-file FILE --execute`, and after that `{then}`{also}"
    ))
}

/// What brokers would do with their record of transactions, before the first one makes it.
pub fn transactions_to_be(broker: &BTreeMap<String, String>) -> Topic {
    let of = |name: &str| broker.get(name).cloned();
    let settings = [
        ("min.insync.replicas", of("transaction.state.log.min.isr")),
        // The brokers never elect unclean leaders for it, whatever they do for others.
        ("unclean.leader.election.enable", Some("false".to_owned())),
    ];
    Topic {
        name: TRANSACTIONS.into(),
        replication: of("transaction.state.log.replication.factor").and_then(|n| n.parse().ok()).unwrap_or(0),
        settings: settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        ..Topic::default()
    }
}
