//! Bringing an aggregate into memory and its state into the current decider, from wherever it is: the former decider,
//! the store, the log.

use std::sync::atomic::Ordering;

use super::{Control, Lane};
use crate::decider::{Fault, Form};
use crate::log::{Answer, Entry, LogError};
use crate::message::{AggregateId, AggregateType, Digest};
use crate::state_machine::aggregates::{Aggregate, Index};
use crate::state_machine::recent::{Recent, Remembered};
use crate::store::{Key, StoreError, Stored};

/// Bytes of events folded by one call, so that a call stays far below its time limit.
const FOLD_BYTES: usize = 64 * 1024;

impl Lane {
    /// Digest of the rules that decide for a type now; adopts them if this lane has not met the type yet.
    pub(super) fn current_digest(&mut self, aggregate_type: &str) -> Digest {
        if self.rules.get(aggregate_type).is_none() {
            self.adopt_modules();
        }
        self.rules.get(aggregate_type).map_or(Digest([0; 32]), |rules| rules.current.rules.digest())
    }

    /// Takes over what the rule book says is active. A module that cannot be started leaves the one before in place.
    pub(super) fn adopt_modules(&mut self) {
        let mut changed = false;
        for aggregate_type in self.book.types() {
            let Some(rules) = self.book.active(&aggregate_type) else { continue };
            let digest = rules.digest();
            match self.rules.adopt(&aggregate_type, rules) {
                Ok(false) => {}
                Ok(true) => {
                    changed = true;
                    self.upkeep.drain_former();
                    tracing::info!(lane = self.settings.lane, %digest, "rules of type {aggregate_type} taken");
                    // Newer rules may read what the former could not.
                    self.release_quarantine(&aggregate_type);
                }
                Err(fault) => tracing::error!(
                    lane = self.settings.lane,
                    %digest,
                    "the module for type {aggregate_type} could not be started, the one before goes on: {fault}"
                ),
            }
        }
        if changed {
            *self.board.digests.lock().expect("no panic while held") = self.rules.digests();
        }
    }

