//! The pure heart: (aggregates, decider, command) → answer. Known id → version check → decide and evolve → numbers.
//!
//! Invariant: nothing here knows tokio, Kafka, Wasm, a file, a clock or randomness. What it knows of aggregates and
//! partitions is folded from the log and from nothing else, so two machines that read the same log agree in everything.
//!
//! An answer is *staged* when it is in a block that is not committed yet, and *settled* after. State in a decider's slots
//! and the numbers here run ahead by what is staged; [`StateMachine::drop_staged`] takes all of that back.

pub mod aggregates;
pub mod recent;
#[cfg(test)]
mod tests;

use ordain_sdk::contract::Context;

use crate::decider::{Decider, Fault, Verdict};
use crate::log::{Answer, BlockBuilder, Entry, EntryHead, Lsn};
use crate::message::{Command, Digest, FailureReason};

use aggregates::{Aggregate, Aggregates, Index};
use recent::{At, Known};

const ID_REUSED: &str =
    "this command id was used for another command of this aggregate: make a new id for a new command";

/// Numbers of one partition, as of the last settled and the last staged answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number of the next record.
    pub next_sequence: u64,
    /// Offset of the next command; where commands have offsets of their own, the smallest that it can have.
    pub next_command_offset: u64,
    /// Largest time of a command so far, in milliseconds since 1970-01-01 UTC: the partition's log time.
    pub log_time_ms: i64,
}

/// What the offsets of answered commands are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// The place of the answer: 0, 1, 2 and so on.
    Dense,
    /// Given by a log of commands, in which some offsets hold no command: each is larger than the one before.
    Rising,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    staged: Numbers,
    settled: Numbers,
    /// Most bytes of events, or of a rejection, that one answer may have.
    result_bytes_max: usize,
}

const UNBOUND: Partition = {
    let numbers = Numbers { next_sequence: 0, next_command_offset: 0, log_time_ms: 0 };
    Partition { staged: numbers, settled: numbers, result_bytes_max: usize::MAX }
};

fn too_large(bytes: usize, bytes_max: usize) -> Fault {
    let message = format!(
        "the answer has {bytes} bytes, and the log takes {bytes_max}: write smaller events, or let the log take more"
    );
    Fault { reason: FailureReason::TooLarge, message, instance_lost: false }
}

/// Why rules cannot read a command; with the shape that it must have, if that is what it lacks. What they say of it speaks
/// of MessagePack.
fn in_shape(why: String, body: &[u8]) -> String {
    // A map of one, or a text.
    match body.first() {
        Some(0x81 | 0xa0..=0xbf | 0xd9..=0xdb) => why,
        _ => format!(
            "a command is one name with its fields, as {{\"Deposit\":{{\"amount\":500}}}}; this one is not ({why})"
        ),
    }
}

/// Where the answer to a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Byte offset of the answer's entry in the block.
    pub offset: u32,
    /// The command id was known: the answer to give is the first one to it.
    pub repeats: bool,
    /// What to settle when the block is committed.
    pub touched: Touched,
}

/// One staged answer, as [`StateMachine::settle`] needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The aggregate.
    pub at: Index,
    /// Where the answer is: what names no aggregate is answered where it came from, whatever its own name would say.
    pub partition: u32,
    /// Events of the answer.
    pub events: u32,
    /// Time of the command.
    pub time_ms: i64,
    /// Its offset.
    pub command_offset: u64,
}

/// The log contradicts itself: what an entry says does not follow from the entries before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log contradicts itself in the block at {lsn}: command {command_id} of {aggregate} {what}; nothing was changed. Restore the log from a backup"
)]
pub struct Contradiction {
    /// The block.
    pub lsn: Lsn,
    /// The command whose entry it is.
    pub command_id: String,
    /// `type/id` of the aggregate.
    pub aggregate: String,
    /// What does not fit.
    pub what: String,
}

