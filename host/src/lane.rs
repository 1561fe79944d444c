//! The loop: one owner, one thread, some partitions. Commands in, decided and staged; one commit on its way at a time;
//! committed, then answered. A stranger who reads [`Lane::serve`] has seen the way of every command.
//!
//! Invariants:
//! - An answer is given only after the block that holds it is committed.
//! - At most one block is on its way; what is decided meanwhile goes into the next one. No timer is in that path: an idle
//!   lane commits one command at once, a busy one whatever was decided during the last commit.
//! - What is in memory is a cache of the log: after any doubt about a commit it is dropped and read back.

pub mod cases;
pub mod inbox;
mod load;
mod reads;
mod redo;
mod restore;
pub mod rules;
mod settle;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::decider::RuleBook;
use crate::engine::{Reply, Submission, Unanswered};
use crate::log::{BlockBuilder, History, LaneLog, LogError, Lsn, Offsets};
use crate::message::{Command, Digest, FailureReason};
use crate::state_machine::aggregates::Index;
use crate::state_machine::{Applied, StateMachine, Touched};
use crate::store::{Key, Store};

pub(crate) use settle::answer_in;

use inbox::{Asked, Control, Inbox, Work};
use redo::Redo;
use rules::LaneRules;
use upkeep::Upkeep;

/// Commands taken from the inbox at once, so that a commit that came back is seen soon.
const TAKEN_AT_ONCE: usize = 128;

/// Rest between two pieces of upkeep where nothing else is to do: what brokers and clients on the same cores do goes first.
const UPKEEP_REST: Duration = Duration::from_millis(1);
/// How long to wait before the store is asked again to take what it had no room for.
const STORE_PATIENCE: Duration = Duration::from_millis(2);

/// What one lane is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which lane this is, from 0.
    pub lane: u32,
    /// How many lanes there are.
    pub lanes: u32,
    /// How many partitions there are.
    pub partitions: u32,
    /// Most commands in one block.
    pub batch_commands_max: usize,
    /// Bytes after which a block takes no further command.
    pub batch_bytes_max: usize,
    /// Most aggregates kept in memory by this lane.
    pub resident_aggregates_max: usize,
    /// Bytes of one decider's memory above which states are evicted.
    pub decider_bytes_max: usize,
    /// Changed aggregates after which the store is brought up to date.
    pub checkpoint_aggregates: usize,
    /// Milliseconds after which it is in any case, if something changed.
    pub checkpoint_ms: u64,
    /// Bytes of log after which it is in any case, so that a restart reads no more than about this.
    pub checkpoint_log_bytes: u64,
}

/// What others may see of a lane while it runs.
#[derive(Debug, Default)]
pub struct Board {
    /// The lane is to run on this host.
    pub wanted: AtomicBool,
    /// The lane is restored and decides.
    pub ready: AtomicBool,
    /// Events folded by the restore so far.
    pub events_restored: AtomicU64,
    /// Commands answered since the start.
    pub commands_answered: AtomicU64,
    /// Blocks committed since the start.
    pub commits: AtomicU64,
    /// Aggregates in memory.
    pub aggregates: AtomicU64,
    /// Aggregates that are quarantined.
    pub quarantined: AtomicU64,
    /// Offsets that an open transaction keeps from being read, in the partition that has the most of them.
    pub open_offsets: AtomicU64,
    /// Milliseconds for which the oldest such transaction has been seen.
    pub open_ms: AtomicU64,
    /// Digest of the current rules of each type.
    pub digests: Mutex<Vec<(String, Digest)>>,
    /// The newest committed blocks: what really happened, to try new rules on.
    pub newest_blocks: Mutex<VecDeque<Lsn>>,
    /// Woken after each commit.
    pub settled: tokio::sync::Notify,
}

/// Blocks a board names.
const NEWEST_BLOCKS: usize = 32;

impl Board {
    /// The lane is not here any more: nothing is in memory, and no rules decide.
    fn vacate(&self) {
        for gauge in [&self.aggregates, &self.quarantined, &self.open_offsets, &self.open_ms] {
            gauge.store(0, Ordering::Relaxed);
        }
        self.digests.lock().expect("no panic while held").clear();
    }

    /// Notes a committed block.
    fn note(&self, lsn: Lsn) {
        let mut newest = self.newest_blocks.lock().expect("no panic while held");
        if newest.len() == NEWEST_BLOCKS {
            newest.pop_front();
        }
        newest.push_back(lsn);
    }
}

/// Why a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and everything it took is answered.
    Stopped,
    /// The lane was given to another host.
    Revoked,
    /// It cannot go on; the text says why and what to do.
    Failed(String),
}

/// Somebody who waits for the answer at an offset of a block.
struct Waiter {
    reply: Reply,
    applied: Applied,
}

/// A block and those who wait for it.
#[derive(Default)]
struct Staged {
    block: BlockBuilder,
    waiters: Vec<Waiter>,
}

