//! What a lane does beside deciding, in small pieces between batches: bring the store up to date (a checkpoint), evict
//! what does not fit, empty the decider of a former module.
//!
//! A checkpoint is fuzzy: it begins at a position of the log, writes every aggregate that was dirty then as it is when its
//! turn comes, and ends by marking the position. Replay skips what an aggregate already has.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Lane, STORE_PATIENCE};
use crate::clock::Stopwatch;
use crate::decider::Form;
use crate::log::{Block, LogError, Lsn};
use crate::message::AggregateType;
use crate::state_machine::aggregates::Index;
use crate::store::{Key, Mark, Recent, Stored};

/// Aggregates written, moved or evicted in one piece: as many as commands are taken at once, or a lane whose commands are
/// all about others would never be done.
const PIECE: usize = super::TAKEN_AT_ONCE;
/// Places that are looked at for one that can be evicted, each time somebody needs room.
const LOOKED_AT: usize = 8 * PIECE;
/// So much more than may stay, in parts of that, and nothing more is taken until there is room.
const OVERFLOW: usize = 8;

/// A checkpoint that is being written.
struct Round {
    marks: Vec<Mark>,
    /// To be written still.
    queue: Vec<Index>,
    /// Had something staged when their turn came.
    deferred: Vec<Index>,
}

/// Where the upkeep stands.
pub(super) struct Upkeep {
    dirty: Vec<Index>,
    round: Option<Round>,
    /// Written by the lane and not taken by the store yet.
    outbox: Vec<(Key, Stored)>,
    /// The store was too full for what it was given last, states or marks.
    held_up: bool,
    since: Stopwatch,
    /// End of the last settled block.
    position: Lsn,
    /// Where the last checkpoint began.
    marked: Lsn,
    /// Deciding pauses for the length of one commit, so that what is always staged can be written.
    pub(super) wants_quiet: bool,
    /// Most memory a decider was seen to hold beyond its limit, in bytes.
    decider_bytes_seen: usize,
    /// Place the sweep that empties former deciders goes on from.
    drain: Option<Index>,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            dirty: Vec::new(),
            round: None,
            outbox: Vec::new(),
            held_up: false,
            since: Stopwatch::start(),
            position: Lsn(0),
            marked: Lsn(0),
            wants_quiet: false,
            decider_bytes_seen: 0,
            drain: None,
        }
    }

    /// The lane is taken anew: nothing of before counts.
    pub(super) fn restart(&mut self, from: Lsn) {
        *self = Self { position: from, marked: from, ..Self::new() };
    }

    /// Aggregates changed since their last turn.
    pub(super) fn dirty(&mut self) -> &mut Vec<Index> {
        &mut self.dirty
    }

    /// The store is behind the log with this one, and must have it before it is told how far it is.
    pub(super) fn is_behind(&mut self, at: Index) {
        self.dirty.push(at);
        self.round.iter_mut().for_each(|round| round.queue.push(at));
    }

    /// A block is settled or replayed.
    pub(super) fn settled(&mut self, block: &Block) {
        self.position = block.end();
    }

    /// A module changed: states in the decider before are to be moved.
    pub(super) fn drain_former(&mut self) {
        self.drain = Some(0);
    }

    /// Whether the store could not take everything: to be tried again shortly.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// Ids and versions of a type that were written and not taken by the store yet.
    pub(super) fn outbox_of<'a>(&'a self, of: &'a AggregateType) -> impl Iterator<Item = (&'a str, u64)> {
        let mine = self.outbox.iter().filter(move |(key, _)| key.aggregate_type == *of);
        mine.map(|(key, stored)| (key.aggregate_id.as_str(), stored.version))
    }

    /// Whether there is a piece of work that needs no event from outside. It is in no hurry.
    pub(super) fn can_go_on(&self, quiet: bool) -> bool {
        self.drain.is_some()
            || self.round.as_ref().is_some_and(|round| !round.queue.is_empty() || round.deferred.is_empty() || quiet)
    }
}