/// Aggregates and partitions of one lane, and the rules by which commands change them.
#[derive(Debug)]
pub struct StateMachine {
    /// The aggregates in memory. The caller loads and evicts them.
    pub aggregates: Aggregates,
    partitions: Vec<Partition>,
    offsets: Offsets,
    /// Number of the block being staged; settled blocks have smaller ones.
    block: u64,
    scratch: Vec<u8>,
}

impl StateMachine {
    /// A machine for `partitions` partitions in which nothing happened yet.
    pub fn new(partitions: u32, offsets: Offsets) -> Self {
        Self {
            offsets,
            aggregates: Aggregates::default(),
            partitions: vec![UNBOUND; partitions as usize],
            block: 0,
            scratch: Vec::new(),
        }
    }

    /// Numbers of a partition as of the last settled answer.
    pub fn settled(&self, partition: u32) -> Numbers {
        self.partitions[partition as usize].settled
    }

    /// Sets the numbers of a partition from a checkpoint.
    pub fn resume(&mut self, partition: u32, numbers: Numbers) {
        let partition = &mut self.partitions[partition as usize];
        (partition.staged, partition.settled) = (numbers, numbers);
    }

    /// Bounds the events, or the rejection, of one answer in a partition: the log takes no more.
    pub fn bound(&mut self, partition: u32, result_bytes_max: usize) {
        self.partitions[partition as usize].result_bytes_max = result_bytes_max;
    }

    /// Number of the block being staged.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// The staged block was handed over for commit: what follows belongs to the next one.
    pub fn next_block(&mut self) -> u64 {
        self.block += 1;
        self.block - 1
    }

    /// Answers a command that needs no decision: its id is known, or it expects another version. `None` if it does.
    pub fn answer_undecided(
        &mut self,
        at: Index,
        module: Digest,
        command: &mut Command,
        into: &mut BlockBuilder,
    ) -> Option<Applied> {
        let aggregate = self.aggregates.get(at);
        let numbers = &self.partitions[command.partition as usize].staged;
        command.time_ms = command.time_ms.max(numbers.log_time_ms);
        let actual = aggregate.version;
        match aggregate.recent.look_up(command) {
            Known::Same(original) => {
                let lsn = match original {
                    At::Settled(lsn) => lsn,
                    At::Staged(_) => Lsn::UNKNOWN,
                };
                let applied = self.record(at, module, command, &Answer::Repeated { original: lsn }, into);
                Some(Applied { repeats: true, ..applied })
            }
            Known::OtherBody => Some(self.fail(at, module, command, FailureReason::CommandIdReused, ID_REUSED, into)),
            Known::No if command.defect.is_some() => {
                let defect = command.defect.take()?;
                Some(self.fail(at, module, command, defect.reason, &defect.message, into))
            }
            Known::No if command.expected_version.is_some_and(|expected| expected != actual) => {
                Some(self.answer(at, module, command, &Answer::Conflict { actual }, into))
            }
            Known::No => None,
        }
    }

    /// Decides one command of a loaded aggregate whose state is resident in `decider` under its index as slot, after
    /// [`Self::answer_undecided`] had no answer.
    ///
    /// # Errors
    /// The decider's [`Fault`], or one that says that the log has no room for the answer: nothing was answered and nothing
    /// changed, except that the slot is unusable.
    pub fn decide(
        &mut self,
        at: Index,
        decider: &mut dyn Decider,
        module: Digest,
        command: &Command,
        into: &mut BlockBuilder,
    ) -> Result<Applied, Fault> {
        let context = Context {
            time_ms: command.time_ms,
            version: self.aggregates.get(at).version,
            aggregate_id: command.aggregate_id.as_str(),
            command_id: command.command_id.as_str(),
            correlation_id: &command.correlation_id,
            metadata: &command.metadata,
        };
        let mut out = std::mem::take(&mut self.scratch);
        let bytes_max = self.partitions[command.partition as usize].result_bytes_max;
        let verdict = decider.decide(at, &context, &command.body, &mut out);
        let verdict =
            verdict.and_then(
                |verdict| if out.len() <= bytes_max { Ok(verdict) } else { Err(too_large(out.len(), bytes_max)) },
            );
        let applied = verdict.map(|verdict| match verdict {
            Verdict::Accepted { count } => {
                self.answer(at, module, command, &Answer::Accepted { count, events: &out }, into)
            }
            Verdict::Rejected => self.answer(at, module, command, &Answer::Rejected(&out), into),
            Verdict::Unreadable(why) => {
                self.fail(at, module, command, FailureReason::Unreadable, &in_shape(why, &command.body), into)
            }
        });
        self.scratch = out;
        applied
    }

