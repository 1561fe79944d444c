//! How everything reaches a lane: one bounded queue of commands, and one of everything else, taken together.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use crate::engine::{ReadError, Refused, StateView, Submission, Unanswered};
use crate::log::{Committed, Lsn};
use crate::message::{AggregateId, AggregateType, CommandId};

/// Bytes are counted in units of this size, so that a semaphore can hold them.
const UNIT_BYTES: usize = 256;

/// Commands of a stream that are added at once.
const PIECE_MAX: usize = 256;

/// Reads waiting for a lane at once.
const READS_MAX: usize = 4096;

/// What a lane is told beside commands.
pub enum Control {
    /// The block on its way was committed, or not.
    Committed(Committed),
    /// The active modules changed.
    Modules,
    /// Somebody asks for what only the lane knows.
    Read(Asked),
    /// Answer what is queued, then end.
    Stop,
    /// The lane was given to another host: drop everything and end.
    Lost,
    /// Commands cannot be read on; the text says why and what to do.
    Broken(String),
}

/// A question, and how current its answer must be.
pub struct Asked {
    /// The question.
    pub read: Read,
    /// The ownership of the lane must have been proved after this moment, on the clock of [`crate::clock::boot_time`];
    /// without one a proof that is not too old will do.
    pub since: Option<Duration>,
}

/// A question to a lane. Answered between batches, from committed state only.
pub enum Read {
    /// The current state.
    State(AggregateType, AggregateId, oneshot::Sender<Result<Option<StateView>, ReadError>>),
    /// The current version, the decided blocks up to here included in the log's index.
    Version(AggregateType, AggregateId, oneshot::Sender<Result<u64, ReadError>>),
    /// Block of the answer to a command id the aggregate still remembers.
    Known(AggregateType, AggregateId, CommandId, oneshot::Sender<Result<Option<Lsn>, ReadError>>),
    /// Ids and versions of this lane's aggregates in memory that the store may not have, after an id.
    Unstored(AggregateType, Option<String>, oneshot::Sender<Vec<(String, u64)>>),
}

/// What a lane takes out at once.
#[derive(Default)]
pub struct Work {
    /// Commands in order of arrival.
    pub commands: VecDeque<Submission>,
    /// Everything else, in order of arrival.
    pub control: VecDeque<Control>,
}

struct Queues {
    work: Work,
    /// Commands from a log of commands, in its order, with their units.
    fed: VecDeque<Submission>,
    fed_units: u32,
    /// Counts feeds: what an earlier one brings is not taken any more.
    feed: u64,
    /// No commands are taken any more, and why.
    closed: Option<String>,
}

/// The way into one lane.
pub struct Inbox {
    queues: Mutex<Queues>,
    arrived: Condvar,
    fed_room: Condvar,
    commands_max: usize,
    room: Semaphore,
    room_units: Semaphore,
    units_max: u32,
    reads: Semaphore,
}

fn units_of(submission: &Submission) -> u32 {
    let command = &submission.command;
    let bytes = command.body.len() + command.metadata.len() + command.aggregate_id.as_str().len() + UNIT_BYTES;
    bytes.div_ceil(UNIT_BYTES) as u32
}

