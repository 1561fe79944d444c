//! The log on Kafka, read and judged without the host.
//!
//! Per aggregate type there are two topics, `{prefix}{type}.commands` and `{prefix}{type}.events`, with equally many
//! partitions; `{prefix}lanes` has one partition per lane. What is judged is a quiet cluster: everybody stopped, every
//! transaction ended.
//!
//! Reading order: [`record`] is a record as it lies there, `command` and `answer` are what a command and its answer say,
//! `walk` follows one partition of commands and events side by side, `owners` knows who had a lane, `known` which ids
//! were known. What was decided goes on to [`crate::check`], where the log on disk goes too. Where records come from is a
//! [`Source`]: [`reader`] is a broker, a test has them in memory.

mod answer;
mod command;
mod known;
mod owners;
pub mod reader;
pub mod record;
mod text;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

pub use reader::{Broker, Cluster};
pub use record::Record;

use crate::check::modules::Modules;
use crate::check::show::Again;
use crate::check::{Cause, Judge};
use crate::history::read::History;
use crate::report::{Kind, Report};
use owners::Owners;
use walk::Walk;

/// A topic of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'a> {
    /// What was asked of aggregates of a type.
    Commands(&'a str),
    /// What was answered.
    Events(&'a str),
    /// Who owns lanes.
    Lanes,
}

impl fmt::Display for Topic<'_> {
    /// Its name without the prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands(of) => write!(f, "{of}.commands"),
            Self::Events(of) => write!(f, "{of}.events"),
            Self::Lanes => f.write_str("lanes"),
        }
    }
}

/// The topics that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The prefix of their names.
    pub prefix: String,
    /// The types, by name.
    pub types: Vec<TypeTopics>,
    /// Partitions of the topic of lanes; 0 if there is none.
    pub lanes: u32,
}

/// The topics of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeTopics {
    /// The type.
    pub name: String,
    /// Partitions of its commands; 0 if there is no such topic.
    pub commands: u32,
    /// Partitions of its events; 0 if there is no such topic.
    pub events: u32,
}

/// A partition, from its beginning to its end, as a `read_committed` reader sees it.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The records, by offset.
    pub records: Vec<Record>,
    /// The first offset that is kept.
    pub start: u64,
    /// The last stable offset: behind it is a transaction that has not ended.
    pub stable: u64,
    /// The high watermark.
    pub high: u64,
}

/// Where records come from.
pub trait Source {
    /// The topics that there are.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn layout(&mut self) -> anyhow::Result<Layout>;

    /// A whole partition.
    ///
    /// # Errors
    /// If it cannot be read to its end.
    fn part(&mut self, topic: Topic<'_>, partition: u32) -> anyhow::Result<Part>;

    /// One record, to be shown again; `None` if it cannot be had.
    fn again(&self, topic: Topic<'_>, partition: u32, offset: u64) -> Option<Record>;
}

/// What the check has to know beside log and histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Violations shown in full; all are counted.
    pub shown_max: usize,
    /// Commands at the end of a partition may be unanswered still: their owner was stopped before it came to them.
    pub pending: bool,
    /// Commands may have come from clients that wrote no history. Without any history that is taken for granted.
    pub strangers: bool,
    /// Rules of modules that no history names: digest (`sha256:…`) and the name of its rules in [`crate::bank::Rules`].
    pub rules: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { shown_max: 50, pending: false, strangers: false, rules: Vec::new() }
    }
}