    /// Answers a command that cannot be decided with a `failed` outcome.
    pub fn fail(
        &mut self,
        at: Index,
        module: Digest,
        command: &Command,
        reason: FailureReason,
        message: &str,
        into: &mut BlockBuilder,
    ) -> Applied {
        self.answer(at, module, command, &Answer::Failed { reason, message }, into)
    }

    fn answer(
        &mut self,
        at: Index,
        module: Digest,
        command: &Command,
        answer: &Answer<'_>,
        into: &mut BlockBuilder,
    ) -> Applied {
        let applied = self.record(at, module, command, answer, into);
        // A refused reuse of an id must not displace what the id was first used for.
        if !matches!(answer, Answer::Failed { reason: FailureReason::CommandIdReused, .. }) {
            let block = self.block;
            self.aggregates.get_mut(at).recent.remember(
                command.command_id.as_str(),
                command.body_hash,
                command.time_ms,
                At::Staged(block),
            );
        }
        applied
    }

    /// Writes the entry and moves the numbers on.
    fn record(
        &mut self,
        at: Index,
        module: Digest,
        command: &Command,
        answer: &Answer<'_>,
        into: &mut BlockBuilder,
    ) -> Applied {
        let aggregate = self.aggregates.get_mut(at);
        let numbers = &mut self.partitions[command.partition as usize].staged;
        let events = if let Answer::Accepted { count, .. } = answer { *count } else { 0 };
        aggregate.version += u64::from(events);
        aggregate.staged_in = self.block + 1;
        let command_offset = command.offset.unwrap_or(numbers.next_command_offset);
        let head = EntryHead { sequence: numbers.next_sequence, command_offset, version: aggregate.version, module };
        let offset = into.push(&head, command, answer);
        numbers.next_sequence += u64::from(events.max(1));
        numbers.next_command_offset = command_offset + 1;
        numbers.log_time_ms = numbers.log_time_ms.max(command.time_ms);
        let (partition, time_ms) = (command.partition, command.time_ms);
        let touched = Touched { at, partition, events, time_ms, command_offset };
        Applied { offset, repeats: false, touched }
    }

    /// A block of this machine was committed at `lsn`: what it answered is settled. Adds the aggregates that were clean
    /// before and are dirty now to `dirtied`.
    pub fn settle(&mut self, block: u64, lsn: Lsn, touched: &[Touched], dirtied: &mut Vec<Index>) {
        for touch in touched {
            let aggregate = self.aggregates.get_mut(touch.at);
            aggregate.settled_version += u64::from(touch.events);
            aggregate.last = lsn;
            aggregate.recent.settle(block, lsn);
            if aggregate.staged_in <= block + 1 {
                aggregate.staged_in = 0;
            }
            if !aggregate.dirty {
                aggregate.dirty = true;
                dirtied.push(touch.at);
            }
            let settled = &mut self.partitions[touch.partition as usize].settled;
            settled.next_sequence += u64::from(touch.events.max(1));
            settled.next_command_offset = touch.command_offset + 1;
            settled.log_time_ms = settled.log_time_ms.max(touch.time_ms);
        }
    }

