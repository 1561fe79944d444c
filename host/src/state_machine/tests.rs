//! The state machine against a reference model that is as simple as the promises, over random sequences of commands,
//! commits and losses.

use std::collections::BTreeMap;

use bank_account::Account;
use proptest::prelude::*;

use super::aggregates::Aggregate;
use super::recent::KNOWN_FOR_MS;
use super::*;
use crate::decider::native::Native;
use crate::log::Block;
use crate::log::segment::format::KIND_ENTRIES;
use crate::message::{AggregateId, AggregateType, CommandId, partition_of};

const PARTITIONS: u32 = 4;

fn digest() -> Digest {
    Digest([7; 32])
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Command { aggregate: u8, id: u16, body: u8, expected: Option<u8>, later_ms: i64 },
    Commit,
    Lose,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = (
        0u8..3,
        0u16..24,
        0u8..6,
        proptest::option::weighted(0.3, 0u8..6),
        prop_oneof![
            9 => 0i64..50,
            1 => Just(KNOWN_FOR_MS + 1)
        ],
    )
        .prop_map(|(aggregate, id, body, expected, later_ms)| Step::Command {
            aggregate,
            id,
            body,
            expected,
            later_ms,
        });
    let step = prop_oneof![12 => command, 3 => Just(Step::Commit), 1 => Just(Step::Lose), 1 => Just(Step::Restart)];
    proptest::collection::vec(step, 1..60)
}

fn body(number: u8) -> &'static str {
    [
        r#"{"Open":{"owner":"ann","overdraft_limit":100}}"#,
        r#"{"Deposit":{"amount":50}}"#,
        r#"{"Withdraw":{"amount":80}}"#,
        r#"{"Rename":{"owner":"bob"}}"#,
        r#"{"Close":{}}"#,
        r#"{"Nonsense":{}}"#,
    ][number as usize]
}

fn command(aggregate: u8, id: u16, number: u8, expected: Option<u8>, time_ms: i64) -> Command {
    let aggregate_id = AggregateId::parse(&format!("acc-{aggregate}")).unwrap();
    let body = crate::json::to_messagepack(body(number).as_bytes()).unwrap();
    Command {
        partition: partition_of(aggregate_id.as_str(), PARTITIONS),
        aggregate_type: AggregateType::parse("account").unwrap(),
        aggregate_id,
        command_id: CommandId::parse(&format!("c-{id}")).unwrap(),
        expected_version: expected.map(u64::from),
        time_ms,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: [].into(),
        offset: None,
        defect: None,
        body_hash: crate::json::body_hash(&body),
        body: body.into(),
    }
}

/// What a command is answered, as a word.
fn word(answer: &Answer<'_>) -> String {
    match answer {
        Answer::Accepted { count, .. } => format!("accepted {count}"),
        Answer::Rejected(_) => "rejected".to_owned(),
        Answer::Conflict { actual } => format!("conflict {actual}"),
        Answer::Failed { reason, .. } => format!("failed {}", reason.as_str()),
        Answer::Repeated { .. } => "repeated".to_owned(),
    }
}

/// One account as the promises describe it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    version: u64,
    balance: i64,
    limit: i64,
    status: u8,
    answered: BTreeMap<u16, (u8, i64)>,
}

impl Model {
    fn answer(&mut self, id: u16, number: u8, expected: Option<u8>, time_ms: i64) -> String {
        if let Some((body, time)) = self.answered.get(&id)
            && time_ms - time <= KNOWN_FOR_MS
        {
            return if *body == number { "repeated".to_owned() } else { "failed command_id_reused".to_owned() };
        }
        self.answered.insert(id, (number, time_ms));
        if expected.is_some_and(|expected| u64::from(expected) != self.version) {
            return format!("conflict {}", self.version);
        }
        let accepted = match (self.status, number) {
            (_, 5) => return "failed unreadable".to_owned(),
            (0, 0) => {
                (self.status, self.balance, self.limit) = (1, 0, 100);
                true
            }
            (1, 1) => {
                self.balance += 50;
                true
            }
            (1, 2) if self.balance + self.limit >= 80 => {
                self.balance -= 80;
                true
            }
            (1, 3) => true,
            (1, 4) => {
                self.status = 2;
                true
            }
            _ => false,
        };
        self.version += u64::from(accepted);
        if accepted { "accepted 1".to_owned() } else { "rejected".to_owned() }
    }
}

