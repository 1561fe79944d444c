//! A client's record of what it asked and what it heard, kept for the checker, with counts and times for people.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hdrhistogram::Histogram;
use ordain_checker::history::{Ending, Operation, ReadOperation, Recorder, StateSeen};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Answer, Broken};
use crate::clock;
use crate::command::Command;

/// How an attempt was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// When, by [`clock::now_ns`].
    pub at_ns: u64,
    /// Number of the stream and of the line in it: order is promised there.
    pub line: Option<(u64, u64)>,
}

/// What an attempt came to.
#[derive(Debug)]
pub enum Heard<'a> {
    /// An outcome.
    Outcome(&'a RawValue),
    /// The host says that nothing was recorded.
    Refused(&'a str),
    /// Nothing that tells.
    Nothing(&'a str),
}

impl<'a> Heard<'a> {
    /// What an answer without an outcome means.
    pub fn problem(status: u16, text: &'a str) -> Self {
        match status {
            400 | 401 | 403 | 404 | 413 | 429 => Self::Refused(text),
            _ => Self::Nothing(text),
        }
    }
}

/// The parts of an outcome that are counted.
#[derive(Debug, Deserialize)]
struct Summary<'a> {
    outcome: Ending,
    #[serde(default)]
    version: u64,
    #[serde(borrow, default)]
    rejection: Option<Code<'a>>,
    #[serde(borrow, default)]
    failure: Option<Reason<'a>>,
    #[serde(borrow, default)]
    module: Option<&'a str>,
    #[serde(default)]
    replayed: bool,
}

#[derive(Debug, Deserialize)]
struct Code<'a> {
    #[serde(borrow)]
    code: std::borrow::Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct Reason<'a> {
    #[serde(borrow)]
    reason: std::borrow::Cow<'a, str>,
}

/// What is known of an outcome by its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which of the four.
    pub outcome: Ending,
    /// The version after the command.
    pub version: u64,
    /// Name of the rejection, or reason of the failure.
    pub code: Option<String>,
    /// Digest of the module.
    pub module: Option<String>,
    /// Whether it is the answer to an earlier attempt.
    pub replayed: bool,
}

/// Counts and times of what was heard.
#[derive(Debug)]
pub struct Tally {
    /// First answers by what they were: `accepted`, `rejected CODE`, `conflict`, `failed`.
    pub outcomes: BTreeMap<String, u64>,
    /// Commands whose answer was given again: they had been decided, and their answer was lost.
    pub replayed: u64,
    /// Attempts without an answer.
    pub unknown: u64,
    /// Attempts that were turned away.
    pub refused: u64,
    /// Nanoseconds from sending a command to its outcome.
    pub latency: Histogram<u64>,
    /// Latest text of an attempt without outcome.
    pub latest_trouble: String,
}