impl Lane {
    /// One piece of upkeep.
    pub(super) fn upkeep(&mut self) -> Result<(), LogError> {
        self.board.aggregates.store(self.machine.aggregates.len() as u64, Ordering::Relaxed);
        self.begin_checkpoint();
        self.go_on_with_checkpoint()?;
        self.go_on_draining()?;
        self.make_room(LOOKED_AT)
    }

    /// How long until a checkpoint is to begin if nothing else happens; `None` if one is being written, or nothing changed.
    pub(super) fn checkpoint_in(&self) -> Option<Duration> {
        let (upkeep, settings) = (&self.upkeep, &self.settings);
        if upkeep.round.is_some() || upkeep.dirty.is_empty() {
            return None;
        }
        let much = upkeep.dirty.len() >= settings.checkpoint_aggregates
            || upkeep.position.0 - upkeep.marked.0 >= settings.checkpoint_log_bytes;
        let longest = Duration::from_millis(settings.checkpoint_ms);
        Some(if much { Duration::ZERO } else { longest.saturating_sub(upkeep.since.elapsed()) })
    }

    fn begin_checkpoint(&mut self) {
        if self.checkpoint_in() != Some(Duration::ZERO) {
            return;
        }
        let marks = self.streams.iter().map(|&partition| {
            let numbers = self.machine.settled(partition);
            Mark {
                partition,
                position: self.upkeep.position,
                next_sequence: numbers.next_sequence,
                next_command_offset: numbers.next_command_offset,
                log_time_ms: numbers.log_time_ms,
            }
        });
        let round =
            Round { marks: marks.collect(), queue: std::mem::take(&mut self.upkeep.dirty), deferred: Vec::new() };
        self.upkeep.round = Some(round);
    }

    fn go_on_with_checkpoint(&mut self) -> Result<(), LogError> {
        if !self.hand_over(Vec::new()) {
            return Ok(());
        }
        let quiet = self.is_quiet();
        if self.upkeep.round.is_none() {
            return Ok(());
        }
        // The marks will speak for these as well.
        for Key { aggregate_type, aggregate_id } in self.suspects.iter().take(PIECE).cloned().collect::<Vec<_>>() {
            self.find_or_load(&aggregate_type, &aggregate_id)?;
        }
        let Some(round) = &mut self.upkeep.round else { return Ok(()) };
        if round.queue.is_empty() && !round.deferred.is_empty() {
            if !quiet {
                self.upkeep.wants_quiet = true;
                return Ok(());
            }
            round.queue = std::mem::take(&mut round.deferred);
        }
        let start = round.queue.len().saturating_sub(PIECE);
        for at in round.queue.split_off(start) {
            let Some(aggregate) = self.machine.aggregates.try_get(at).filter(|one| one.dirty) else { continue };
            if aggregate.is_staged() {
                if let Some(round) = &mut self.upkeep.round {
                    round.deferred.push(at);
                }
                continue;
            }
            self.write(at)?;
        }
        // At once, so that what is left in the outbox means a full store and nothing else.
        if !self.hand_over(Vec::new()) {
            return Ok(());
        }
        let written = self.upkeep.round.as_ref().is_some_and(|one| one.queue.is_empty() && one.deferred.is_empty());
        if written && self.suspects.is_empty() {
            self.end_checkpoint();
        }
        Ok(())
    }

    fn end_checkpoint(&mut self) {
        self.upkeep.wants_quiet = false;
        let Some(round) = &self.upkeep.round else { return };
        let marks = round.marks.clone();
        let position = marks.first().map_or(Lsn(0), |mark| mark.position);
        if self.hand_over(marks) {
            self.upkeep.round = None;
            self.upkeep.marked = position;
            self.upkeep.since = Stopwatch::start();
        }
    }