/// The machine with a log in memory and native rules: what a lane is, without its threads.
struct Rig {
    machine: StateMachine,
    decider: Native<Account>,
    block: BlockBuilder,
    touched: Vec<Touched>,
    log: Vec<Block>,
    lsn: Lsn,
}

impl Rig {
    fn new() -> Self {
        Self {
            machine: StateMachine::new(PARTITIONS, Offsets::Dense),
            decider: Native::default(),
            block: BlockBuilder::new(),
            touched: Vec::new(),
            log: Vec::new(),
            lsn: Lsn(64),
        }
    }

    fn load(&mut self, of: &str, id: &str) -> Index {
        if let Some(at) = self.machine.aggregates.find(of, id) {
            return at;
        }
        let (of, id) = (AggregateType::parse(of).unwrap(), AggregateId::parse(id).unwrap());
        let mut aggregate = Aggregate::unborn(of, id.clone());
        for block in &self.log {
            for (_, entry) in block.entries().filter(|(_, entry)| entry.aggregate_id == id.as_str()) {
                aggregate.replay(&entry, block.lsn()).unwrap();
            }
        }
        let unfolded = aggregate.unfolded.take();
        let at = self.machine.aggregates.insert(aggregate);
        self.decider.load(at, &[]).unwrap();
        if let Some(events) = unfolded {
            self.decider.fold(at, &events).unwrap();
        }
        at
    }

    fn answer(&mut self, mut command: Command) -> String {
        let at = self.load("account", command.aggregate_id.as_str());
        let undecided = self.machine.answer_undecided(at, digest(), &mut command, &mut self.block);
        let applied = undecided.unwrap_or_else(|| {
            self.machine.decide(at, &mut self.decider, digest(), &command, &mut self.block).unwrap()
        });
        self.touched.push(applied.touched);
        word(&self.block.entry(applied.offset).unwrap().answer)
    }

    fn commit(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let number = self.machine.next_block();
        let block = std::mem::take(&mut self.block).seal(KIND_ENTRIES, 0, 1, self.lsn, self.lsn, 0);
        self.machine.settle(number, self.lsn, &std::mem::take(&mut self.touched), &mut Vec::new());
        self.lsn = block.end();
        self.log.push(block);
    }

    fn lose(&mut self) {
        self.block = BlockBuilder::new();
        let mut indexes: Vec<Index> = std::mem::take(&mut self.touched).iter().map(|touch| touch.at).collect();
        indexes.dedup();
        for (at, _) in self.machine.drop_staged(indexes) {
            self.decider.release(at);
        }
    }

