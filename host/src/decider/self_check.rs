//! A candidate decides and folds before it is taken into service: its own samples, and what really happened.
//!
//! What is compared are bytes. Two instances must agree although one of them has been used for other things before; a
//! state that went through a snapshot, and one that was folded from the recorded events, must decide the same. Whether
//! the candidate decides *differently from the active module* is not looked at: that is what a new version is for.

use ordain_sdk::contract::{Context, Frames};

use super::module::Module;
use super::refused::{Refused, Rule};
use super::text::one_line;
use super::{Decider, Fault, Form, Instance, Slot, Verdict, shape};
use crate::message::FailureReason;

#[cfg(test)]
mod tests;

/// One aggregate's history and perhaps a command that it met: material to check a candidate with.
#[derive(Debug, Clone)]
pub struct Case {
    /// The aggregate.
    pub aggregate_id: Box<str>,
    /// Its events so far, as frames.
    pub history: Vec<u8>,
    /// How many those are.
    pub version: u64,
    /// The command that came next.
    pub command: Option<CaseCommand>,
}

/// A recorded command with what its decision knew.
#[derive(Debug, Clone)]
pub struct CaseCommand {
    /// The command's time in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// Its id.
    pub command_id: Box<str>,
    /// Its correlation id; empty if none.
    pub correlation_id: Box<str>,
    /// Its metadata as a MessagePack map; empty if none.
    pub metadata: Vec<u8>,
    /// The command as MessagePack.
    pub body: Vec<u8>,
}

/// What a passed check has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Histories folded.
    pub histories: usize,
    /// Commands decided.
    pub commands: usize,
    /// What is no reason to refuse, for people: real commands on which the candidate fails.
    pub warnings: Vec<String>,
}

/// Warnings kept.
const WARNINGS_MAX: usize = 20;
/// The slot that is used beside the one a story is told in.
const SPARE_SLOT: Slot = 200;

/// Checks a candidate against its own samples and real cases; `active` is the module that decides now.
///
/// # Errors
/// [`Refused`] with the first thing that is wrong.
pub fn check(candidate: &Module, active: Option<&Module>, cases: &[Case]) -> Result<Report, Refused> {
    let stories = stories(candidate, cases);
    let mut report = Report { histories: cases.len(), ..Report::default() };
    let mut first = Teller::new(candidate)?;
    let mut told = Vec::with_capacity(stories.len());
    for (index, story) in stories.iter().enumerate() {
        let trace = first.tell(slot(index), story)?;
        story.judge(&trace, &mut report)?;
        told.push(trace);
    }
    let mut second = Teller::new(candidate)?;
    if let Some(story) = stories.first() {
        second.tell(0, story)?; // so that it has been used, also if there is nothing else to tell
    }
    for (index, (story, trace)) in stories.iter().zip(&told).enumerate().rev() {
        let again = second.tell(SPARE_SLOT - slot(index), story)?;
        agree(story, trace, &again, "a fresh instance and one that was used before")?;
    }
    let mut third = Teller::new(candidate)?;
    for (story, trace) in stories.iter().zip(&told) {
        third.resume(story, trace)?;
    }
    if let Some(active) = active.filter(|active| active.state_tag() == candidate.state_tag()) {
        same_states(active, &stories, &told)?;
    }
    Ok(report)
}

/// A slot for each story, and for far fewer than there may be.
fn slot(index: usize) -> Slot {
    (index % 100) as Slot
}

/// A state, and commands that it meets one after the other.
struct Story<'a> {
    aggregate_id: &'a str,
    history: &'a [u8],
    version: u64,
    commands: Vec<Told<'a>>,
    /// The author's own samples, and not what happened.
    samples: bool,
}

struct Told<'a> {
    time_ms: i64,
    command_id: &'a str,
    correlation_id: &'a str,
    metadata: &'a [u8],
    body: &'a [u8],
}

fn stories<'a>(candidate: &'a Module, cases: &'a [Case]) -> Vec<Story<'a>> {
    let samples = candidate.manifest().samples.iter().map(|body| Told {
        time_ms: 1_700_000_000_000,
        command_id: "sample",
        correlation_id: "",
        metadata: &[],
        body,
    });
    let samples =
        Story { aggregate_id: "sample", history: &[], version: 0, commands: samples.collect(), samples: true };
    let real = cases.iter().map(|case| Story {
        aggregate_id: &case.aggregate_id,
        history: &case.history,
        version: case.version,
        commands: case.command.iter().map(Told::from).collect(),
        samples: false,
    });
    std::iter::once(samples).chain(real).collect()
}

