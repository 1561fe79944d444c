//! The commands of Kafka's own tools that make the topics and grant the rights, for those who may not leave it to a host.

use super::rules::{Role, settings};
use crate::log::kafka::options::{COPIES_USUAL, Options};
use crate::message::AggregateType;

/// One line per command. Comments begin with `#`. `brokers`: how many there are; `None` = nobody knows, and it is said.
pub fn commands(options: &Options, types: &[AggregateType], brokers: Option<u32>) -> Vec<String> {
    let copies = options.copies(brokers.unwrap_or(COPIES_USUAL));
    let (partitions, lanes) = options.dimensions();
    let mut lines = vec!["# Topics. The numbers of partitions are for ever.".to_owned()];
    if brokers.is_none() && options.replication == 0 {
        lines.push(format!(
            "# No broker answered: with fewer than {copies}, say so with `log.replication` and print this anew."
        ));
    }
    lines.push(create(options, &options.lanes_topic(), Role::Lanes, lanes, copies));
    for name in types {
        lines.push(create(options, &options.commands_topic(name), Role::Commands, partitions, copies));
        lines.push(create(options, &options.events_topic(name), Role::Events, partitions, copies));
    }
    lines.extend(rights(options, types));
    lines
}

fn create(options: &Options, topic: &str, role: Role, partitions: u32, copies: u32) -> String {
    let head = format!(
        "kafka-topics.sh --bootstrap-server {} --create --if-not-exists --topic {topic} --partitions {partitions} \
         --replication-factor {copies}",
        options.brokers
    );
    settings(role, copies).iter().fold(head, |line, (name, value)| format!("{line} --config {name}={value}"))
}

/// Who needs which rights; the principals are examples.
fn rights(options: &Options, types: &[AggregateType]) -> Vec<String> {
    let acl = |rest: &str| format!("kafka-acls.sh --bootstrap-server {} --add {rest}", options.brokers);
    let prefix = &options.prefix;
    let host = "--allow-principal User:ordain";
    let mut lines = vec![
        "# Rights of the hosts.".to_owned(),
        acl(&format!(
            "{host} --operation Read --operation Write --operation Describe --operation DescribeConfigs \
             --resource-pattern-type prefixed --topic {prefix}"
        )),
        acl(&format!(
            "{host} --operation Write --operation Describe --resource-pattern-type prefixed --transactional-id {prefix}"
        )),
        acl(&format!(
            "{host} --operation Read --operation Describe --group {} --group {} --group {}",
            options.group,
            options.reader_group(),
            options.lag_group()
        )),
        acl(&format!("{host} --operation Describe --operation DescribeConfigs --topic __transaction_state")),
    ];
    if options.create_topics {
        lines.push("# Only where hosts create topics (`log.create_topics = true`).".to_owned());
        lines.push(acl(&format!("{host} --operation Create --resource-pattern-type prefixed --topic {prefix}")));
    }
    for name in types {
        lines.push(format!("# Who sends commands to {name}, and who reads what happened."));
        let commands = options.commands_topic(name);
        lines.push(acl(&format!(
            "--allow-principal User:sender --operation Write --operation Describe --topic {commands}"
        )));
        let events = options.events_topic(name);
        lines.push(acl(&format!(
            "--allow-principal User:reader --operation Read --operation Describe --topic {events}"
        )));
    }
    lines
}