    /// Gives the store what was written, and the marks after it. Returns whether it took everything.
    fn hand_over(&mut self, marks: Vec<Mark>) -> bool {
        self.upkeep.held_up = false;
        if self.upkeep.outbox.is_empty() && marks.is_empty() {
            return true;
        }
        if let Err(full) = self.store.put(std::mem::take(&mut self.upkeep.outbox), marks) {
            self.upkeep.outbox = full.batch;
            self.upkeep.held_up = true;
        }
        !self.upkeep.held_up
    }

    /// Puts an aggregate with nothing staged into the outbox as it is.
    fn write(&mut self, at: Index) -> Result<(), LogError> {
        let stored = self.snapshot_for_store(at)?;
        let aggregate = self.machine.aggregates.get_mut(at);
        aggregate.dirty = false;
        let key =
            Key { aggregate_type: aggregate.aggregate_type.clone(), aggregate_id: aggregate.aggregate_id.clone() };
        self.upkeep.outbox.push((key, stored));
        Ok(())
    }

    fn snapshot_for_store(&mut self, at: Index) -> Result<Stored, LogError> {
        let aggregate = self.machine.aggregates.get(at);
        if aggregate.unfolded.is_some() {
            self.make_resident(at)?;
        }
        let (state_tag, state) = self.compact_state(at);
        let aggregate = self.machine.aggregates.get(at);
        let recent = aggregate.recent.iter().filter_map(|known| match known.at() {
            crate::state_machine::recent::At::Settled(at) => {
                Some(Recent { id: known.id(), body_hash: known.body_hash, at, time_ms: known.time_ms })
            }
            crate::state_machine::recent::At::Staged(_) => None,
        });
        Ok(Stored { version: aggregate.version, last: aggregate.last, state_tag, state, recent: recent.collect() })
    }

    /// The state as the decider that holds it gives it; empty if none does, and then it is rebuilt from events when needed.
    fn compact_state(&mut self, at: Index) -> (u64, Vec<u8>) {
        let aggregate = self.machine.aggregates.get(at);
        let (home, aggregate_type) = (aggregate.home, aggregate.aggregate_type.clone());
        let (version, id) = (aggregate.version, aggregate.aggregate_id.as_str());
        let mut state = Vec::new();
        let Some(rules) = self.rules.get(aggregate_type.as_str()) else { return (0, state) };
        let holder = [Some(&mut rules.current), rules.former.as_mut()].into_iter().flatten();
        let Some(holder) = holder.into_iter().find(|one| home != 0 && one.serial == home) else {
            // Not resident: what the store has may still be right, if only outcomes without events came since.
            let kept = self.store.get(aggregate_type.as_str(), id).ok().flatten();
            return kept.filter(|one| one.version == version).map_or((0, state), |one| (one.state_tag, one.state));
        };
        let tag = holder.rules.state_tag();
        match holder.decider.snapshot(at, Form::Compact, &mut state) {
            Ok(()) => (tag, state),
            Err(fault) => {
                tracing::warn!("no snapshot of {aggregate_type}: {fault}");
                self.after_fault(at, &fault);
                (0, Vec::new())
            }
        }
    }

    /// Evicts aggregates until memory is within its limits; looks at so many at most.
    pub(super) fn make_room(&mut self, mut looks: usize) -> Result<(), LogError> {
        while self.machine.aggregates.len() > self.room() && self.hand_over(Vec::new()) {
            let Some(at) = self.machine.aggregates.victim(&mut looks) else { return Ok(()) };
            self.evict(at)?;
        }
        Ok(())
    }

    /// Makes room before more is read, however long the store takes: so much can be read back that it would not fit.
    pub(super) fn make_room_at_once(&mut self) -> Result<(), LogError> {
        loop {
            // Twice round: what was used is spared once, and nothing is staged.
            self.make_room(2 * self.machine.aggregates.places() as usize)?;
            if !self.upkeep.held_up {
                return Ok(());
            }
            self.store.wait_for_room(STORE_PATIENCE);
        }
    }

