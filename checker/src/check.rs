//! The check: one pass over what clients saw, one over the log, one over the answers. Linear in all three, except for
//! sorting the few acknowledgements that reads are compared with.

mod answers;
mod asked;
mod decided;
pub(crate) mod modules;
mod rules;
pub(crate) mod show;

use std::time::Instant;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use crate::bank::Account;
use crate::canonical::Tagged;
use crate::history::Ending;
use crate::history::read::{History, Place};
use crate::log::{Log, Piece};
use crate::report::{Kind, Report};
use modules::Modules;

/// What the check has to know beside log and history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Number of partitions.
    pub partitions: u32,
    /// Violations shown in full; all are counted.
    pub shown_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { partitions: 16, shown_max: 50 }
    }
}

/// Judges a log by what clients saw of it.
///
/// # Errors
/// If log or history cannot be read; what is wrong *in* them is in the report.
#[allow(clippy::disallowed_methods, reason = "only to tell people how long the check took")]
pub fn judge(log: &Log, history: &History, options: Options) -> anyhow::Result<Report> {
    let start = Instant::now();
    let mut judge = Judge::new(options, Modules::new(&history.nemesis()?));
    judge.hear(history)?;
    log.read(&mut |piece| match piece {
        Piece::Block(block) => judge.block(&block),
        Piece::Damage { lsn, what } => judge.found(Kind::LogDamaged, format!("at {lsn}: {what}"), Cause::default()),
        Piece::TornTail { bytes, .. } => judge.report.torn_tail_bytes = bytes,
    })?;
    let mut report = judge.finish(log, history);
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// "None" as an index.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One answered command, whichever log it was read from.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    /// Where it is, in numbers of its log: enough to show it again.
    pub at: (u64, u32),
    /// The numbered sequence it is in: a partition, on Kafka of one type.
    pub stream: u32,
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub command_id: &'a str,
    /// The command as MessagePack; nothing if it could not be read.
    pub body: &'a [u8],
    /// Hash of the command.
    pub body_hash: u64,
    pub expected: Option<u64>,
    /// The aggregate's version after it.
    pub version: u64,
    pub module: [u8; 32],
    /// Each as MessagePack.
    pub events: Vec<&'a [u8]>,
    pub said: Said<'a>,
    /// What the log itself said of the command's id before, if its reader followed that.
    pub known: Option<Known>,
    /// Somebody may have sent it who wrote no history.
    pub strange: bool,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Accepted,
    Rejected(Tagged),
    Conflict,
    Failed { reason: &'a str, message: &'a str },
    Repeated(Pointer),
}

impl Said<'_> {
    /// Whether it refuses an id that stands for another command.
    pub fn reused(&self) -> bool {
        matches!(self, Self::Failed { reason: "command_id_reused", .. })
    }
}

/// How a repeated answer tells which one it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// By the address of its block.
    Block(u64),
    /// By showing it again; the reader of the log compared them.
    Shown,
}

/// What is known of a command's id when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, or nothing any more.
    New,
    /// The same command was decided there.
    Same(u32),
    /// Another command of this id was decided there.
    Other(u32),
}

/// One attempt of a client.
#[derive(Debug)]
struct Attempt {
    asked: u32,
    place: Place,
    seq: u64,
    stream: u32,
    done: u64,
    body: u64,
    ending: Ending,
    replayed: bool,
    answer: Content,
}

/// An answer in a form that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Content {
    pub version: u64,
    /// Hash of the events, the rejection, the versions in conflict or the failure.
    pub inside: u64,
    pub module: u16,
}

/// A command as clients asked for it.
#[derive(Debug)]
struct Asked {
    first_attempt: u32,
    attempts: u32,
    body: u64,
    expected: Option<u64>,
    /// Attempts differ in body or expected version.
    mixed: bool,
    invoke_first: u64,
    done_first: u64,
    decision: u32,
    /// Decisions about it that are not repeats and not refusals of a reused id.
    effects: u16,
    first_answers: u16,
    /// Decided again when its id was not known any more, so that its answers cannot be compared with one decision.
    forgotten: bool,
    /// Repeats and refusals of the reused id: how many clients were told, less how many the log holds.
    repeats_owed: i32,
}

/// An entry of the log.
#[derive(Debug)]
pub(crate) struct Decision {
    at: (u64, u32),
    asked: u32,
    aggregate: u32,
    events: u32,
    body: u64,
    pub ending: Ending,
    pub answer: Content,
}

/// An aggregate, as the log has made it so far.
#[derive(Debug, Default)]
struct Aggregate {
    version: u64,
    account: Option<Account>,
    /// The latest beginning of a command decided so far, and which decision that was.
    latest_invoke: u64,
    latest: u32,
    /// The last attempt that was alone for its command.
    stream: (u16, u32),
    seq: u64,
    /// Decisions already found wrong here stop being compared with the rules, so that one fault is one violation.
    spoiled: bool,
}

