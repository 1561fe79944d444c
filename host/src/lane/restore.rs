//! Taking a lane: fence, prove it, read back what was committed. The only way to own a lane, also after losing it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Lane;
use super::inbox::Control;
use super::rules::LaneRules;
use crate::log::{Block, LogError, Lsn};
use crate::message::{AggregateId, AggregateType};
use crate::state_machine::{Numbers, StateMachine};

/// How long to wait before a lane that could not be taken is taken again.
const BETWEEN_TAKES: Duration = Duration::from_millis(200);

/// Bytes of events kept unfolded during a restore before they are folded.
const UNFOLDED_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Lane {
    /// Whether a stream belongs to this lane.
    fn owns(&self, stream: u32) -> bool {
        self.streams.binary_search(&stream).is_ok()
    }

    /// Becomes the lane's owner and brings memory to what is committed. Tries again while somebody else takes it too, or
    /// the log does not show what it must, or while the disk is full: until then the lane is not ready, and its log says why.
    ///
    /// # Errors
    /// [`LogError`] if the lane cannot be had or the log cannot be trusted.
    pub(super) fn take_lane(&mut self) -> Result<(), LogError> {
        self.board.ready.store(false, Ordering::Release);
        loop {
            match self.try_take_lane() {
                Err(error @ (LogError::Fenced { .. } | LogError::Ambiguous { .. } | LogError::DiskFull { .. })) => {
                    tracing::warn!(lane = self.settings.lane, "the lane is not ready, and is taken again: {error}");
                    // Space comes by somebody's hand, and each try costs the log a record.
                    let full = matches!(error, LogError::DiskFull { .. });
                    let rest = if full { 10 * BETWEEN_TAKES } else { BETWEEN_TAKES };
                    self.unheard.extend(self.inbox.take(0, Some(rest)).control);
                    if self.unheard.iter().any(|one| matches!(one, Control::Stop | Control::Lost)) {
                        return Err(LogError::Revoked { lane: self.settings.lane });
                    }
                }
                taken => return taken,
            }
        }
    }

    fn try_take_lane(&mut self) -> Result<(), LogError> {
        self.takes += 1;
        self.streams = self.log.streams()?;
        self.streams.sort_unstable();
        let streams = self.streams.last().map_or(0, |last| last + 1);
        self.machine = StateMachine::new(streams, self.log.offsets());
        self.rules = LaneRules::default();
        self.suspects.clear();
        self.board.quarantined.store(0, Ordering::Relaxed);
        self.adopt_modules();
        let mut positions = vec![Lsn(0); streams as usize];
        for mark in self.store.marks() {
            if !self.owns(mark.partition) {
                continue;
            }
            positions[mark.partition as usize] = mark.position;
            let numbers = Numbers {
                next_sequence: mark.next_sequence,
                next_command_offset: mark.next_command_offset,
                log_time_ms: mark.log_time_ms,
            };
            self.machine.resume(mark.partition, numbers);
        }
        let from = self.streams.iter().map(|&stream| positions[stream as usize]).min().unwrap_or_default();
        self.upkeep.restart(from);
        let mut kept = 0;
        // The log is lent out while it replays into everything else of the lane.
        let mut log = std::mem::replace(&mut self.log, Box::new(Lent));
        let taken = log.take(from, &mut |block| self.replay(block, &positions, &mut kept));
        self.log = log;
        let term = taken?;
        for &stream in &self.streams {
            self.machine.bound(stream, self.log.result_bytes_max(stream));
        }
        // A stream whose first command has not been answered yet begins where its log of commands does.
        let next: Vec<_> =
            self.streams.iter().map(|&stream| (stream, self.machine.settled(stream).next_command_offset)).collect();
        self.log.begin(&next)?;
        tracing::info!(
            lane = self.settings.lane,
            term = term.0,
            events = self.board.events_restored.load(Ordering::Relaxed),
            "the lane is taken and restored"
        );
        self.inbox.open();
        self.board.ready.store(true, Ordering::Release);
        Ok(())
    }

    fn replay(&mut self, block: &Block, positions: &[Lsn], kept: &mut usize) -> Result<(), LogError> {
        let lsn = block.lsn();
        let mut events = 0;
        for (_, entry) in block.entries() {
            let partition = entry.partition;
            if !self.owns(partition) || lsn < positions[partition as usize] {
                continue;
            }
            let bad = |what: &dyn std::fmt::Display| {
                LogError::Corrupt(format!("the block at {lsn} holds a bad entry: {what}"))
            };
            let aggregate_type = AggregateType::parse(entry.aggregate_type).map_err(|e| bad(&e))?;
            let aggregate_id = AggregateId::parse(entry.aggregate_id).map_err(|e| bad(&e))?;
            let at = self.find_or_load(&aggregate_type, &aggregate_id)?;
            self.machine.replay(at, &entry, lsn).map_err(|e| LogError::Corrupt(e.to_string()))?;
            let aggregate = self.machine.aggregates.get_mut(at);
            aggregate.used = true;
            if !aggregate.dirty {
                aggregate.dirty = true;
                self.upkeep.dirty().push(at);
            }
            events += entry.events();
            if let crate::log::Answer::Accepted { events, .. } = entry.answer {
                *kept += events.len();
            }
        }
        self.board.events_restored.fetch_add(events, Ordering::Relaxed);
        self.upkeep.settled(block);
        self.board.note(block.lsn());
        if *kept > UNFOLDED_BYTES_MAX {
            *kept = 0;
            self.fold_unfolded()?;
        }
        self.make_room_at_once()
    }

    /// Folds everything that is kept unfolded, aggregate by aggregate.
    fn fold_unfolded(&mut self) -> Result<(), LogError> {
        for at in 0..self.machine.aggregates.places() {
            if self.machine.aggregates.try_get(at).is_some_and(|one| one.unfolded.is_some()) {
                self.make_resident(at)?;
            }
        }
        Ok(())
    }
}

/// Stands where the log is while it is lent out. Never reached.
struct Lent;

impl crate::log::LaneLog for Lent {
    fn take(
        &mut self,
        _: Lsn,
        _: &mut dyn FnMut(&Block) -> Result<(), LogError>,
    ) -> Result<crate::log::Term, LogError> {
        Err(LogError::Fatal("the log is lent out".into()))
    }

    fn streams(&mut self) -> Result<Vec<u32>, LogError> {
        Err(LogError::Fatal("the log is lent out".into()))
    }

    fn submit(&mut self, _: crate::log::BlockBuilder) -> Result<(), LogError> {
        Err(LogError::Fatal("the log is lent out".into()))
    }
}
