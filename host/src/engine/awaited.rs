//! Who waits for an answer, and answers for those who ask late.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use super::{Answered, Appended, Reply, Unanswered};
use crate::log::Lsn;

/// A command of a log of commands that was answered: its stream, its offset there, and the answer.
pub type Fed = (u32, u64, Answered);

/// Answers to commands of a log of commands, by stream and offset: those that were given lately, and who waits for one.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<(u32, u64), Waiting>,
    /// For each stream, its newest answers.
    answered: HashMap<u32, Kept>,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
struct Waiting {
    reply: Reply,
    /// The command, if it is known: its answer can be asked for elsewhere.
    appended: Option<Box<Appended>>,
}

/// Answers of one stream. Their offsets rise.
#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<(u64, Answered)>,
    /// Bytes of the blocks that hold them.
    bytes: usize,
}

/// Answers of one stream that are kept for those who ask late.
const KEPT_MAX: usize = 1_024;
/// Bytes of blocks that they may keep in memory: a repeated command's first answer may lie in a block of its own.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most who wait for an answer, those who gave up included.
const AWAITED_MAX: usize = 65_536;

impl Awaited {
    /// Commands were answered: stream, offset and answer of each, those of a stream in the order of their offsets.
    pub fn answered(&self, answers: impl IntoIterator<Item = Fed>) {
        let mut inner = self.0.lock().expect("no panic while held");
        let mut told = Vec::new();
        for (stream, offset, answer) in answers {
            if !inner.waiting.is_empty()
                && let Some(Waiting { reply, .. }) = inner.waiting.remove(&(stream, offset))
            {
                told.push((reply, answer.clone()));
            }
            inner.answered.entry(stream).or_default().add(offset, answer);
        }
        drop(inner);
        for (reply, answer) in told {
            reply.send(Ok(answer));
        }
    }

    /// Gives `reply` the answer to the command at an offset as soon as it is there. One that was given long ago does not
    /// come: it is asked for by the command's id.
    pub fn expect(&self, stream: u32, offset: u64, reply: Reply, appended: Option<Box<Appended>>) {
        let mut inner = self.0.lock().expect("no panic while held");
        match inner.find(stream, offset) {
            Some(answered) => {
                drop(inner);
                reply.send(Ok(answered));
            }
            None => {
                if inner.waiting.len() >= AWAITED_MAX {
                    inner.waiting.retain(|_, one| !one.reply.is_given_up());
                }
                if inner.waiting.len() < AWAITED_MAX {
                    inner.waiting.insert((stream, offset), Waiting { reply, appended });
                } else {
                    reply.send(Err(Unanswered::Interrupted));
                }
            }
        }
    }

    /// Whether anybody waits for the answer to a command of a stream at an offset or behind it.
    pub fn is_awaited(&self, stream: u32, from: u64) -> bool {
        let inner = self.0.lock().expect("no panic while held");
        inner.waiting.keys().any(|&(of, offset)| of == stream && offset >= from)
    }

    /// The lane is lost: whoever waits asks its next owner. The commands are in their topic, and nobody sends them again.
    pub fn forget(&self) {
        let inner = std::mem::take(&mut *self.0.lock().expect("no panic while held"));
        for Waiting { reply, appended } in inner.waiting.into_values() {
            reply.send(Err(appended.map_or(Unanswered::Interrupted, Unanswered::Elsewhere)));
        }
    }
}

impl Inner {
    fn find(&self, stream: u32, offset: u64) -> Option<Answered> {
        let answers = &self.answered.get(&stream)?.answers;
        let at = answers.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        answers.get(at).map(|(_, answer)| answer.clone())
    }
}

impl Kept {
    fn add(&mut self, offset: u64, answer: Answered) {
        // A lane that is taken anew answers again what was answered and not heard of.
        while self.answers.back().is_some_and(|(last, _)| *last >= offset) {
            let gone = self.answers.pop_back();
            self.without(gone, self.answers.back().map(block));
        }
        if self.answers.back().map(block) != Some(answer.block.lsn()) {
            self.bytes += answer.block.bytes().len();
        }
        self.answers.push_back((offset, answer));
        while self.answers.len() > KEPT_MAX || (self.bytes > KEPT_BYTES_MAX && self.answers.len() > 1) {
            let gone = self.answers.pop_front();
            self.without(gone, self.answers.front().map(block));
        }
    }

    /// Counts the bytes of an answer's block no more, unless its neighbour is in the same.
    fn without(&mut self, gone: Option<(u64, Answered)>, neighbour: Option<Lsn>) {
        if let Some(gone) = gone.filter(|gone| neighbour != Some(block(gone))) {
            self.bytes -= gone.1.block.bytes().len();
        }
    }
}

fn block(one: &(u64, Answered)) -> Lsn {
    one.1.block.lsn()
}

#[cfg(test)]
mod tests;
