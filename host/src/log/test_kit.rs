//! What tests of logs need: commands that differ in nothing but what matters.

use crate::message::{AggregateId, AggregateType, Command, CommandId, partition_of};

/// A command for an account.
pub fn command(id: &str, partitions: u32) -> Command {
    Command {
        partition: if partitions == 0 { 0 } else { partition_of(id, partitions) },
        aggregate_type: AggregateType::parse("account").expect("a type"),
        aggregate_id: AggregateId::parse(id).expect("an id"),
        command_id: CommandId::fresh(),
        expected_version: None,
        time_ms: 0,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: Box::default(),
        body: b"body".as_slice().into(),
        body_hash: 0,
    }
}
