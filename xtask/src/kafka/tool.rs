//! Kafka's own tools, for those who have no other Kafka client.

use std::process::Command;

use super::jars;
use crate::run::{Failed, root};

/// One of Kafka's programs. Their arguments are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Creates, lists, changes topics.
    Topics,
    /// Sends lines of standard input as records.
    ConsoleProducer,
    /// Prints records.
    ConsoleConsumer,
    /// Lists and aborts transactions.
    Transactions,
    /// Shows and changes settings.
    Configs,
    /// Shows and changes consumer groups.
    ConsumerGroups,
    /// Shows ends of partitions.
    GetOffsets,
    /// Shows and changes access rules.
    Acls,
}

const NAMES: [(&str, Tool, &str); 8] = [
    ("topics", Tool::Topics, "org.apache.kafka.tools.TopicCommand"),
    ("console-producer", Tool::ConsoleProducer, "org.apache.kafka.tools.ConsoleProducer"),
    ("console-consumer", Tool::ConsoleConsumer, "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("transactions", Tool::Transactions, "org.apache.kafka.tools.TransactionsCommand"),
    ("configs", Tool::Configs, "kafka.admin.ConfigCommand"),
    ("consumer-groups", Tool::ConsumerGroups, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("get-offsets", Tool::GetOffsets, "org.apache.kafka.tools.GetOffsetShell"),
    ("acls", Tool::Acls, "org.apache.kafka.tools.AclCommand"),
];

impl Tool {
    /// The tool of that name, as Kafka's scripts are named.
    ///
    /// # Errors
    /// [`Failed`] with all names if there is none.
    pub fn named(name: &str) -> Result<Self, Failed> {
        NAMES.iter().find(|one| one.0 == name).map(|one| one.1).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|one| one.0).collect();
            Failed(format!("there is no tool `{name}`: {}", names.join(", ")))
        })
    }

    /// The tool's program, which is told a cluster's address.
    pub fn command(self, bootstrap: &str) -> Command {
        let class = NAMES.iter().find(|one| one.1 == self).map_or("", |one| one.2);
        let mut command = java(64, class);
        command.args(["--bootstrap-server", bootstrap]);
        command
    }
}

/// A Java program from the jars, with a heap of so many MiB.
pub fn java(heap_mib: u32, class: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap_mib}m"));
    command.arg(format!("-Dlog4j2.configurationFile=file:{}", jars::log_settings().display()));
    // Java itself expands the star.
    command.arg("-cp").arg(jars::folder().join("*")).arg(class);
    command.current_dir(root());
    command
}
