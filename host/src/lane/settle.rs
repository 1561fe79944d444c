//! What happens when the log answers: committed → state becomes current and callers are answered; not committed → staged
//! work is dropped, and after any doubt the lane is taken anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Lane, Waiter, touched};
use crate::engine::{Answered, Reply, ReplyBox, Unanswered};
use crate::log::{Block, Committed, LogError};
use crate::state_machine::aggregates::Aggregate;
use crate::state_machine::recent::At;
use crate::state_machine::remembers;
use crate::store::Key;

impl Lane {
    /// The block on its way was committed, or not.
    pub(super) fn on_committed(&mut self, committed: Committed) -> Result<(), LogError> {
        match committed.result {
            Ok(Some(block)) => self.settle(&block),
            // What waited for the proof is looked at next.
            Ok(None) => {
                self.proving = false;
                Ok(())
            }
            Err(error) => self.on_lost(error),
        }
    }

    fn settle(&mut self, block: &Block) -> Result<(), LogError> {
        let Some((number, waiters)) = self.in_flight.take() else {
            return Err(LogError::Fatal(format!("the log committed the block at {} unasked", block.lsn())));
        };
        self.machine.settle(number, block.lsn(), &touched(&waiters), self.upkeep.dirty());
        self.look_after_reads();
        self.upkeep.settled(block);
        self.redo
            .settled(waiters.iter().map(|one| (one.applied.touched.partition, one.applied.touched.command_offset)));
        self.board.note(block.lsn());
        self.board.commits.fetch_add(1, Ordering::Relaxed);
        self.board.commands_answered.fetch_add(waiters.len() as u64, Ordering::Relaxed);
        let mut lines = Lines::default();
        // A lane has one log of commands.
        let (mut fed, mut asked) = (Vec::new(), None);
        for Waiter { reply, applied } in waiters {
            let answer = if applied.repeats {
                self.first_answer(block, applied.offset)
            } else {
                Ok(Answered { block: block.clone(), offset: applied.offset, repeated: false })
            };
            match reply {
                Reply::Line(to, line) => lines.add(to, line, answer),
                Reply::Fed(to, stream, offset) => {
                    // Without an answer the command comes again, from its log.
                    if let Ok(answer) = answer {
                        fed.push((stream, offset, answer));
                        asked = Some(to);
                    }
                }
                once => once.send(answer),
            }
        }
        lines.flush();
        if let Some(asked) = asked {
            asked.answered(fed);
        }
        self.board.settled.notify_waiters();
        Ok(())
    }

    /// The first answer to the command id whose repeat is at `offset`.
    fn first_answer(&self, block: &Block, offset: u32) -> Result<Answered, Unanswered> {
        let broken = |what: String| Unanswered::LogFailed(format!("the first answer to a repeated command {what}"));
        let repeat = block.entry(offset).ok_or_else(|| broken("is not where it was written".into()))?;
        let known = self
            .machine
            .aggregates
            .find(repeat.aggregate_type, repeat.aggregate_id)
            .and_then(|at| self.machine.aggregates.get(at).recent.find(repeat.command_id))
            .map(|known| known.at());
        // Forgotten by count while it was on its way, or staged again: the caller asks once more and gets what holds then.
        let Some(At::Settled(lsn)) = known else { return Err(Unanswered::Interrupted) };
        let original = if lsn == block.lsn() {
            block.clone()
        } else {
            self.history.block(lsn).map_err(|e| broken(e.to_string()))?
        };
        answer_in(&original, repeat.aggregate_type, repeat.aggregate_id, repeat.command_id)
            .map(|answered| Answered { repeated: true, ..answered })
            .ok_or_else(|| broken(format!("is not in the block at {lsn}")))
    }