impl<'a> From<&'a CaseCommand> for Told<'a> {
    fn from(command: &'a CaseCommand) -> Self {
        let CaseCommand { time_ms, command_id, correlation_id, metadata, body } = command;
        Self { time_ms: *time_ms, command_id, correlation_id, metadata, body }
    }
}

/// How a story went: bytes to compare.
#[derive(Debug, Clone, PartialEq)]
struct Trace {
    before: Vec<u8>,
    steps: Vec<Step>,
    /// Compact and named; nothing if the last step is a fault.
    after: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Step {
    Accepted(Vec<u8>),
    Rejected(Vec<u8>),
    Unreadable(String),
    Fault(Fault),
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Accepted(one), Self::Accepted(other)) | (Self::Rejected(one), Self::Rejected(other)) => one == other,
            (Self::Unreadable(_), Self::Unreadable(_)) => true,
            // Its text may tell addresses and sizes, which are no part of an answer.
            (Self::Fault(one), Self::Fault(other)) => one.reason == other.reason,
            _ => false,
        }
    }
}

impl Story<'_> {
    /// What a story says about the candidate by itself.
    fn judge(&self, trace: &Trace, report: &mut Report) -> Result<(), Refused> {
        report.commands += trace.steps.len();
        for (index, step) in trace.steps.iter().enumerate() {
            let what = match step {
                Step::Accepted(_) | Step::Rejected(_) => continue,
                Step::Unreadable(why) => format!("cannot read it ({why})"),
                Step::Fault(fault) => format!("fails on it ({fault})"),
            };
            if self.samples {
                let message = format!(
                    "sample {index} of the module is no good: the module {what}; correct Decider::samples or the rule"
                );
                return Err(Refused::new(Rule::OwnWords, message));
            }
            if report.warnings.len() < WARNINGS_MAX {
                let command = self.commands.get(index).map_or("", |command| command.command_id);
                report.warnings.push(format!(
                    "the command {command} of {}, if it came again: the module {what}",
                    self.aggregate_id
                ));
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        if self.samples {
            "its own samples".to_owned()
        } else {
            format!("the recorded aggregate {:?}", self.aggregate_id)
        }
    }
}

/// An instance that is replaced when it is lost.
struct Teller<'a> {
    module: &'a Module,
    instance: Instance,
}

impl<'a> Teller<'a> {
    fn new(module: &'a Module) -> Result<Self, Refused> {
        let instance = Instance::new(module).map_err(|fault| Refused::new(Rule::Compile, fault.message))?;
        Ok(Self { module, instance })
    }

    fn heal(&mut self) -> Result<(), Refused> {
        *self = Self::new(self.module)?;
        Ok(())
    }

    /// Tells a story from the default state on.
    fn tell(&mut self, slot: Slot, story: &Story<'_>) -> Result<Trace, Refused> {
        let folded = self.instance.load(slot, &[]).and_then(|()| match story.history {
            [] => Ok(()),
            history => self.instance.fold(slot, history),
        });
        if let Err(fault) = folded {
            self.heal()?;
            return Err(self.unreadable_event(story, &fault));
        }
        let mut before = Vec::new();
        self.snapshot(slot, Form::Compact, &mut before)?;
        self.go_on(slot, story, before)
    }

    fn go_on(&mut self, slot: Slot, story: &Story<'_>, before: Vec<u8>) -> Result<Trace, Refused> {
        let mut steps = Vec::with_capacity(story.commands.len());
        let mut version = story.version;
        for command in &story.commands {
            let context = Context {
                time_ms: command.time_ms,
                version,
                aggregate_id: story.aggregate_id,
                command_id: command.command_id,
                correlation_id: command.correlation_id,
                metadata: command.metadata,
            };
            let mut out = Vec::new();
            match self.instance.decide(slot, &context, command.body, &mut out) {
                Ok(Verdict::Accepted { count }) => {
                    version += u64::from(count);
                    steps.push(Step::Accepted(out));
                }
                Ok(Verdict::Rejected) => steps.push(Step::Rejected(out)),
                Ok(Verdict::Unreadable(why)) => steps.push(Step::Unreadable(why)),
                Err(fault) => {
                    if fault.instance_lost {
                        self.heal()?;
                    }
                    steps.push(Step::Fault(fault));
                    return Ok(Trace { before, steps, after: None });
                }
            }
        }
        let (mut compact, mut named) = (Vec::new(), Vec::new());
        self.snapshot(slot, Form::Compact, &mut compact)?;
        self.snapshot(slot, Form::Named, &mut named)?;
        self.instance.release(slot);
        Ok(Trace { before, steps, after: Some((compact, named)) })
    }