impl Inbox {
    /// One that holds at most `commands_max` commands of together `bytes_max` bytes.
    pub fn new(commands_max: usize, bytes_max: usize) -> Self {
        let units_max = bytes_max.div_ceil(UNIT_BYTES).max(1) as u32;
        Self {
            queues: Mutex::new(Queues {
                work: Work::default(),
                fed: VecDeque::new(),
                fed_units: 0,
                feed: 0,
                closed: None,
            }),
            arrived: Condvar::new(),
            fed_room: Condvar::new(),
            commands_max: commands_max.max(1),
            room: Semaphore::new(commands_max.max(1)),
            room_units: Semaphore::new(units_max as usize),
            units_max,
            reads: Semaphore::new(READS_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("no panic while the inbox is held")
    }

    /// Adds one command if there is room.
    ///
    /// # Errors
    /// [`Refused::Busy`] or [`Refused::Unavailable`]; the submission is dropped.
    pub fn try_push(&self, submission: Submission) -> Result<(), Refused> {
        let busy = |_: TryAcquireError| Refused::Busy;
        let units = units_of(&submission).min(self.units_max);
        let one = self.room.try_acquire().map_err(busy)?;
        let bytes = self.room_units.try_acquire_many(units).map_err(busy)?;
        let mut queues = self.lock();
        if let Some(why) = &queues.closed {
            return Err(Refused::Unavailable(why.clone()));
        }
        one.forget();
        bytes.forget();
        queues.work.commands.push_back(submission);
        drop(queues);
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds commands in order, waiting for room.
    ///
    /// # Errors
    /// [`Refused::Unavailable`]: those not added were answered [`Unanswered::Interrupted`].
    pub async fn push(&self, submissions: Vec<Submission>) -> Result<(), Refused> {
        let mut rest = submissions.into_iter().peekable();
        while rest.peek().is_some() {
            let mut piece = Vec::new();
            let mut units = 0;
            while let Some(next) = rest.peek()
                && piece.len() < PIECE_MAX.min(self.commands_max)
                && (piece.is_empty() || units + units_of(next) <= self.units_max / 4)
            {
                units += units_of(next).min(self.units_max);
                piece.extend(rest.next());
            }
            // Both semaphores are never closed, so acquiring can only wait.
            let (Ok(count), Ok(bytes)) =
                (self.room.acquire_many(piece.len() as u32).await, self.room_units.acquire_many(units).await)
            else {
                return Err(interrupt(piece.into_iter().chain(rest), "the host is stopping"));
            };
            let mut queues = self.lock();
            if let Some(why) = queues.closed.clone() {
                drop(queues);
                return Err(interrupt(piece.into_iter().chain(rest), &why));
            }
            count.forget();
            bytes.forget();
            queues.work.commands.extend(piece);
            drop(queues);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Begins a new feed from the log of commands: what an earlier one brought is dropped, as it will come again.
    pub fn begin_feed(&self) -> u64 {
        let mut queues = self.lock();
        queues.fed.clear();
        queues.fed_units = 0;
        queues.feed += 1;
        let feed = queues.feed;
        drop(queues);
        self.fed_room.notify_all();
        feed
    }

    /// Adds commands of a feed in order, waiting for room. Returns whether the feed is still the current one.
    pub fn feed(&self, feed: u64, submissions: Vec<Submission>) -> bool {
        let units: u32 = submissions.iter().map(units_of).sum();
        let mut queues = self.lock();
        while queues.feed == feed && (queues.fed.len() >= self.commands_max || queues.fed_units >= self.units_max) {
            queues = self.fed_room.wait(queues).expect("no panic while the inbox is held");
        }
        if queues.feed != feed {
            return false;
        }
        queues.fed_units += units;
        queues.fed.extend(submissions);
        drop(queues);
        self.arrived.notify_one();
        true
    }

    /// Tells the lane something. Bounded by its senders: one commit is on its way at a time, modules change seldom.
    pub fn tell(&self, control: Control) {
        self.lock().work.control.push_back(control);
        self.arrived.notify_one();
    }

    /// Asks the lane something.
    ///
    /// # Errors
    /// [`ReadError::Busy`] if too many questions wait, [`ReadError::Unavailable`] if the lane takes none.
    pub fn ask(&self, asked: Asked) -> Result<(), ReadError> {
        let permit = self.reads.try_acquire().map_err(|_| ReadError::Busy)?;
        let mut queues = self.lock();
        if let Some(why) = &queues.closed {
            return Err(ReadError::Unavailable(why.clone()));
        }
        permit.forget();
        queues.work.control.push_back(Control::Read(asked));
        drop(queues);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes at most `commands_max` commands and everything else. Waits until there is something to take, or until
    /// `patience` has passed if given.
    pub fn take(&self, commands_max: usize, patience: Option<Duration>) -> Work {
        let mut queues = self.lock();
        let nothing = |q: &mut Queues| {
            q.work.control.is_empty() && (commands_max == 0 || (q.work.commands.is_empty() && !q.has_fed()))
        };
        queues = match patience {
            None => self.arrived.wait_while(queues, nothing).expect("no panic while the inbox is held"),
            Some(limit) => {
                self.arrived.wait_timeout_while(queues, limit, nothing).expect("no panic while the inbox is held").0
            }
        };
        let control = std::mem::take(&mut queues.work.control);
        let mut commands = if queues.work.commands.len() <= commands_max {
            std::mem::take(&mut queues.work.commands)
        } else {
            queues.work.commands.drain(..commands_max).collect()
        };
        let own = commands.len();
        if queues.has_fed() {
            let most = queues.fed.len().min(commands_max - own);
            commands.extend(queues.fed.drain(..most));
            queues.fed_units -= commands.iter().skip(own).map(units_of).sum::<u32>();
            self.fed_room.notify_all();
        }
        drop(queues);
        self.give_back(commands.iter().take(own), &control);
        Work { commands, control }
    }

    /// There is room again for as many as these.
    fn give_back<'a>(&self, commands: impl ExactSizeIterator<Item = &'a Submission>, control: &VecDeque<Control>) {
        self.reads.add_permits(control.iter().filter(|one| matches!(one, Control::Read(_))).count());
        if commands.len() > 0 {
            self.room.add_permits(commands.len());
            let units: u32 = commands.map(|one| units_of(one).min(self.units_max)).sum();
            self.room_units.add_permits(units as usize);
        }
    }

    /// Takes no commands any more; later ones are refused with `why`. What is queued stays queued.
    pub fn close(&self, why: &str) {
        self.lock().closed = Some(why.to_owned());
    }

    /// Takes commands again.
    pub fn open(&self) {
        self.lock().closed = None;
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.lock().work.commands.is_empty()
    }

    /// Whether a command waits that may be taken.
    pub fn has_commands(&self) -> bool {
        let queues = self.lock();
        !queues.work.commands.is_empty() || queues.has_fed()
    }

    /// Takes everything out without waiting and answers every command with `with`. Whoever asked something hears that
    /// nobody answers.
    pub fn answer_all(&self, with: &Unanswered) {
        let work = std::mem::take(&mut self.lock().work);
        self.give_back(work.commands.iter(), &work.control);
        for submission in work.commands {
            submission.reply.send(Err(with.clone()));
        }
    }
}

impl Queues {
    /// Whether a command of the feed may be taken: not any more once the lane is closed, as it stays in its log.
    fn has_fed(&self) -> bool {
        self.closed.is_none() && !self.fed.is_empty()
    }
}

fn interrupt(submissions: impl Iterator<Item = Submission>, why: &str) -> Refused {
    for submission in submissions {
        submission.reply.send(Err(Unanswered::Interrupted));
    }
    Refused::Unavailable(why.to_owned())
}