/// One lane: the unit of ownership, of fencing and of commit.
pub struct Lane {
    settings: Settings,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    log: Box<dyn LaneLog>,
    history: Arc<dyn History>,
    store: Arc<Store>,
    book: Arc<dyn RuleBook>,
    rules: LaneRules,
    machine: StateMachine,
    /// Decided and not handed over yet.
    staged: Staged,
    /// On its way: its number and who waits.
    in_flight: Option<(u64, Vec<Waiter>)>,
    /// The ownership is being proved, for reads that wait for it.
    proving: bool,
    /// Reads that wait until what is staged is settled, or the ownership is proved.
    parked: Vec<Asked>,
    /// What was heard while waiting for a commit, to be dealt with after it.
    unheard: VecDeque<Control>,
    /// A read waits for what is staged again and again: deciding rests for the length of one commit.
    reads_overdue: bool,
    /// Aggregates dropped with staged answers: to be loaded with a look into the log, as the store may lag.
    suspects: HashSet<Key>,
    upkeep: Upkeep,
    redo: Redo,
    /// The streams of this lane, as of its last take.
    streams: Vec<u32>,
    /// How often staged work was dropped.
    losses: u64,
    /// How often the lane was taken.
    takes: u64,
    stopping: bool,
}

/// The parts a lane is made of.
pub struct Parts {
    /// Its numbers.
    pub settings: Settings,
    /// How things reach it.
    pub inbox: Arc<Inbox>,
    /// What others see of it.
    pub board: Arc<Board>,
    /// Its side of the log; its `OnCommitted` tells the inbox.
    pub log: Box<dyn LaneLog>,
    /// The committed blocks.
    pub history: Arc<dyn History>,
    /// The state store.
    pub store: Arc<Store>,
    /// The active rules.
    pub book: Arc<dyn RuleBook>,
}

