//! Questions only the lane can answer. Between batches, from committed state: a read of an aggregate with staged changes
//! waits until they are settled, so that it never shows what may yet be dropped, nor less than what was answered. An
//! aggregate that always has some is given a moment without: deciding rests for one commit. And only while the lane is known
//! to be ours (R8): a read waits for a commit that proves it, if the last one is too old.

use super::Lane;
use super::inbox::{Asked, Read};
use crate::clock::boot_time;
use crate::decider::Form;
use crate::engine::{ReadError, StateView};
use crate::log::LogError;
use crate::message::{AggregateId, AggregateType, partition_of};
use crate::state_machine::aggregates::Index;
use crate::state_machine::recent::At;
use crate::store::Key;

/// Most reads that wait.
const PARKED_MAX: usize = 4096;

impl Lane {
    /// Answers a read, or parks it until what it would show is settled and the ownership is proved.
    pub(super) fn read(&mut self, asked: Asked) -> Result<(), LogError> {
        if !self.would_show_staged(&asked.read) && self.is_proved_for(&asked) {
            return self.answer_read(asked.read);
        }
        if self.parked.len() < PARKED_MAX {
            self.parked.push(asked);
        } else {
            asked.read.refuse();
        }
        Ok(())
    }

    /// Whether the answer is staged, and may yet be dropped.
    fn would_show_staged(&self, read: &Read) -> bool {
        let found = |of: &AggregateType, id: &AggregateId| {
            let at = self.machine.aggregates.find(of.as_str(), id.as_str())?;
            Some(self.machine.aggregates.get(at)).filter(|one| one.is_staged())
        };
        match read {
            Read::State(of, id, _) => found(of, id).is_some(),
            Read::Known(of, id, command, _) => found(of, id)
                .and_then(|one| one.recent.find(command.as_str()))
                .is_some_and(|known| matches!(known.at(), At::Staged(_))),
            Read::Version(..) | Read::Unstored(..) => false,
        }
    }

    /// A block was settled: reads that still wait for what is staged behind it have waited long enough.
    pub(super) fn look_after_reads(&mut self) {
        self.reads_overdue = self.parked.iter().any(|asked| self.would_show_staged(&asked.read));
    }

    fn is_proved_for(&self, asked: &Asked) -> bool {
        let recent = || boot_time().saturating_sub(self.log.proof_age_max());
        self.log.proved_at() >= asked.since.unwrap_or_else(recent)
    }

    /// Has the ownership proved, if reads wait for that and no commit is on its way, which would do as well.
    pub(super) fn prove(&mut self) -> Result<(), LogError> {
        let idle = self.in_flight.is_none() && !self.proving;
        if !idle || self.parked.iter().all(|asked| self.is_proved_for(asked)) {
            return Ok(());
        }
        self.proving = true;
        match self.log.prove() {
            Ok(()) => Ok(()),
            Err(error) => self.on_lost(error),
        }
    }

    /// Answers the parked reads that wait for nothing any more.
    pub(super) fn answer_parked(&mut self) -> Result<(), LogError> {
        for asked in std::mem::take(&mut self.parked) {
            self.read(asked)?;
        }
        Ok(())
    }

    fn answer_read(&mut self, read: Read) -> Result<(), LogError> {
        match read {
            Read::State(aggregate_type, id, reply) => {
                let answer = self.state(&aggregate_type, &id)?;
                drop(reply.send(answer));
            }
            Read::Version(aggregate_type, id, reply) => {
                let at = self.existing(&aggregate_type, &id)?;
                drop(reply.send(Ok(at.map_or(0, |at| self.machine.aggregates.get(at).settled_version))));
            }
            Read::Known(aggregate_type, id, command, reply) => {
                let at = self.existing(&aggregate_type, &id)?;
                let known = at.and_then(|at| self.machine.aggregates.get(at).recent.find(command.as_str()));
                let lsn = known.and_then(|known| match known.at() {
                    At::Settled(lsn) => Some(lsn),
                    At::Staged(_) => None,
                });
                drop(reply.send(Ok(lsn)));
            }
            Read::Unstored(aggregate_type, after, reply) => {
                let after = after.as_deref().unwrap_or("");
                let outbox = self.upkeep.outbox_of(&aggregate_type).filter(|(id, version)| *id > after && *version > 0);
                let outbox = outbox.map(|(id, version)| (id.to_owned(), version));
                let of_type = |of: &AggregateType| *of == aggregate_type;
                let ids = self
                    .machine
                    .aggregates
                    .iter()
                    .filter(|(_, one)| one.dirty && one.settled_version > 0 && of_type(&one.aggregate_type))
                    .filter(|(_, one)| one.aggregate_id.as_str() > after)
                    .map(|(_, one)| (one.aggregate_id.as_str().to_owned(), one.settled_version));
                drop(reply.send(outbox.chain(ids).collect()));
            }
        }
        Ok(())
    }

    /// The aggregate in memory, loaded if the store has it; an id nobody ever used takes no memory.
    fn existing(&mut self, aggregate_type: &AggregateType, id: &AggregateId) -> Result<Option<Index>, LogError> {
        if let Some(at) = self.machine.aggregates.find(aggregate_type.as_str(), id.as_str()) {
            return Ok(Some(at));
        }
        let key = || Key { aggregate_type: aggregate_type.clone(), aggregate_id: id.clone() };
        let suspect = !self.suspects.is_empty() && self.suspects.contains(&key());
        if !suspect && matches!(self.store.get(aggregate_type.as_str(), id.as_str()), Ok(None)) {
            return Ok(None);
        }
        let partition = partition_of(id.as_str(), self.settings.partitions);
        if self.log.stream_of(aggregate_type.as_str(), partition).is_none() {
            return Ok(None);
        }
        self.find_or_load(aggregate_type, id).map(Some)
    }

    fn state(
        &mut self,
        aggregate_type: &AggregateType,
        id: &AggregateId,
    ) -> Result<Result<Option<StateView>, ReadError>, LogError> {
        let Some(at) = self.existing(aggregate_type, id)? else { return Ok(Ok(None)) };
        self.machine.aggregates.get_mut(at).used = true;
        let version = self.machine.aggregates.get(at).version;
        if version == 0 {
            return Ok(Ok(None));
        }
        let module = self.current_digest(aggregate_type.as_str());
        if let Some(why) = self.make_resident(at)? {
            return Ok(Err(ReadError::Quarantined(why)));
        }
        let Some(rules) = self.rules.get(aggregate_type.as_str()) else {
            return Ok(Err(ReadError::UnknownType(aggregate_type.as_str().to_owned())));
        };
        let mut state = Vec::new();
        match rules.current.decider.snapshot(at, Form::Named, &mut state) {
            Ok(()) => {
                let age = boot_time().saturating_sub(self.log.proved_at());
                Ok(Ok(Some(StateView { version, state, module, age })))
            }
            Err(fault) => {
                self.after_fault(at, &fault);
                Ok(Err(ReadError::Broken(format!("module {module} could not give the state: {fault}"))))
            }
        }
    }
}

impl Read {
    /// Tells whoever asks to come again.
    fn refuse(self) {
        match self {
            Self::State(.., reply) => drop(reply.send(Err(ReadError::Busy))),
            Self::Version(.., reply) => drop(reply.send(Err(ReadError::Busy))),
            Self::Known(.., reply) => drop(reply.send(Err(ReadError::Busy))),
            // Whoever waits sees that nobody will answer.
            Self::Unstored(.., reply) => drop(reply),
        }
    }
}