    /// A block was not committed, or nobody knows. Staged work is dropped; the kind of the error says what follows.
    pub(super) fn on_lost(&mut self, error: LogError) -> Result<(), LogError> {
        match &error {
            LogError::DiskFull { .. } => {
                tracing::error!(lane = self.settings.lane, "{error}");
                self.interrupt(&Unanswered::DiskFull(error.to_string()));
                Ok(())
            }
            LogError::Fenced { .. } | LogError::Ambiguous { .. } => {
                tracing::warn!(lane = self.settings.lane, "{error}");
                self.interrupt(&Unanswered::Interrupted);
                self.take_lane()
            }
            LogError::Refused { cause, .. } => {
                tracing::warn!(lane = self.settings.lane, "{error}");
                let refused = self.in_flight.iter().flat_map(|(_, waiters)| waiters).map(|one| {
                    let touched = one.applied.touched;
                    (touched.partition, touched.command_offset)
                });
                let refused: Vec<_> = refused.collect();
                self.redo.refused(&refused, cause)?;
                self.interrupt(&Unanswered::Interrupted);
                self.take_lane()
            }
            LogError::Revoked { .. } | LogError::Fatal(_) | LogError::Corrupt(_) => Err(error),
        }
    }

    /// Takes the lane anew without being asked by the log. What is staged is dropped, and comes again.
    pub(super) fn take_anew(&mut self) -> Result<(), LogError> {
        let losses = self.losses;
        match self.wait_for_commit() {
            Ok(()) => {}
            // It was taken anew already.
            Err(LogError::Fenced { .. }) if self.losses != losses => return Ok(()),
            Err(error) => return Err(error),
        }
        self.interrupt(&Unanswered::Interrupted);
        self.take_lane()
    }

    /// Drops what is staged and tells those who wait for it.
    pub(super) fn interrupt(&mut self, with: &Unanswered) {
        self.losses += 1;
        (self.proving, self.reads_overdue) = (false, false);
        let on_its_way = self.in_flight.take().map(|(_, waiters)| waiters).unwrap_or_default();
        let staged = std::mem::take(&mut self.staged).waiters;
        let waiters: Vec<Waiter> = on_its_way.into_iter().chain(staged).collect();
        let mut indexes: Vec<_> = waiters.iter().map(|waiter| waiter.applied.touched.at).collect();
        indexes.sort_unstable();
        indexes.dedup();
        for (at, aggregate) in self.machine.drop_staged(indexes) {
            if let Some(rules) = self.rules.get(aggregate.aggregate_type.as_str()) {
                rules.current.decider.release(at);
            }
            self.left_memory(&aggregate);
            let Aggregate { aggregate_type, aggregate_id, .. } = aggregate;
            self.suspects.insert(Key { aggregate_type, aggregate_id });
        }
        for waiter in waiters {
            waiter.reply.send(Err(with.clone()));
        }
    }
}

/// The answer that made a command id known, in a block that holds it.
pub(crate) fn answer_in(block: &Block, aggregate_type: &str, aggregate_id: &str, command_id: &str) -> Option<Answered> {
    block
        .entries()
        .find(|(_, entry)| {
            entry.command_id == command_id
                && entry.aggregate_id == aggregate_id
                && entry.aggregate_type == aggregate_type
                && remembers(&entry.answer)
        })
        .map(|(offset, _)| Answered { block: block.clone(), offset, repeated: false })
}

/// Gathers answers of one stream, so that its owner is woken once.
#[derive(Default)]
struct Lines {
    to: Option<Arc<ReplyBox>>,
    answers: Vec<(u64, Result<Answered, Unanswered>)>,
}

impl Lines {
    fn add(&mut self, to: Arc<ReplyBox>, line: u64, answer: Result<Answered, Unanswered>) {
        if self.to.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &to)) {
            self.flush();
            self.to = Some(to);
        }
        self.answers.push((line, answer));
    }

    fn flush(&mut self) {
        if let Some(to) = self.to.take() {
            to.push(self.answers.drain(..));
        }
    }
}