    fn release_quarantine(&mut self, aggregate_type: &str) {
        if self.board.quarantined.load(Ordering::Relaxed) == 0 {
            return;
        }
        for (_, aggregate) in self.machine.aggregates.iter_mut() {
            if aggregate.quarantined.is_some() && aggregate.aggregate_type.as_str() == aggregate_type {
                aggregate.quarantined = None;
                self.board.quarantined.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// An aggregate is not in memory any more.
    pub(super) fn left_memory(&self, aggregate: &Aggregate) {
        if aggregate.quarantined.is_some() {
            self.board.quarantined.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The aggregate in memory, brought there if it is not.
    pub(super) fn find_or_load(
        &mut self,
        aggregate_type: &AggregateType,
        aggregate_id: &AggregateId,
    ) -> Result<Index, LogError> {
        if let Some(at) = self.machine.aggregates.find(aggregate_type.as_str(), aggregate_id.as_str()) {
            return Ok(at);
        }
        let mut aggregate = Aggregate::unborn(aggregate_type.clone(), aggregate_id.clone());
        let mut look_into_log = !self.suspects.is_empty()
            && self
                .suspects
                .remove(&Key { aggregate_type: aggregate_type.clone(), aggregate_id: aggregate_id.clone() });
        match self.store.get(aggregate_type.as_str(), aggregate_id.as_str()) {
            Ok(Some(stored)) => {
                aggregate.version = stored.version;
                aggregate.settled_version = stored.version;
                aggregate.last = stored.last;
                aggregate.loaded_to = stored.last;
                aggregate.recent = remembered(&stored);
            }
            Ok(None) => {}
            Err(StoreError::Corrupt(why)) => {
                tracing::error!("{why}; {aggregate_type}/{aggregate_id} is read back from the log");
                look_into_log = true;
            }
            Err(error) => return Err(LogError::Fatal(error.to_string())),
        }
        if look_into_log {
            self.catch_up(&mut aggregate)?;
        }
        let at = self.machine.aggregates.insert(aggregate);
        if look_into_log {
            // The store must not be asked again before it was told.
            self.machine.aggregates.get_mut(at).dirty = true;
            self.upkeep.is_behind(at);
        }
        Ok(at)
    }

    /// Reads what the log has of an aggregate behind what it was loaded from.
    fn catch_up(&self, aggregate: &mut Aggregate) -> Result<(), LogError> {
        let (of, id) = (aggregate.aggregate_type.as_str(), aggregate.aggregate_id.as_str());
        for lsn in self.history.blocks_after(of, id, aggregate.last)? {
            let block = self.history.block(lsn)?;
            for (_, entry) in block.entries() {
                if is_of(&entry, aggregate) {
                    aggregate.replay(&entry, lsn).map_err(|error| LogError::Corrupt(error.to_string()))?;
                }
            }
        }
        aggregate.loaded_to = aggregate.last;
        Ok(())
    }

    /// Sees to it that the current decider holds the aggregate's state in the slot of its index. Returns why not, if the
    /// aggregate's committed events cannot be folded: then it is quarantined.
    pub(super) fn make_resident(&mut self, at: Index) -> Result<Option<String>, LogError> {
        let aggregate = self.machine.aggregates.get(at);
        if let Some(why) = &aggregate.quarantined {
            return Ok(Some(why.to_string()));
        }
        let aggregate_type = aggregate.aggregate_type.clone();
        let home = aggregate.home;
        let Some(rules) = self.rules.get(aggregate_type.as_str()) else {
            return Ok(Some(format!("no module is active for type {aggregate_type}")));
        };
        if home == rules.current.serial && aggregate.unfolded.is_none() {
            return Ok(None);
        }
        let mut fault = match self.move_in(at) {
            Ok(()) => return Ok(None),
            Err(Stuck::Log(error)) => return Err(error),
            Err(Stuck::Fault(fault)) => fault,
        };
        // Once more on a fresh instance and from the events themselves: a snapshot or an instance may be what is broken.
        self.after_fault(at, &fault);
        match self.rebuild(at, false) {
            Ok(()) => return Ok(None),
            Err(Stuck::Log(error)) => return Err(error),
            Err(Stuck::Fault(again)) => fault = again,
        }
        self.after_fault(at, &fault);
        Ok(Some(self.quarantine(at, &fault)))
    }

    fn quarantine(&mut self, at: Index, fault: &Fault) -> String {
        let digest = self.current_digest(self.machine.aggregates.get(at).aggregate_type.clone().as_str());
        let aggregate = self.machine.aggregates.get_mut(at);
        let why = format!(
            "the committed events of {}/{} cannot be folded by module {digest}: {}. Deploy a module that can; nothing was lost",
            aggregate.aggregate_type, aggregate.aggregate_id, fault.message
        );
        tracing::error!(lane = self.settings.lane, "aggregate quarantined: {why}");
        aggregate.quarantined = Some(why.as_str().into());
        self.board.quarantined.fetch_add(1, Ordering::Relaxed);
        why
    }

    /// The cheapest way to get the state into the current decider.
    fn move_in(&mut self, at: Index) -> Result<(), Stuck> {
        let aggregate = self.machine.aggregates.get(at);
        let (home, version) = (aggregate.home, aggregate.version);
        let Some(rules) = self.rules.get(aggregate.aggregate_type.as_str()) else { return Ok(()) };
        let current = &mut rules.current;
        if home == current.serial {
            // Resident, with events to fold: below.
        } else if home == 0 && version == 0 {
            current.decider.load(at, &[])?;
        } else if let Some(former) = rules.former.as_mut()
            && former.serial == home
            && former.rules.state_tag() == current.rules.state_tag()
        {
            let mut state = Vec::new();
            if let Err(fault) = former.decider.snapshot(at, Form::Compact, &mut state) {
                // It says nothing against the current rules, and nobody needs what the former hold: it is all in the log.
                tracing::warn!(lane = self.settings.lane, "states are not taken from former rules any more: {fault}");
                rules.former = None;
                return self.rebuild(at, true);
            }
            former.decider.release(at);
            current.decider.load(at, &state)?;
        } else {
            return self.rebuild(at, true);
        }
        let serial = current.serial;
        let aggregate = self.machine.aggregates.get_mut(at);
        aggregate.home = serial;
        if let Some(events) = aggregate.unfolded.take() {
            self.fold(at, &events)?;
        }
        Ok(())
    }

    /// State from the store if it is of the right layout (and `use_store`), then every later event from the log.
    fn rebuild(&mut self, at: Index, use_store: bool) -> Result<(), Stuck> {
        if self.machine.aggregates.get(at).is_staged() {
            self.wait_for_commit()?;
        }
        let aggregate = self.machine.aggregates.get(at);
        let (aggregate_type, id) = (aggregate.aggregate_type.clone(), aggregate.aggregate_id.clone());
        let settled_version = aggregate.settled_version;
        let Some(rules) = self.rules.get(aggregate_type.as_str()) else { return Ok(()) };
        let (serial, tag) = (rules.current.serial, rules.current.rules.state_tag());
        let stored = if use_store { self.store.get(aggregate_type.as_str(), id.as_str()).ok().flatten() } else { None };
        let stored =
            stored.filter(|one| one.state_tag == tag && !one.state.is_empty() && one.version <= settled_version);
        let (base, state) = stored.map_or((0, Vec::new()), |one| (one.version, one.state));
        rules.current.decider.load(at, &state)?;
        self.machine.aggregates.get_mut(at).home = serial;
        let unfolded = self.machine.aggregates.get_mut(at).unfolded.take();
        match unfolded {
            // What the restore kept continues exactly what the store had.
            Some(events) if self.machine.aggregates.get(at).unfolded_from == base => self.fold(at, &events)?,
            _ if settled_version > base => self.fold_history(at, base)?,
            _ => {}
        }
        self.fold_staged(at)
    }

    /// Folds the committed events after version `base`.
    fn fold_history(&mut self, at: Index, base: u64) -> Result<(), Stuck> {
        let aggregate = self.machine.aggregates.get(at);
        let (of, id) = (aggregate.aggregate_type.as_str(), aggregate.aggregate_id.as_str());
        let blocks = self.history.blocks_from(of, id, base + 1)?;
        let mut version = base;
        let mut frames = Vec::new();
        for lsn in blocks {
            let block = self.history.block(lsn)?;
            let aggregate = self.machine.aggregates.get(at);
            for (_, entry) in block.entries().filter(|(_, entry)| is_of(entry, aggregate)) {
                let Answer::Accepted { events, count } = entry.answer else { continue };
                if count > 0 && entry.version_before() == version {
                    frames.extend_from_slice(events);
                    version = entry.head.version;
                }
            }
            if frames.len() >= FOLD_BYTES {
                self.fold(at, &frames)?;
                frames.clear();
            }
        }
        let aggregate = self.machine.aggregates.get(at);
        if version != aggregate.settled_version {
            return Err(Stuck::Log(LogError::Corrupt(format!(
                "the index of the log leads to version {version} of {}/{}, but {} were committed: delete the .idx files, they are rebuilt at the next start",
                aggregate.aggregate_type, aggregate.aggregate_id, aggregate.settled_version
            ))));
        }
        self.fold(at, &frames)?;
        Ok(())
    }

    /// Folds what is decided but not handed over yet.
    fn fold_staged(&mut self, at: Index) -> Result<(), Stuck> {
        let aggregate = self.machine.aggregates.get(at);
        if aggregate.version == aggregate.settled_version {
            return Ok(());
        }
        let mut frames = Vec::new();
        for (_, entry) in self.staged.block.entries().filter(|(_, entry)| is_of(entry, aggregate)) {
            if let Answer::Accepted { events, .. } = entry.answer {
                frames.extend_from_slice(events);
            }
        }
        self.fold(at, &frames)?;
        Ok(())
    }

    fn fold(&mut self, at: Index, events: &[u8]) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        let aggregate_type = self.machine.aggregates.get(at).aggregate_type.clone();
        let Some(rules) = self.rules.get(aggregate_type.as_str()) else { return Ok(()) };
        for piece in pieces(events) {
            rules.current.decider.fold(at, piece)?;
        }
        Ok(())
    }

    /// Deals with a faulty slot or instance: neither is used again.
    pub(super) fn after_fault(&mut self, at: Index, fault: &Fault) {
        let aggregate = self.machine.aggregates.get_mut(at);
        aggregate.home = 0;
        let aggregate_type = aggregate.aggregate_type.clone();
        if fault.instance_lost {
            tracing::warn!(lane = self.settings.lane, "an instance of type {aggregate_type} is replaced: {fault}");
            if let Err(error) = self.rules.restart(aggregate_type.as_str()) {
                tracing::error!(lane = self.settings.lane, "a module that ran before cannot be started: {error}");
            }
        } else if let Some(rules) = self.rules.get(aggregate_type.as_str()) {
            rules.current.decider.release(at);
        }
    }

    /// Waits until nothing is on its way. Everything else that is heard meanwhile is dealt with later.
    ///
    /// # Errors
    /// Also if what was staged had to be dropped: indexes into memory are void then.
    pub(super) fn wait_for_commit(&mut self) -> Result<(), LogError> {
        let losses = self.losses;
        while self.in_flight.is_some() || self.proving {
            for control in self.inbox.take(0, None).control {
                match control {
                    Control::Committed(committed) => self.on_committed(committed)?,
                    other => self.unheard.push_back(other),
                }
            }
        }
        if self.losses == losses { Ok(()) } else { Err(LogError::Fenced { lane: self.settings.lane }) }
    }
}

/// Why a state could not be brought in: the rules cannot, or the log cannot.
enum Stuck {
    Fault(Fault),
    Log(LogError),
}

impl From<Fault> for Stuck {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<LogError> for Stuck {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Whether an entry belongs to an aggregate; blocks found by its key may hold others.
pub(super) fn is_of(entry: &Entry<'_>, aggregate: &Aggregate) -> bool {
    entry.aggregate_id == aggregate.aggregate_id.as_str() && entry.aggregate_type == aggregate.aggregate_type.as_str()
}

fn remembered(stored: &Stored) -> Recent {
    Recent::from_settled(
        stored.recent.iter().map(|one| Remembered::settled(one.id, one.body_hash, one.time_ms, one.at)),
    )
}

/// Cuts frames into pieces of about [`FOLD_BYTES`], each of whole frames.
fn pieces(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if frames.is_empty() {
            return None;
        }
        let mut end = 0;
        while end < frames.len() && end < FOLD_BYTES {
            let Some(head) = frames.get(end..end + 4).and_then(|head| <[u8; 4]>::try_from(head).ok()) else {
                end = frames.len();
                break;
            };
            end = (end + 4 + u32::from_le_bytes(head) as usize).min(frames.len());
        }
        let (piece, rest) = frames.split_at(end);
        frames = rest;
        Some(piece)
    })
}