/// A partition, as the log has filled it so far.
#[derive(Debug, Default)]
struct Partition {
    sequence: u64,
    command_offset: u64,
    term: u64,
    /// Per type, the place in its succession of modules.
    succession: HashMap<u16, usize>,
}

/// A read of a state.
#[derive(Debug)]
struct Read {
    aggregate: u32,
    place: Place,
    version: u64,
    state: u64,
    invoke: u64,
    past: bool,
}

/// What a violation is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause {
    attempt: u32,
    decision: u32,
    place: Option<Place>,
}

impl Cause {
    /// The decision of this number.
    pub fn decision(decision: usize) -> Self {
        Self { decision: decision as u32, ..Self::default() }
    }
}

impl Default for Cause {
    fn default() -> Self {
        Self { attempt: NOWHERE, decision: NOWHERE, place: None }
    }
}

#[derive(Debug)]
struct Found {
    kind: Kind,
    message: String,
    cause: Cause,
}

pub(crate) struct Judge {
    options: Options,
    pub report: Report,
    found: Vec<Found>,
    pub modules: Modules,
    attempts: Vec<Attempt>,
    asked: Vec<Asked>,
    asked_index: HashMap<u128, u32>,
    /// Further bodies that were sent under one command id.
    bodies: HashMap<(u32, u64), ()>,
    pub decisions: Vec<Decision>,
    aggregates: Vec<Aggregate>,
    aggregate_index: HashMap<u128, u32>,
    partitions: Vec<Partition>,
    /// Per lane: address of its latest owner's record and the number of lanes then.
    owners: HashMap<u32, (u64, u32)>,
    /// Per lane: its latest block of entries, and the one before.
    latest_blocks: HashMap<u32, [u64; 2]>,
    reads: Vec<Read>,
    /// Reads by aggregate, those of the lowest version last.
    reads_waiting: HashMap<u32, Vec<u32>>,
    outcomes: [u64; 5],
    endings: [u64; 6],
    cents_by_rules: Option<i128>,
}

impl Judge {
    pub fn new(options: Options, modules: Modules) -> Self {
        Self {
            options,
            report: Report::default(),
            found: Vec::new(),
            modules,
            attempts: Vec::new(),
            asked: Vec::new(),
            asked_index: HashMap::new(),
            bodies: HashMap::new(),
            decisions: Vec::new(),
            aggregates: Vec::new(),
            aggregate_index: HashMap::new(),
            partitions: (0..options.partitions).map(|_| Partition::default()).collect(),
            owners: HashMap::new(),
            latest_blocks: HashMap::new(),
            reads: Vec::new(),
            reads_waiting: HashMap::new(),
            outcomes: [0; 5],
            endings: [0; 6],
            cents_by_rules: Some(0),
        }
    }

    pub fn found(&mut self, kind: Kind, message: String, cause: Cause) {
        let count = self.report.kinds.entry(kind.word().to_owned()).or_default();
        *count += 1;
        match kind {
            Kind::Lost => self.report.lost += 1,
            Kind::Doubled => self.report.doubled += 1,
            Kind::RenamedAfterClose => self.report.rename_after_close_accepted += 1,
            _ => {}
        }
        // Each kind is shown before any is shown often.
        if self.found.len() < self.options.shown_max || *count == 1 {
            self.found.push(Found { kind, message, cause });
        }
    }

    /// First pass: what clients saw.
    ///
    /// # Errors
    /// If a history cannot be read.
    pub fn hear(&mut self, history: &History) -> anyhow::Result<()> {
        history.read(&mut |place, line| self.ask(place, line))?;
        self.prepare_reads();
        Ok(())
    }

    fn aggregate(&mut self, aggregate_type: &str, id: &str) -> u32 {
        let key = key([aggregate_type, id, ""]);
        let next = self.aggregates.len() as u32;
        let index = *self.aggregate_index.entry(key).or_insert(next);
        if index == next {
            let account = (aggregate_type == crate::bank::TYPE).then(Account::default);
            self.aggregates.push(Aggregate { account, latest: NOWHERE, ..Aggregate::default() });
        }
        index
    }
}

/// A name of up to three parts as a number wide enough that no two names share one by chance.
pub(crate) fn key(parts: [&str; 3]) -> u128 {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.digest128()
}

/// Endings in the order of their numbers.
const ENDINGS: [&str; 6] = ["accepted", "rejected", "conflict", "failed", "unknown", "refused"];

/// The ending's word.
fn word(ending: Ending) -> &'static str {
    ENDINGS[ending as usize]
}
