//! Answers on their way to whoever waits for them: one caller, one stream, or whoever asks for an offset of a log of
//! commands.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::log::{Block, Entry};
use crate::message::{AggregateId, AggregateType, Command, CommandId};

/// A command on its way in, and where its answer goes.
#[derive(Debug)]
pub struct Submission {
    /// The command.
    pub command: Command,
    /// Who waits for the answer.
    pub reply: Reply,
}

/// Who waits for an answer. Never blocks the lane.
#[derive(Debug)]
pub enum Reply {
    /// One caller waits for this one command.
    Once(oneshot::Sender<Result<Answered, Unanswered>>),
    /// One caller waits until this one command is certain to be answered: it is committed, or in its topic.
    Taken(oneshot::Sender<Result<(), Unanswered>>),
    /// A stream of commands: the answer goes to its box under its line number.
    Line(Arc<ReplyBox>, u64),
    /// Whoever asks for the answer to the command at this offset of the stream's log of commands.
    Fed(Arc<Awaited>, u32, u64),
}

impl Reply {
    /// Whether nobody waits for it any more, as far as that can be seen.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Once(to) => to.is_closed(),
            Self::Taken(to) => to.is_closed(),
            Self::Line(..) | Self::Fed(..) => false,
        }
    }

    /// Gives the answer to whoever waits. Nobody waiting any more is fine.
    pub fn send(self, answer: Result<Answered, Unanswered>) {
        match self {
            Self::Once(to) => drop(to.send(answer)),
            Self::Taken(to) => drop(to.send(answer.map(|_| ()))),
            Self::Line(to, line) => to.push([(line, answer)]),
            Self::Fed(to, stream, offset) => {
                // Without an answer the command comes again, from its log.
                if let Ok(answer) = answer {
                    to.answered([(stream, offset, answer)]);
                }
            }
        }
    }
}

/// A command of a log of commands that was answered: its stream and its offset there.
pub type Fed = (u32, u64, Answered);

/// Answers to commands of a log of commands: those that were given lately, and who waits for one.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<AwaitedInner>);

#[derive(Debug, Default)]
struct AwaitedInner {
    waiting: HashMap<(u32, u64), Reply>,
    /// Oldest first; of each stream in the order of its offsets.
    answered: VecDeque<Fed>,
    /// The newest answered offset of each stream.
    newest: HashMap<u32, u64>,
}

/// Answers that are kept for those who ask late.
const ANSWERED_KEPT: usize = 4_096;
/// Most who wait for an answer, those who gave up included.
const AWAITED_MAX: usize = 65_536;

impl Awaited {
    /// Commands were answered, given in the order of each stream's offsets.
    pub fn answered(&self, answers: impl IntoIterator<Item = Fed>) {
        let mut inner = self.0.lock().expect("no panic while held");
        let mut replies = Vec::new();
        for (stream, offset, answer) in answers {
            if !inner.waiting.is_empty()
                && let Some(reply) = inner.waiting.remove(&(stream, offset))
            {
                replies.push((reply, answer.clone()));
            }
            if inner.answered.len() == ANSWERED_KEPT {
                inner.answered.pop_front();
            }
            match inner.answered.back() {
                // Usually many of one stream in a row: only the last of them needs to be known as the newest.
                Some(&(before, last, _)) if before != stream => drop(inner.newest.insert(before, last)),
                _ => {}
            }
            inner.answered.push_back((stream, offset, answer));
        }
        drop(inner);
        for (reply, answer) in replies {
            reply.send(Ok(answer));
        }
    }

    /// Gives `reply` the answer to the command at an offset as soon as it is there. One that was given long ago does not
    /// come: it is asked for by the command's id.
    pub fn expect(&self, stream: u32, offset: u64, reply: Reply) {
        let mut inner = self.0.lock().expect("no panic while held");
        if let Some(answered) = inner.find(stream, offset) {
            drop(inner);
            return reply.send(Ok(answered));
        }
        if inner.waiting.len() >= AWAITED_MAX {
            inner.waiting.retain(|_, one| !one.is_given_up());
        }
        if inner.waiting.len() < AWAITED_MAX {
            inner.waiting.insert((stream, offset), reply);
        } else {
            reply.send(Err(Unanswered::Interrupted));
        }
    }

    /// The lane is lost: whoever waits asks its next owner.
    pub fn forget(&self) {
        let inner = std::mem::take(&mut *self.0.lock().expect("no panic while held"));
        for reply in inner.waiting.into_values() {
            reply.send(Err(Unanswered::Interrupted));
        }
    }
}

impl AwaitedInner {
    fn find(&self, stream: u32, offset: u64) -> Option<Answered> {
        let last = self.answered.back().filter(|(of, ..)| *of == stream).map(|(_, last, _)| last);
        if last.or_else(|| self.newest.get(&stream)).is_none_or(|newest| offset > *newest) {
            return None;
        }
        let found = self.answered.iter().rev().find(|(of, at, _)| (*of, *at) == (stream, offset));
        found.map(|(.., answered)| answered.clone())
    }
}

/// The answers of one stream of commands. Bounded by its owner, who never has more than its window in flight.
#[derive(Debug, Default)]
pub struct ReplyBox {
    lines: Mutex<Vec<(u64, Result<Answered, Unanswered>)>>,
    arrived: Notify,
}

impl ReplyBox {
    /// Adds answers and wakes the owner once.
    pub fn push(&self, answers: impl IntoIterator<Item = (u64, Result<Answered, Unanswered>)>) {
        self.lines.lock().expect("no panic while held").extend(answers);
        self.arrived.notify_one();
    }

    /// Waits until there are answers and takes them all. Cancel-safe: answers are taken only when it returns.
    pub async fn take(&self) -> Vec<(u64, Result<Answered, Unanswered>)> {
        loop {
            let arrived = self.arrived.notified();
            let lines = std::mem::take(&mut *self.lines.lock().expect("no panic while held"));
            if !lines.is_empty() {
                return lines;
            }
            arrived.await;
        }
    }
}

/// A committed answer: the block that holds it, and where in it.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The committed block.
    pub block: Block,
    /// Byte offset of the entry in the block.
    pub offset: u32,
    /// This command id was answered before; the entry is the first answer.
    pub repeated: bool,
}

impl Answered {
    /// The answered command.
    ///
    /// # Panics
    /// Never: whoever made this found the entry at this offset of a checked block.
    pub fn entry(&self) -> Entry<'_> {
        self.block.entry(self.offset).expect("the offset was read from this block")
    }
}

/// A command that is in its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Type of the aggregate.
    pub of: AggregateType,
    /// The aggregate.
    pub id: AggregateId,
    /// The command.
    pub command_id: CommandId,
    /// Its offset in its partition of the topic.
    pub offset: u64,
}

/// A command got no outcome (yet): whether it will have one is not known here. Ask again with the same command id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The host is stopping or its lane was lost before the commit was certain.
    #[error("the host is stopping or lost the lane; send the command again with the same command id")]
    Interrupted,
    /// It is in its topic, and the host that owns this lane answers it.
    #[error("the command is in its topic and is answered by the host that owns its lane: ask for its outcome")]
    Elsewhere(Box<Appended>),
    /// Its topic does not take so large a record: nothing was recorded.
    #[error("{0}")]
    TooLarge(String),
    /// The disk is full; nothing was committed.
    #[error("{0}")]
    DiskFull(String),
    /// The log cannot be written any more; the host acknowledges nothing until it is restarted.
    #[error("{0}")]
    LogFailed(String),
}
