//! What tests of logs need: commands that differ in nothing but what matters, and numbers drawn from a seed.

use super::segment::format::{Answer, BlockBuilder, EntryHead};
use crate::message::{AggregateId, AggregateType, Command, CommandId, Digest, partition_of};

/// A command for an account; its body tells it from every other.
pub fn command(id: &str, partitions: u32, body: &[u8]) -> Command {
    Command {
        partition: partition_of(id, partitions),
        aggregate_type: AggregateType::parse("account").expect("a type"),
        aggregate_id: AggregateId::parse(id).expect("an id"),
        command_id: CommandId::parse("c").expect("an id"),
        expected_version: None,
        time_ms: 0,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: Box::default(),
        body: body.into(),
        offset: None,
        defect: None,
        body_hash: 0,
    }
}

/// Adds an accepted command with one event, after which the aggregate has `version`.
pub fn push(block: &mut BlockBuilder, id: &str, version: u64, body: &[u8]) {
    let head = EntryHead { sequence: 0, command_offset: 0, version, module: Digest([7; 32]) };
    block.push(&head, &command(id, 4, body), &Answer::Accepted { count: 1, events: b"event" });
}

/// Numbers from a seed (SplitMix64, Steele et al. 2014): the same seed gives the same run.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.draw() as u8).collect()
    }
}