/// Judges a log on Kafka by itself and by what clients saw of it.
///
/// # Errors
/// If records or histories cannot be read; what is wrong *in* them is in the report.
#[allow(clippy::disallowed_methods, reason = "only to tell people how long the check took")]
pub fn judge(source: &mut dyn Source, history: &History, options: &Options) -> anyhow::Result<Report> {
    let start = Instant::now();
    let layout = source.layout()?;
    let partitions = layout.types.iter().map(|of| of.events.max(of.commands)).max().unwrap_or(0);
    let mut modules = Modules::new(&history.nemesis()?);
    for (digest, rules) in &options.rules {
        modules.declare(digest, rules)?;
    }
    let of_check = crate::Options {
        // Every type has its own numbered sequence in each partition.
        partitions: partitions * layout.types.len() as u32,
        shown_max: options.shown_max,
    };
    let mut judge = Judge::new(of_check, modules);
    judge.hear(history)?;
    let strange = options.strangers || history.is_empty();
    fits(&layout, partitions, &mut judge);
    let owners = Owners::read(source, &layout, partitions, &mut judge)?;
    for (index, of) in layout.types.iter().enumerate() {
        for partition in 0..of.events.max(of.commands) {
            let commands = whole(source, Topic::Commands(&of.name), partition, of.commands, &mut judge)?;
            let events = whole(source, Topic::Events(&of.name), partition, of.events, &mut judge)?;
            let place = walk::Place {
                commands_topic: &format!("{}{}", layout.prefix, Topic::Commands(&of.name)),
                aggregate_type: &of.name,
                partition,
                partitions,
                stream: index as u32 * partitions + partition,
                pending: options.pending,
                strange,
            };
            Walk::new(place, &owners, &mut judge).run(&commands.records, &events.records);
        }
    }
    let shown = Shown { source, layout: &layout, partitions };
    let mut report = judge.finish(&shown, history);
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// The topics belong together.
fn fits(layout: &Layout, partitions: u32, judge: &mut Judge) {
    for of in &layout.types {
        if of.commands != partitions || of.events != partitions {
            let message = format!(
                "type {} has {} partitions of commands and {} of events, others have {partitions}",
                of.name, of.commands, of.events
            );
            judge.found(Kind::LayoutDiffers, message, Cause::default());
        }
    }
    if layout.lanes == 0 && !layout.types.is_empty() {
        let message = format!("there is no topic {}lanes", layout.prefix);
        judge.found(Kind::LayoutDiffers, message, Cause::default());
    }
}

/// Reads a partition and looks at its ends. A partition that is not there is empty.
fn whole(
    source: &mut dyn Source,
    topic: Topic<'_>,
    partition: u32,
    partitions: u32,
    judge: &mut Judge,
) -> anyhow::Result<Part> {
    if partition >= partitions {
        return Ok(Part::default());
    }
    let part = source.part(topic, partition)?;
    judge.report.records += part.records.len() as u64;
    if part.stable < part.high {
        let message = format!(
            "a transaction is open in {topic} partition {partition}: it can be read up to {}, and goes on to {}",
            part.stable, part.high
        );
        judge.found(Kind::OpenTransaction, message, Cause::default());
    }
    // The topic of lanes is compacted: its old records may be gone. The others are kept for ever.
    if part.start > 0 && topic != Topic::Lanes {
        let message = format!("{topic} partition {partition} begins at offset {}: what was before is gone", part.start);
        judge.found(Kind::LogTruncated, message, Cause::default());
    }
    Ok(part)
}

/// Shows answers again by reading them anew.
struct Shown<'a> {
    source: &'a dyn Source,
    layout: &'a Layout,
    partitions: u32,
}

impl Again for Shown<'_> {
    fn again(&self, (offset, stream): (u64, u32)) -> Option<String> {
        let of = &self.layout.types.get(stream.checked_div(self.partitions)? as usize)?.name;
        let partition = stream % self.partitions;
        let record = self.source.again(Topic::Events(of), partition, offset)?;
        let asked = answer::command_offset(&record);
        let command = asked.and_then(|offset| self.source.again(Topic::Commands(of), partition, offset));
        let command = command.map_or("a command that is not there".to_owned(), |command| command.to_string());
        Some(format!("{of}-{partition}@{offset} {record} <- @{} {command}", asked.unwrap_or_default()))
    }
}

/// Names of the header fields and kinds of records that hosts write.
mod names {
    pub const OUTCOME: &str = "ordain.outcome";
    pub const OWNER: &str = "ordain.owner";
    /// What the ids of aggregates begin with that stand for commands without a place.
    pub const UNROUTED: &str = "ordain.unrouted.";
}

/// Numbers of partitions that a set of sizes names, for messages.
fn listed(numbers: &BTreeSet<u64>) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