    /// Takes back everything staged: numbers go back to the settled ones, and the aggregates that were touched leave
    /// memory, to be loaded from store and log. Returns them; their slots are the caller's to release.
    pub fn drop_staged(&mut self, touched: impl IntoIterator<Item = Index>) -> Vec<(Index, Aggregate)> {
        for partition in &mut self.partitions {
            partition.staged = partition.settled;
        }
        touched.into_iter().filter_map(|at| Some((at, self.aggregates.remove(at)?))).collect()
    }

    /// Folds an entry of the log into a loaded aggregate and its partition: versions, numbers, known ids. Its events are
    /// kept to be folded into the state when that is needed.
    ///
    /// # Errors
    /// [`Contradiction`] if sequence, command offset or version do not follow from what came before.
    pub fn replay(&mut self, at: Index, entry: &Entry<'_>, lsn: Lsn) -> Result<(), Contradiction> {
        self.replay_numbers(entry, lsn)?;
        self.aggregates.get_mut(at).replay(entry, lsn)
    }

    fn replay_numbers(&mut self, entry: &Entry<'_>, lsn: Lsn) -> Result<(), Contradiction> {
        let partition = &mut self.partitions[entry.partition as usize];
        let numbers = &mut partition.staged;
        let offset_fits = match self.offsets {
            Offsets::Dense => entry.head.command_offset == numbers.next_command_offset,
            Offsets::Rising => entry.head.command_offset >= numbers.next_command_offset,
        };
        if entry.head.sequence != numbers.next_sequence || !offset_fits {
            let what = format!(
                "has sequence {} and offset {} in stream {}, but {} and {} come next",
                entry.head.sequence,
                entry.head.command_offset,
                entry.partition,
                numbers.next_sequence,
                numbers.next_command_offset
            );
            return Err(contradiction(entry, lsn, what));
        }
        numbers.next_sequence += entry.records();
        numbers.next_command_offset = entry.head.command_offset + 1;
        numbers.log_time_ms = numbers.log_time_ms.max(entry.time_ms);
        partition.settled = partition.staged;
        Ok(())
    }
}

/// Whether an answer makes its command id known. Repeats and refused reuses leave the first answer in its place.
pub fn remembers(answer: &Answer<'_>) -> bool {
    !matches!(answer, Answer::Repeated { .. } | Answer::Failed { reason: FailureReason::CommandIdReused, .. })
}

fn contradiction(entry: &Entry<'_>, lsn: Lsn, what: String) -> Contradiction {
    let aggregate = format!("{}/{}", entry.aggregate_type, entry.aggregate_id);
    Contradiction { lsn, command_id: entry.command_id.to_owned(), aggregate, what }
}

impl Aggregate {
    /// Whether something of it is staged and not settled.
    pub fn is_staged(&self) -> bool {
        self.staged_in != 0
    }

    /// Folds an entry of the log into its version and known ids, and keeps the events. What it was loaded from already
    /// has the entries up to `loaded_to`.
    ///
    /// # Errors
    /// [`Contradiction`] if the entry does not start at this version.
    pub fn replay(&mut self, entry: &Entry<'_>, lsn: Lsn) -> Result<(), Contradiction> {
        if lsn <= self.loaded_to && self.loaded_to != Lsn(0) {
            return Ok(());
        }
        if self.version != entry.version_before() {
            let what =
                format!("starts at version {}, but the aggregate is at {}", entry.version_before(), self.version);
            return Err(contradiction(entry, lsn, what));
        }
        if let Answer::Accepted { events, .. } = entry.answer
            && !events.is_empty()
        {
            if self.unfolded.is_none() {
                self.unfolded_from = self.version;
            }
            self.unfolded.get_or_insert_default().extend_from_slice(events);
        }
        self.version = entry.head.version;
        self.settled_version = entry.head.version;
        self.last = lsn;
        if remembers(&entry.answer) {
            self.recent.remember(entry.command_id, entry.body_hash, entry.time_ms, At::Settled(lsn));
        }
        Ok(())
    }
}