    fn snapshot(&mut self, slot: Slot, form: Form, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.instance.snapshot(slot, form, out).map_err(|fault| {
            Refused::new(Rule::OwnWords, format!("the module cannot write its state as a snapshot: {fault}"))
        })
    }

    fn load(&mut self, slot: Slot, snapshot: &[u8]) -> Result<(), Refused> {
        self.instance.load(slot, snapshot).map_err(|fault| {
            Refused::new(
                Rule::OwnWords,
                format!("the module cannot read a snapshot of its own state ({fault}): its Serialize and Deserialize disagree"),
            )
        })
    }

    /// Tells a story again from the snapshot of its beginning, and its end from the events that were decided.
    fn resume(&mut self, story: &Story<'_>, told: &Trace) -> Result<(), Refused> {
        self.load(0, &told.before)?;
        let again = self.go_on(0, story, told.before.clone())?;
        agree(story, told, &again, "a state and the same state after a snapshot")?;
        let Some((after, _)) = &told.after else { return Ok(()) };
        self.load(SPARE_SLOT, &told.before)?;
        for step in &told.steps {
            if let Step::Accepted(events) = step {
                self.instance.fold(SPARE_SLOT, events).map_err(|fault| {
                    let message =
                        format!("the module cannot read the events that it decided for {}: {fault}", story.name());
                    Refused::new(Rule::OwnWords, message)
                })?;
            }
        }
        let mut folded = Vec::new();
        self.snapshot(SPARE_SLOT, Form::Compact, &mut folded)?;
        if folded != *after {
            return Err(Refused::new(
                Rule::Disagrees,
                format!(
                    "deciding {} leads to another state than folding the events that were decided: a field does not \
                     survive MessagePack, or `evolve` looks at more than state and event",
                    story.name()
                ),
            ));
        }
        Ok(())
    }

    /// Finds the event on which folding failed, by folding them one by one.
    fn unreadable_event(&mut self, story: &Story<'_>, fault: &Fault) -> Refused {
        let mut name = "an event".to_owned();
        if self.instance.load(SPARE_SLOT, &[]).is_ok() {
            for (index, frame) in Frames(story.history).enumerate() {
                let Ok(frame) = frame else { break };
                let mut one = Vec::new();
                ordain_sdk::contract::write_frame(&mut one, frame);
                if self.instance.fold(SPARE_SLOT, &one).is_err() {
                    let variant = shape::variant(frame).map_or("?".to_owned(), |name| one_line(name.as_bytes(), 100));
                    name = format!("event {} ({variant})", index + 1);
                    break;
                }
            }
        }
        Refused::new(
            Rule::History,
            format!(
                "the module cannot read {name} of {}: {fault}; events stay in the log for ever, so every version must \
                 read all of them (a new field needs #[serde(default)])",
                story.name()
            ),
        )
    }
}

/// Whether two tellings are the same, byte for byte. Where the clock cut one of them nothing can be said.
fn agree(story: &Story<'_>, one: &Trace, other: &Trace, which: &str) -> Result<(), Refused> {
    let cut = |trace: &Trace| matches!(trace.steps.last(), Some(Step::Fault(f)) if f.reason == FailureReason::Timeout);
    if one == other || cut(one) || cut(other) {
        return Ok(());
    }
    let place = match one.steps.iter().zip(&other.steps).position(|(a, b)| a != b) {
        Some(at) => format!("decide command {} of {} differently", at + 1, story.name()),
        None => format!("come to different states for {}", story.name()),
    };
    Err(Refused::new(
        Rule::Disagrees,
        format!(
            "{which} {place}: the rules depend on more than state, command and context (the order of a HashMap, a static, \
             an address)"
        ),
    ))
}

/// Under one state tag the states of the active module are carried over, so they must be what the candidate would fold.
fn same_states(active: &Module, stories: &[Story<'_>], told: &[Trace]) -> Result<(), Refused> {
    let mut teller = Teller::new(active)?;
    let mut state = Vec::new();
    for (story, trace) in stories.iter().zip(told).filter(|(story, _)| !story.history.is_empty()) {
        let folded = teller
            .instance
            .load(0, &[])
            .and_then(|()| teller.instance.fold(0, story.history))
            .and_then(|()| teller.instance.snapshot(0, Form::Compact, &mut state));
        match folded {
            Ok(()) if state == trace.before => {}
            Ok(()) => {
                return Err(Refused::new(
                    Rule::StateVersion,
                    format!(
                        "the module folds the history of {} to another state than the active one, under the same state \
                         version: raise STATE_VERSION, so that states are built anew",
                        story.name()
                    ),
                ));
            }
            // The active module's own trouble says nothing about the candidate.
            Err(_) => teller.heal()?,
        }
    }
    Ok(())
}