    fn restart(&mut self) {
        self.lose();
        let settled: Vec<Numbers> = (0..PARTITIONS).map(|partition| self.machine.settled(partition)).collect();
        self.machine = StateMachine::new(PARTITIONS, Offsets::Dense);
        self.decider = Native::default();
        for block in self.log.clone() {
            for (_, entry) in block.entries() {
                let at = self.machine.aggregates.find(entry.aggregate_type, entry.aggregate_id).unwrap_or_else(|| {
                    let of = AggregateType::parse(entry.aggregate_type).unwrap();
                    let id = AggregateId::parse(entry.aggregate_id).unwrap();
                    let at = self.machine.aggregates.insert(Aggregate::unborn(of, id));
                    self.decider.load(at, &[]).unwrap();
                    at
                });
                self.machine.replay(at, &entry, block.lsn()).unwrap();
                if let Some(events) = self.machine.aggregates.get_mut(at).unfolded.take() {
                    self.decider.fold(at, &events).unwrap();
                }
            }
        }
        let after: Vec<Numbers> = (0..PARTITIONS).map(|partition| self.machine.settled(partition)).collect();
        assert_eq!(after, settled, "numbers folded from the log");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// P4, P5, P6: whatever is committed, lost or restarted in between, every answer is the model's.
    #[test]
    fn answers_are_the_models(steps in steps()) {
        let mut rig = Rig::new();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        let mut committed = model.clone();
        // The clock may go back; log time per partition never does.
        let mut now = 1_000_000;
        let mut log_time: BTreeMap<u32, i64> = BTreeMap::new();
        let mut committed_time = log_time.clone();
        for step in steps {
            match step {
                Step::Command { aggregate, id, body, expected, later_ms } => {
                    now += later_ms - 10;
                    let command = command(aggregate, id, body, expected, now);
                    let time = log_time.entry(command.partition).or_default();
                    *time = now.max(*time);
                    let wanted = model.entry(aggregate).or_default().answer(id, body, expected, *time);
                    prop_assert_eq!(rig.answer(command), wanted);
                }
                Step::Commit => {
                    rig.commit();
                    committed.clone_from(&model);
                    committed_time.clone_from(&log_time);
                }
                Step::Lose | Step::Restart => {
                    if matches!(step, Step::Lose) { rig.lose() } else { rig.restart() }
                    model.clone_from(&committed);
                    log_time.clone_from(&committed_time);
                }
            }
        }
        rig.commit();
        let mut next: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        for block in &rig.log {
            for (_, entry) in block.entries() {
                let (sequence, offset) = next.entry(entry.partition).or_default();
                prop_assert_eq!((entry.head.sequence, entry.head.command_offset), (*sequence, *offset));
                *sequence += entry.records();
                *offset += 1;
                let version = versions.entry(entry.aggregate_id.to_owned()).or_default();
                prop_assert_eq!(entry.version_before(), *version);
                *version = entry.head.version;
            }
        }
        for (number, account) in &model {
            let version = versions.get(&format!("acc-{number}")).copied().unwrap_or(0);
            prop_assert_eq!(account.version, version);
        }
    }
}

#[test]
fn ids_are_known_for_the_newest_1024_commands_and_one_day() {
    let mut rig = Rig::new();
    assert_eq!(rig.answer(command(0, 0, 0, None, 0)), "accepted 1");
    for id in 1..=1023 {
        assert_eq!(rig.answer(command(0, id, 1, None, 0)), "accepted 1");
    }
    assert_eq!(rig.answer(command(0, 0, 0, None, 0)), "repeated");
    assert_eq!(rig.answer(command(0, 0, 1, None, 0)), "failed command_id_reused");
    rig.commit();
    assert_eq!(rig.answer(command(0, 1024, 1, None, 0)), "accepted 1");
    assert_eq!(rig.answer(command(0, 0, 0, None, 0)), "rejected", "forgotten by count: decided again");
    assert_eq!(rig.answer(command(0, 1000, 1, None, KNOWN_FOR_MS)), "repeated");
    assert_eq!(rig.answer(command(0, 1000, 1, None, KNOWN_FOR_MS + 1)), "accepted 1", "forgotten by time");
    rig.restart();
    assert_eq!(rig.machine.aggregates.len(), 1);
}

#[test]
fn a_log_with_a_hole_is_a_contradiction() {
    let mut rig = Rig::new();
    for id in 0..3 {
        rig.answer(command(0, id, u8::from(id > 0), None, 0));
        rig.commit();
    }
    let blocks = rig.log.clone();
    for missing in 0..2 {
        let mut machine = StateMachine::new(PARTITIONS, Offsets::Dense);
        let at = machine
            .aggregates
            .insert(Aggregate::unborn(AggregateType::parse("account").unwrap(), AggregateId::parse("acc-0").unwrap()));
        let kept = blocks.iter().enumerate().filter(|(i, _)| *i != missing);
        let folded = kept.map(|(_, block)| machine.replay(at, &block.entries().next().unwrap().1, block.lsn()));
        let error = folded.collect::<Result<Vec<_>, _>>().unwrap_err();
        assert!(error.to_string().contains("contradicts itself"), "{error}");
    }
}
