//! What the bank's rules make of an entry, and whether a read state is what the log's events make: I8 and I16.

use super::{Answered, Cause, Judge, Said};
use crate::bank::{self, Account, Forbidden, Verdict};
use crate::canonical::{Canonical, NULL};
use crate::report::Kind;

impl Judge {
    pub(super) fn by_the_rules(&mut self, entry: &Answered<'_>, aggregate: u32, module: u16, cause: Cause) {
        let events = &entry.events;
        let Some(mut account) = self.aggregates[aggregate as usize].account else { return };
        let spoiled = self.aggregates[aggregate as usize].spoiled;
        let predicted = self.predict(entry, &account, module);
        let mut forbidden = None;
        for (index, event) in events.iter().enumerate() {
            match account.evolve(event) {
                Ok(cents) => self.report.cents += i128::from(cents),
                Err(Some(Forbidden::RenamedAfterClosed)) => {
                    let message = format!("{} got another owner after it was closed", entry.aggregate_id);
                    self.found(Kind::RenamedAfterClose, message, cause);
                    forbidden = Some(());
                }
                Err(_) => forbidden = Some(()),
            }
            let version = (entry.version + index as u64 + 1).saturating_sub(events.len() as u64);
            self.reads_at(aggregate, version, account.state());
        }
        let state = &mut self.aggregates[aggregate as usize];
        state.account = Some(account);
        state.spoiled |= forbidden.is_some();
        if forbidden.is_some() || spoiled {
            self.cents_by_rules = None;
        }
        if let Some((verdict, what)) = predicted.filter(|_| !spoiled) {
            self.compare(entry, &verdict, &what, cause);
        }
    }

    /// What the rules of the deciding module say to the command, if they are known.
    fn predict(&mut self, entry: &Answered<'_>, account: &Account, module: u16) -> Option<(Verdict, String)> {
        let accepted = entry.said == Said::Accepted;
        if !accepted && !matches!(entry.said, Said::Rejected(_)) {
            return None;
        }
        let known = self.modules.rules(module).zip(bank::command(entry.body).ok());
        let Some((rules, command)) = known else {
            if accepted {
                self.cents_by_rules = None;
            }
            return None;
        };
        let verdict = account.decide(&command, rules);
        if let (Verdict::Accept { moves, .. }, true, Some(cents)) = (&verdict, accepted, &mut self.cents_by_rules) {
            *cents += i128::from(*moves);
        }
        Some((verdict, format!("{command:?} under {rules:?}")))
    }

    fn compare(&mut self, entry: &Answered<'_>, verdict: &Verdict, what: &str, cause: Cause) {
        let message = match (verdict, &entry.said) {
            (Verdict::Accept { event, .. }, Said::Accepted) => {
                let hashes: Vec<_> =
                    entry.events.iter().filter_map(|bytes| Canonical::of_messagepack(bytes).ok()).collect();
                if hashes == [*event] {
                    return;
                }
                format!("{what}: accepted with other events than the rules make")
            }
            (Verdict::Reject(expected), Said::Rejected(rejection)) if rejection == expected => return,
            (Verdict::Reject(expected), Said::Rejected(rejection)) => {
                format!("{what}: rejected as {}, the rules say {}", rejection.name, expected.name)
            }
            (Verdict::Reject(expected), _) => format!("{what}: accepted, the rules say {}", expected.name),
            (Verdict::Accept { .. }, _) => format!("{what}: rejected, the rules accept it"),
        };
        if matches!((verdict, &entry.said), (Verdict::Reject(_), Said::Accepted)) {
            // The model's money does not move for what the rules refuse; the log's did.
            self.cents_by_rules = None;
        }
        self.found(Kind::RuleBroken, message, cause);
    }

    /// Checks the reads that wait for this version of an aggregate.
    fn reads_at(&mut self, aggregate: u32, version: u64, state: Canonical) {
        if self.reads_waiting.is_empty() {
            return;
        }
        while let Some(waiting) = self.reads_waiting.get_mut(&aggregate) {
            let Some(&index) = waiting.last() else { return };
            let read = &self.reads[index as usize];
            if read.version > version {
                return;
            }
            waiting.pop();
            let absent = read.version == 0 && read.state == NULL.0;
            if !absent && (read.version < version || read.state != state.0) {
                let message = format!("a client read version {}, and the log's events make another", read.version);
                let cause = Cause { place: Some(read.place), ..Cause::default() };
                self.found(Kind::WrongState, message, cause);
            }
        }
    }

    /// Reads of versions that never came to be, and reads of the present that were behind what was acknowledged.
    pub(super) fn reads(&mut self) {
        let waiting: Vec<u32> = self.reads_waiting.values().flatten().copied().collect();
        for index in waiting {
            let read = &self.reads[index as usize];
            let absent = read.version == 0 && read.state == NULL.0;
            if !absent && self.aggregates[read.aggregate as usize].account.is_some() {
                let message = format!("a client read version {}, which the log does not have", read.version);
                let cause = Cause { place: Some(read.place), ..Cause::default() };
                self.found(Kind::WrongState, message, cause);
            }
        }
        self.stale_reads();
    }

    pub(super) fn totals(&mut self) {
        if let Some(cents) = self.cents_by_rules.filter(|&cents| cents != self.report.cents) {
            let message = format!("accounts hold {} cents, the accepted commands make {cents}", self.report.cents);
            self.found(Kind::TotalsDiffer, message, Cause::default());
        }
    }
}