impl Tally {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("bounds that a histogram can have");
        let outcomes = BTreeMap::new();
        Self { outcomes, replayed: 0, unknown: 0, refused: 0, latency, latest_trouble: String::new() }
    }

    /// Adds another client's.
    pub fn add(&mut self, other: &Self) {
        for (word, count) in &other.outcomes {
            *self.outcomes.entry(word.clone()).or_default() += count;
        }
        self.replayed += other.replayed;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.latency.add(&other.latency).expect("histograms of the same bounds");
        if !other.latest_trouble.is_empty() {
            self.latest_trouble.clone_from(&other.latest_trouble);
        }
    }

    /// Outcomes so far.
    pub fn answered(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes down one client's operations.
#[derive(Debug)]
pub struct Witness {
    recorder: Recorder,
    /// Counts so far.
    pub tally: Tally,
}

impl Witness {
    /// Opens the record of a client in a history's folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(history: &Path, client: &str) -> io::Result<Self> {
        Ok(Self { recorder: Recorder::client(history, client)?, tally: Tally::new() })
    }

    /// Writes down one attempt that just ended, and returns the outcome if there was one.
    ///
    /// # Panics
    /// If the record cannot be written: without it nothing can be judged.
    pub fn note(&mut self, command: &Command, sent: Sent, heard: &Heard<'_>) -> Option<Known> {
        let done_ns = clock::now_ns();
        let compact;
        let (answer, note) = match heard {
            Heard::Outcome(raw) if raw.get().contains('\n') => {
                compact = one_line(raw);
                (compact.as_deref(), None)
            }
            Heard::Outcome(raw) => (Some(*raw), None),
            Heard::Refused(text) | Heard::Nothing(text) => (None, Some(*text)),
        };
        let known = answer.and_then(known);
        let result = match (&known, heard) {
            (Some(known), _) => known.outcome,
            (None, Heard::Refused(_)) => Ending::Refused,
            (None, _) => Ending::Unknown,
        };
        self.count(known.as_ref(), result, done_ns.saturating_sub(sent.at_ns), note);
        let operation = Operation {
            seq: sent.line.map_or_else(|| self.recorder.next_seq(), |(_, line)| line),
            stream: sent.line.map(|(stream, _)| stream),
            aggregate_type: &command.aggregate_type,
            id: &command.id,
            command_id: &command.command_id,
            expected_version: command.expected_version,
            command: &command.command,
            invoke_ns: sent.at_ns,
            done_ns,
            result,
            answer: if known.is_some() { answer } else { None },
            note,
        };
        self.recorder.write(&operation).expect("the record of what clients saw can be written");
        known
    }

    fn count(&mut self, known: Option<&Known>, result: Ending, took_ns: u64, note: Option<&str>) {
        let tally = &mut self.tally;
        match (known, result) {
            (Some(known), _) => {
                let word = match (known.outcome, &known.code) {
                    (Ending::Accepted, _) => "accepted".to_owned(),
                    (Ending::Rejected, code) => format!("rejected {}", code.as_deref().unwrap_or("?")),
                    (Ending::Conflict, _) => "conflict".to_owned(),
                    _ => "failed".to_owned(),
                };
                *tally.outcomes.entry(word).or_default() += 1;
                tally.replayed += u64::from(known.replayed);
                tally.latency.saturating_record(took_ns);
            }
            (None, Ending::Refused) => tally.refused += 1,
            (None, _) => tally.unknown += 1,
        }
        if let Some(note) = note {
            note.clone_into(&mut tally.latest_trouble);
        }
    }

    /// Writes down an attempt by a request of its own, and returns the outcome if there was one.
    pub fn note_answer(&mut self, command: &Command, invoke_ns: u64, answer: &Result<Answer, Broken>) -> Option<Known> {
        let text;
        let heard = match answer {
            Err(Broken(why)) => Heard::Nothing(why),
            Ok(answer) => match serde_json::from_slice::<&RawValue>(&answer.body) {
                Ok(raw) if known(raw).is_some() => Heard::Outcome(raw),
                _ => {
                    text = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
                    Heard::problem(answer.status, &text)
                }
            },
        };
        self.note(command, Sent { at_ns: invoke_ns, line: None }, &heard)
    }

    /// Writes down a state that was read.
    ///
    /// # Panics
    /// If the record cannot be written.
    pub fn note_state(&mut self, seen: StateSeen<'_>, invoke_ns: u64) {
        let read = ReadOperation { seq: self.recorder.next_seq(), invoke_ns, done_ns: clock::now_ns(), read: seen };
        self.recorder.write(&read).expect("the record of what clients saw can be written");
    }

    /// Hands everything to the system, for the checker to read.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.recorder.flush()
    }
}

fn known(outcome: &RawValue) -> Option<Known> {
    let summary: Summary<'_> = serde_json::from_str(outcome.get()).ok()?;
    let rejection = summary.rejection.map(|rejection| rejection.code);
    let code = rejection.or(summary.failure.map(|failure| failure.reason));
    Some(Known {
        outcome: summary.outcome,
        version: summary.version,
        code: code.map(std::borrow::Cow::into_owned),
        module: summary.module.map(str::to_owned),
        replayed: summary.replayed,
    })
}

fn one_line(raw: &RawValue) -> Option<Box<RawValue>> {
    let value: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    RawValue::from_string(value.to_string()).ok()
}