    /// Whether there is so much in memory that nothing may come: the store takes nothing of it.
    pub(super) fn overflows(&self) -> bool {
        let most = self.settings.resident_aggregates_max;
        self.upkeep.held_up && self.machine.aggregates.len() > most + most / OVERFLOW
    }

    /// How many aggregates may stay in memory. A decider's memory never shrinks, so when it has grown past its limit once
    /// more, fewer may stay from then on: what leaves makes room for what comes.
    fn room(&mut self) -> usize {
        let bytes = self.rules.iter().map(|one| one.current.decider.memory_bytes()).max().unwrap_or(0);
        if bytes > self.settings.decider_bytes_max && bytes > self.upkeep.decider_bytes_seen {
            self.upkeep.decider_bytes_seen = bytes;
            let fewer = self.machine.aggregates.len() / 10 * 9;
            self.settings.resident_aggregates_max = fewer.clamp(1, self.settings.resident_aggregates_max.max(1));
            tracing::warn!(
                lane = self.settings.lane,
                bytes,
                "a decider's memory is above its limit: at most {fewer} aggregates stay in memory from now on"
            );
        }
        self.settings.resident_aggregates_max
    }

    fn evict(&mut self, at: Index) -> Result<(), LogError> {
        if self.machine.aggregates.get(at).dirty {
            self.write(at)?;
            // What is not in memory must be in the store's hands, or the next load would miss it.
            if !self.hand_over(Vec::new()) {
                return Ok(());
            }
        }
        let evicted = self.machine.aggregates.remove(at);
        evicted.iter().for_each(|one| self.left_memory(one));
        if let Some(aggregate) = evicted
            && let Some(rules) = self.rules.get(aggregate.aggregate_type.as_str())
        {
            rules.current.decider.release(at);
            if let Some(former) = &mut rules.former {
                former.decider.release(at);
            }
        }
        Ok(())
    }

    /// Moves some states out of former deciders; drops those when the sweep is through.
    fn go_on_draining(&mut self) -> Result<(), LogError> {
        let Some(from) = self.upkeep.drain else { return Ok(()) };
        let places = self.machine.aggregates.places();
        let to = from.saturating_add(PIECE as Index).min(places);
        for at in from..to {
            let Some(aggregate) = self.machine.aggregates.try_get(at).filter(|one| one.home != 0) else { continue };
            let aggregate_type = aggregate.aggregate_type.clone();
            let home = aggregate.home;
            let Some(rules) = self.rules.get(aggregate_type.as_str()) else { continue };
            let movable = rules.former.as_ref().is_some_and(|former| {
                former.serial == home && former.rules.state_tag() == rules.current.rules.state_tag()
            });
            let losses = self.losses;
            if movable && let Err(error) = self.make_resident(at) {
                // If it waited for a commit that failed, everything was taken anew, and nothing is left to drain.
                return if self.losses == losses { Err(error) } else { Ok(()) };
            }
        }
        self.upkeep.drain = (to < places).then_some(to);
        if self.upkeep.drain.is_none() {
            for rules in self.rules.iter_mut() {
                rules.former = None;
            }
        }
        Ok(())
    }

    /// Everything that changed goes to the store before the lane ends.
    pub(super) fn last_checkpoint(&mut self) -> Result<(), LogError> {
        self.settings.checkpoint_ms = 0;
        for _ in 0..1_000_000 {
            self.begin_checkpoint();
            if self.upkeep.round.is_none() {
                return Ok(());
            }
            self.go_on_with_checkpoint()?;
            // Waiting for all of it to be durable would make a generation of every piece, and much merging of many.
            if self.upkeep.is_held_up() {
                self.store.wait_for_room(STORE_PATIENCE);
            }
        }
        Ok(())
    }
}
