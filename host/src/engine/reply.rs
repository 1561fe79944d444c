//! Answers on their way to whoever waits for them: one caller, one stream, or whoever asks for an offset of a log of
//! commands ([`Awaited`]).

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::Awaited;
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
    pub(super) fn is_given_up(&self) -> bool {
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
