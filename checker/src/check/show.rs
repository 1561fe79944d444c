//! Showing a violation: the operations of its command and the aggregate's entries around it, read again from disk.

use super::decided::WORDS;
use super::{Cause, ENDINGS, Found, Judge, NOWHERE};
use crate::history::read::{History, Place};
use crate::log::entry::frames;
use crate::log::{Answer, Entry, Log};
use crate::report::{Report, Violation};

/// Entries shown before and after the one a violation is about.
const AROUND: usize = 5;
/// Operations of one command that are shown.
const OPERATIONS_MAX: usize = 6;

/// A log that can show an answered command again.
pub(crate) trait Again {
    /// The answered command at a place as one line; `None` if it cannot be had any more.
    fn again(&self, at: (u64, u32)) -> Option<String>;
}

impl Again for Log {
    fn again(&self, (lsn, offset): (u64, u32)) -> Option<String> {
        self.with_block(lsn, |block| {
            let entry = block.entries().filter_map(Result::ok).find(|entry| entry.offset == offset);
            entry.map(|entry| format!("block {lsn}+{offset} {}", entry_line(&entry)))
        })?
    }
}

impl Judge {
    /// Third pass, what clients were told, and the verdict.
    pub fn finish(mut self, log: &dyn Again, history: &History) -> Report {
        self.answers();
        self.reads();
        self.totals();
        let counted = |words: &[&str], counts: &[u64]| {
            let seen = words.iter().zip(counts).filter(|&(_, &count)| count > 0);
            seen.map(|(word, &count)| ((*word).to_owned(), count)).collect()
        };
        self.report.outcomes = counted(&WORDS, &self.outcomes);
        self.report.endings = counted(&ENDINGS, &self.endings);
        self.report.aggregates = self.aggregates.len() as u64;
        self.report.modules = self.modules.table(&WORDS);
        let found = std::mem::take(&mut self.found);
        self.report.violations = found.into_iter().map(|found| self.show(log, history, found)).collect();
        self.report
    }

    fn show(&self, log: &dyn Again, history: &History, found: Found) -> Violation {
        let Found { kind, message, cause } = found;
        let mut asked = self.decisions.get(cause.decision as usize).map_or(NOWHERE, |decision| decision.asked);
        if let Some(attempt) = self.attempts.get(cause.attempt as usize) {
            asked = attempt.asked;
        }
        let mut places: Vec<Place> = cause.place.into_iter().collect();
        if asked != NOWHERE {
            let of_command = self.attempts.iter().filter(|attempt| attempt.asked == asked);
            places.extend(of_command.take(OPERATIONS_MAX).map(|attempt| attempt.place));
        }
        let line = |place: Place| Some(format!("{}: {}", history.client(place), history.text(place)?));
        let nemesis = self.asked.get(asked as usize).map(|command| {
            let until = if command.done_first == u64::MAX { command.invoke_first } else { command.done_first };
            self.modules.around(command.invoke_first, until)
        });
        Violation {
            kind,
            message,
            operations: places.into_iter().filter_map(line).collect(),
            log: self.around(log, cause),
            nemesis: nemesis.unwrap_or_default(),
        }
    }

    fn around(&self, log: &dyn Again, cause: Cause) -> Vec<String> {
        let Some(about) = self.decisions.get(cause.decision as usize) else { return Vec::new() };
        let at = cause.decision as usize;
        let of_aggregate = |&index: &usize| self.decisions[index].aggregate == about.aggregate;
        let mut shown: Vec<usize> = (0..at).rev().filter(of_aggregate).take(AROUND).collect();
        shown.reverse();
        shown.push(at);
        shown.extend((at + 1..self.decisions.len()).filter(of_aggregate).take(AROUND));
        shown.into_iter().filter_map(|index| self.line(log, index, index == at)).collect()
    }

    fn line(&self, log: &dyn Again, index: usize, marked: bool) -> Option<String> {
        let mark = if marked { '>' } else { ' ' };
        Some(format!("{mark} #{index} {}", log.again(self.decisions[index].at)?))
    }
}

/// MessagePack for people.
pub(crate) fn json(bytes: &[u8]) -> String {
    match rmp_serde::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => value.to_string(),
        Err(what) => format!("<{} bytes: {what}>", bytes.len()),
    }
}

fn entry_line(entry: &Entry<'_>) -> String {
    let answer = match entry.answer {
        Answer::Accepted { frames: bytes, .. } => {
            let events = frames(bytes).unwrap_or_default();
            format!("accepted [{}]", events.into_iter().map(json).collect::<Vec<_>>().join(", "))
        }
        Answer::Rejected(bytes) => format!("rejected {}", json(bytes)),
        Answer::Conflict => "conflict".to_owned(),
        Answer::Failed { reason, message } => format!("failed {reason}: {message}"),
        Answer::Repeated(u64::MAX) => "repeated, first on its way".to_owned(),
        Answer::Repeated(lsn) => format!("repeated, first in block {lsn}"),
    };
    let expected = entry.expected.map_or(String::new(), |version| format!(" expecting {version}"));
    let digest: String = entry.module[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "p{} seq {} cmd {} {}/{} v{} {} {}{expected} -> {answer} by {digest}",
        entry.partition,
        entry.sequence,
        entry.command_offset,
        entry.aggregate_type,
        entry.aggregate_id,
        entry.version,
        entry.command_id,
        json(entry.body)
    )
}
