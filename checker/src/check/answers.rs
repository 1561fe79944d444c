//! Third pass: every attempt against the log. I1, I2, I8, I10 and I12 from the clients' side.

use hashbrown::HashMap;

use super::modules::NO_MODULE;
use super::{Attempt, Cause, Decision, Judge, NOWHERE, word};
use crate::history::Ending;
use crate::report::Kind;

impl Judge {
    pub(super) fn answers(&mut self) {
        for index in 0..self.attempts.len() {
            if let Some((kind, message)) = self.attempt(index) {
                let decision = self.asked[self.attempts[index].asked as usize].decision;
                self.found(kind, message, Cause { attempt: index as u32, decision, place: None });
            }
        }
        self.report.unresolved = self.asked.iter().filter(|command| command.done_first == u64::MAX).count() as u64;
    }

    /// What is wrong with the answer an attempt got.
    fn attempt(&mut self, index: usize) -> Option<(Kind, String)> {
        let attempt = &self.attempts[index];
        let command = &mut self.asked[attempt.asked as usize];
        let decision = self.decisions.get(command.decision as usize);
        match attempt.ending {
            Ending::Unknown => return None,
            Ending::Refused => {
                let alone = command.attempts == 1 && command.decision != NOWHERE;
                return alone.then(|| {
                    (Kind::RefusedButRecorded, "told that nothing was recorded, but it is in the log".to_owned())
                });
            }
            _ => {}
        }
        let Some(decision) = decision else {
            return Some((Kind::Lost, format!("answered {}, but not in the log", word(attempt.ending))));
        };
        if command.forgotten {
            return None;
        }
        let repeat = attempt.replayed || attempt.body != decision.body;
        if repeat {
            command.repeats_owed += 1;
            if command.repeats_owed == 1 {
                let message = "told that it is a repeat, of which the log holds no record".to_owned();
                return Some((Kind::RepeatMisleads, message));
            }
        }
        if attempt.body != decision.body {
            let refused = attempt.ending == Ending::Failed;
            return (!refused).then(|| {
                (Kind::ReusedIdTaken, format!("its id stands for another body, yet it got {}", word(attempt.ending)))
            });
        }
        if !attempt.replayed {
            command.first_answers = command.first_answers.saturating_add(1);
            if command.first_answers == 2 {
                return Some((Kind::AnsweredTwice, "two attempts got an answer not marked as repeated".to_owned()));
            }
        }
        differs(attempt, decision)
    }

    /// Reads of the present must show every version acknowledged before they began.
    pub(super) fn stale_reads(&mut self) {
        let mut acks: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
        for read in self.reads.iter().filter(|read| !read.past) {
            acks.entry(read.aggregate).or_default();
        }
        for attempt in &self.attempts {
            let decision = self.asked[attempt.asked as usize].decision;
            let Some(decision) = self.decisions.get(decision as usize) else { continue };
            if let (Ending::Accepted, Some(list)) = (attempt.ending, acks.get_mut(&decision.aggregate)) {
                list.push((attempt.done, attempt.answer.version));
            }
        }
        for list in acks.values_mut() {
            list.sort_unstable();
            let mut highest = 0;
            for (_, version) in list {
                highest = highest.max(*version);
                *version = highest;
            }
        }
        let stale = |read: &super::Read| {
            let list = acks.get(&read.aggregate)?;
            let before = list.partition_point(|&(done, _)| done < read.invoke);
            let (_, acked) = *list.get(before.checked_sub(1)?)?;
            (acked > read.version && !read.past).then_some((read.place, acked, read.version))
        };
        let found: Vec<_> = self.reads.iter().filter_map(stale).collect();
        for (place, acked, version) in found {
            let message = format!("a client read version {version} after version {acked} had been acknowledged");
            self.found(Kind::StaleRead, message, Cause { place: Some(place), ..Cause::default() });
        }
    }
}

fn differs(attempt: &Attempt, decision: &Decision) -> Option<(Kind, String)> {
    if attempt.ending != decision.ending {
        let kind = match decision.events {
            0 => Kind::AnsweredDifferently,
            _ => Kind::RefusalHasEvents,
        };
        return Some((kind, format!("answered {}, the log says {}", word(attempt.ending), word(decision.ending))));
    }
    let (told, logged) = (attempt.answer, decision.answer);
    let part = if told.version != logged.version {
        format!("version {}, the log has {}", told.version, logged.version)
    } else if told.inside != logged.inside {
        "another content than the log".to_owned()
    } else if told.module != logged.module && told.module != NO_MODULE {
        "another module than the log".to_owned()
    } else {
        return None;
    };
    Some((Kind::AnsweredDifferently, format!("answered {} with {part}", word(attempt.ending))))
}