impl Lane {
    /// A lane that has not taken its ownership yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, inbox, board, log, history, store, book } = parts;
        Self {
            machine: StateMachine::new(0, Offsets::Dense),
            streams: Vec::new(),
            upkeep: Upkeep::new(),
            redo: Redo::default(),
            settings,
            inbox,
            board,
            log,
            history,
            store,
            book,
            rules: LaneRules::default(),
            staged: Staged::default(),
            in_flight: None,
            proving: false,
            parked: Vec::new(),
            reads_overdue: false,
            unheard: VecDeque::new(),
            suspects: HashSet::new(),
            losses: 0,
            takes: 0,
            stopping: false,
        }
    }

    /// Takes the lane, restores it, serves until it is told to stop.
    pub fn run(mut self) -> Ended {
        let ended = self.take_lane().and_then(|()| self.serve());
        self.board.ready.store(false, Ordering::Release);
        let ended = match ended {
            Ok(()) => {
                self.inbox.close("the host is stopping");
                self.inbox.answer_all(&Unanswered::Interrupted);
                Ended::Stopped
            }
            Err(error @ LogError::Revoked { .. }) => {
                let reason = error.to_string();
                tracing::info!(lane = self.settings.lane, "{reason}");
                self.inbox.close(&reason);
                self.interrupt(&Unanswered::Interrupted);
                self.inbox.answer_all(&Unanswered::Interrupted);
                Ended::Revoked
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(lane = self.settings.lane, "the lane stops: {reason}");
                self.inbox.close(&reason);
                self.interrupt(&Unanswered::LogFailed(reason.clone()));
                self.inbox.answer_all(&Unanswered::LogFailed(reason.clone()));
                Ended::Failed(reason)
            }
        };
        self.board.vacate();
        ended
    }

    /// The loop.
    fn serve(&mut self) -> Result<(), LogError> {
        loop {
            let work = self.inbox.take(self.appetite(), self.patience());
            self.turn(work)?;
            if self.stopping && self.is_quiet() && self.inbox.is_empty() {
                return self.last_checkpoint();
            }
        }
    }

    /// Once around: what was heard, then what is asked, then what follows from both.
    fn turn(&mut self, work: Work) -> Result<(), LogError> {
        let takes = self.takes;
        self.unheard.extend(work.control);
        while let Some(control) = self.unheard.pop_front() {
            self.hear(control)?;
        }
        let wanted = work.commands.iter().map(|one| &one.command);
        self.machine.aggregates.warm(wanted.map(Command::names));
        for submission in work.commands {
            // A take begins the feed of commands anew: what an earlier one brought comes again, behind what was lost.
            if self.takes == takes || submission.command.offset.is_none() {
                self.decide(submission)?;
            }
        }
        self.commit()?;
        self.answer_parked()?;
        self.prove()?;
        self.upkeep()
    }

    /// How many commands may be decided now: none while the block is full, a moment without staged work is wanted, or
    /// memory is.
    fn appetite(&self) -> usize {
        let full = self.staged.block.len() >= self.settings.batch_bytes_max;
        let most = self.settings.batch_commands_max.min(self.redo.most());
        let room = most.saturating_sub(self.staged.block.count() as usize);
        let rests = self.upkeep.wants_quiet || self.reads_overdue || self.overflows();
        if full || rests { 0 } else { room.min(TAKEN_AT_ONCE) }
    }

    /// How long to wait for something to do: hardly while there is upkeep that can go on, and no longer than until there is
    /// some.
    fn patience(&self) -> Option<Duration> {
        if self.has_block_to_hand_over() {
            // More was about to go along, and now a quiet moment is wanted first.
            Some(Duration::ZERO)
        } else if self.upkeep.is_held_up() {
            Some(STORE_PATIENCE)
        } else if self.stopping && self.is_quiet() {
            Some(Duration::ZERO)
        } else if self.upkeep.can_go_on(self.is_quiet()) {
            Some(UPKEEP_REST)
        } else {
            self.checkpoint_in()
        }
    }

    /// Something is staged, and the log would take it now.
    fn has_block_to_hand_over(&self) -> bool {
        !self.staged.block.is_empty() && self.in_flight.is_none() && !self.proving
    }

    /// Nothing is staged and nothing is on its way: memory is exactly what is committed.
    fn is_quiet(&self) -> bool {
        self.in_flight.is_none() && self.staged.block.is_empty()
    }

    fn hear(&mut self, control: Control) -> Result<(), LogError> {
        match control {
            Control::Committed(committed) => self.on_committed(committed),
            Control::Modules => {
                self.adopt_modules();
                if self.log.wants_new_take() { self.take_anew() } else { Ok(()) }
            }
            Control::Lost => Err(LogError::Revoked { lane: self.settings.lane }),
            Control::Broken(why) => Err(LogError::Fatal(why)),
            Control::Read(asked) => self.read(asked),
            Control::Stop => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    /// Answers one command into the staged block.
    fn decide(&mut self, submission: Submission) -> Result<(), LogError> {
        let Submission { mut command, reply } = submission;
        let losses = self.losses;
        let at = self.find_or_load(&command.aggregate_type, &command.aggregate_id)?;
        match self.answer(at, &mut command) {
            Ok(applied) => {
                self.staged.waiters.push(Waiter { reply, applied });
                Ok(())
            }
            // What was staged is gone, and this command with it: nothing of it was recorded.
            Err(_) if self.losses != losses => {
                reply.send(Err(Unanswered::Interrupted));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn answer(&mut self, at: Index, command: &mut Command) -> Result<Applied, LogError> {
        let module = self.current_digest(command.aggregate_type.as_str());
        self.machine.aggregates.get_mut(at).used = true;
        if let Some(applied) = self.machine.answer_undecided(at, module, command, &mut self.staged.block) {
            return Ok(applied);
        }
        if let Some(why) = self.redo.why(command) {
            return Ok(self.machine.fail(at, module, command, FailureReason::TooLarge, why, &mut self.staged.block));
        }
        // A fault costs the instance, not the command: it is tried once more on a fresh one with rebuilt state.
        let mut tries = 0;
        loop {
            tries += 1;
            if let Some(why) = self.make_resident(at)? {
                let block = &mut self.staged.block;
                return Ok(self.machine.fail(at, module, command, FailureReason::Quarantined, &why, block));
            }
            let Some(rules) = self.rules.get(command.aggregate_type.as_str()) else {
                return Err(LogError::Fatal(format!("no rules are active for type {}", command.aggregate_type)));
            };
            let decider = rules.current.decider.as_mut();
            match self.machine.decide(at, decider, module, command, &mut self.staged.block) {
                Ok(applied) => return Ok(applied),
                Err(fault) => {
                    self.after_fault(at, &fault);
                    if tries == 2 {
                        let message = format!("{} (module {module})", fault.message);
                        tracing::warn!(aggregate = %command.aggregate_id, command = %command.command_id, "command failed: {message}");
                        return Ok(self.machine.fail(
                            at,
                            module,
                            command,
                            fault.reason,
                            &message,
                            &mut self.staged.block,
                        ));
                    }
                }
            }
        }
    }

    /// Hands the staged block over, if there is one and none is on its way. What waits already goes along, as far as the
    /// block has room: a commit costs the same with few commands and with many.
    fn commit(&mut self) -> Result<(), LogError> {
        if !self.has_block_to_hand_over() {
            return Ok(());
        }
        if self.appetite() > 0 && self.inbox.has_commands() {
            return Ok(());
        }
        let Staged { block, waiters } = std::mem::take(&mut self.staged);
        self.in_flight = Some((self.machine.next_block(), waiters));
        match self.log.submit(block) {
            Ok(()) => Ok(()),
            Err(error) => self.on_lost(error),
        }
    }
}

/// What settling needs to know of the waiters of a block.
fn touched(waiters: &[Waiter]) -> Vec<Touched> {
    waiters.iter().map(|waiter| waiter.applied.touched).collect()
}
