//! First pass: what clients asked for and what they were told.

use hashbrown::hash_map::Entry;

use super::{Asked, Attempt, Cause, Content, Judge, NOWHERE, Read, key, word};
use crate::canonical::{Canonical, join};
use crate::history::Ending;
use crate::history::read::{Line, Outcome, Place, State};
use crate::report::Kind;

impl Judge {
    pub(super) fn ask(&mut self, place: Place, line: &Line<'_>) {
        if let Some(state) = &line.read {
            self.read(place, line, state);
            return;
        }
        let ending = line.result.unwrap_or(Ending::Unknown);
        self.report.operations += 1;
        self.endings[ending as usize] += 1;
        let (asked, attempt) = (self.asked_for(line), self.attempts.len() as u32);
        let answer = line.answer.as_ref();
        if let Some(wrong) = answer_wrong(line, ending) {
            let cause = Cause { place: Some(place), ..Cause::default() };
            self.found(Kind::AnswerForeign, wrong, cause);
        }
        let content = answer.map(|outcome| self.content(outcome)).unwrap_or_default();
        let command = &mut self.asked[asked as usize];
        if command.first_attempt == NOWHERE {
            command.first_attempt = attempt;
        }
        if answer.is_some() {
            command.done_first = command.done_first.min(line.done_ns);
        }
        self.attempts.push(Attempt {
            asked,
            place,
            seq: line.seq,
            // Stream 0 is "no order promised".
            stream: line.stream.map_or(0, |stream| stream as u32 + 1),
            done: line.done_ns,
            body: line.command.0,
            ending,
            replayed: answer.is_some_and(|outcome| outcome.replayed),
            answer: content,
        });
    }

    /// The command an attempt is for, with the attempt's part of what is known of it.
    fn asked_for(&mut self, line: &Line<'_>) -> u32 {
        let next = self.asked.len() as u32;
        let (body, expected) = (line.command.0, line.expected_version);
        match self.asked_index.entry(key([&line.aggregate_type, &line.id, &line.command_id])) {
            Entry::Vacant(entry) => {
                entry.insert(next);
                self.asked.push(Asked {
                    first_attempt: NOWHERE,
                    attempts: 1,
                    body,
                    expected,
                    mixed: false,
                    invoke_first: line.invoke_ns,
                    done_first: u64::MAX,
                    decision: NOWHERE,
                    effects: 0,
                    first_answers: 0,
                    forgotten: false,
                    repeats_owed: 0,
                });
                next
            }
            Entry::Occupied(entry) => {
                let index = *entry.get();
                let command = &mut self.asked[index as usize];
                command.attempts += 1;
                command.invoke_first = command.invoke_first.min(line.invoke_ns);
                command.mixed |= command.body != body || command.expected != expected;
                if command.body != body {
                    self.bodies.insert((index, body), ());
                }
                index
            }
        }
    }

    /// Whether a body was ever sent under a command's id.
    pub(super) fn was_sent(&self, asked: u32, body: u64) -> bool {
        self.asked[asked as usize].body == body || self.bodies.contains_key(&(asked, body))
    }

    pub fn content(&mut self, outcome: &Outcome<'_>) -> Content {
        let inside = match outcome.outcome {
            Ending::Accepted => Canonical::list(outcome.events.iter().map(|event| event.event)).0,
            Ending::Rejected => outcome
                .rejection
                .as_ref()
                .map_or(0, |rejection| join(Canonical::text(&rejection.code).0, rejection.details.0)),
            Ending::Conflict => outcome.conflict.map_or(0, |c| join(c.expected, c.actual)),
            Ending::Failed => outcome.failure.as_ref().map_or(0, |f| failure_hash(&f.reason, &f.message)),
            Ending::Unknown | Ending::Refused => 0,
        };
        let module = self.modules.named(&outcome.module);
        Content { version: outcome.version.unwrap_or(0), inside, module }
    }

    fn read(&mut self, place: Place, line: &Line<'_>, state: &State<'_>) {
        self.report.reads += 1;
        let aggregate = self.aggregate(&state.aggregate_type, &state.id);
        self.reads.push(Read {
            aggregate,
            place,
            version: state.version,
            state: state.state.0,
            invoke: line.invoke_ns,
            past: state.past,
        });
    }

    /// Sorts the reads so that the log pass can check each when its version is reached.
    pub(super) fn prepare_reads(&mut self) {
        for (index, read) in self.reads.iter().enumerate() {
            self.reads_waiting.entry(read.aggregate).or_default().push(index as u32);
        }
        for waiting in self.reads_waiting.values_mut() {
            waiting.sort_by_key(|&read| std::cmp::Reverse(self.reads[read as usize].version));
        }
        self.report.commands = self.asked.len() as u64;
    }
}

/// Hash of a failure.
pub(super) fn failure_hash(reason: &str, message: &str) -> u64 {
    join(Canonical::text(reason).0, Canonical::text(message).0)
}

/// What an answer says that cannot be an answer to this question.
fn answer_wrong(line: &Line<'_>, ending: Ending) -> Option<String> {
    let Some(outcome) = &line.answer else {
        let open = matches!(ending, Ending::Unknown | Ending::Refused);
        return (!open).then(|| format!("the client wrote down {} but kept no answer", word(ending)));
    };
    if outcome.outcome != ending {
        return Some(format!("the client wrote down {}, its answer says {}", word(ending), word(outcome.outcome)));
    }
    if outcome.command_id != line.command_id || outcome.aggregate_type != line.aggregate_type || outcome.id != line.id {
        return Some(format!(
            "asked about {} of {}/{}, answered about {} of {}/{}",
            line.command_id, line.aggregate_type, line.id, outcome.command_id, outcome.aggregate_type, outcome.id
        ));
    }
    let version = outcome.version.unwrap_or(0);
    let first = (version + 1).saturating_sub(outcome.events.len() as u64);
    if outcome.events.iter().enumerate().any(|(index, event)| event.version != first + index as u64) {
        return Some(format!("the answer's events are not numbered up to its version {version}"));
    }
    let fits = match ending {
        Ending::Accepted => outcome.rejection.is_none() && outcome.conflict.is_none() && outcome.failure.is_none(),
        Ending::Rejected => outcome.rejection.is_some() && outcome.events.is_empty(),
        Ending::Conflict => {
            outcome.conflict.is_some_and(|c| Some(c.expected) == line.expected_version) && outcome.events.is_empty()
        }
        Ending::Failed => outcome.failure.is_some() && outcome.events.is_empty(),
        Ending::Unknown | Ending::Refused => false,
    };
    (!fits).then(|| format!("an answer {} with parts that do not belong to it", word(ending)))
}
