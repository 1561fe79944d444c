//! An owner as the checks see it: it takes a lane, numbers its records densely, and knows what was acknowledged to it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use ordain_sdk::contract::{Frames, write_frame};

use super::super::segment::format::{Answer, Entry, EntryHead};
use super::super::test_kit::command;
use super::super::{Block, BlockBuilder, Committed, LaneLog, LogError, Lsn, Term};
use super::{Bench, LANES, PARTITIONS};
use crate::message::{Digest, partition_of};

/// Longer than any commit should take; the checks measure nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the checks compare of a command: its own text and its sequence.
pub type Record = (String, u64);

/// The records of blocks, in order.
pub fn records(blocks: &[Block]) -> Vec<Record> {
    let record = |entry: Entry<'_>| (text_of(&entry), entry.head.sequence);
    blocks.iter().flat_map(Block::entries).map(|(_, entry)| record(entry)).collect()
}

/// The text that a command's only event holds. A log that keeps the commands themselves must have it there too.
pub fn text_of(entry: &Entry<'_>) -> String {
    let Answer::Accepted { events, .. } = entry.answer else { panic!("the suite writes accepted commands only") };
    let event = Frames(events).next().expect("there is an event").expect("it is whole");
    let text: BTreeMap<String, String> = rmp_serde::from_slice(event).expect("it is what was written");
    let text = text.into_values().next().expect("there is one");
    assert!(entry.body.is_empty() || entry.body == text.as_bytes(), "the command is the one that was answered");
    text
}

/// An aggregate whose partition belongs to a lane, among [`LANES`].
pub fn id_of(lane: u32) -> String {
    (0..).map(|n| format!("id-{n}")).find(|id| partition_of(id, PARTITIONS) % LANES == lane).expect("there are many")
}

/// A handle and what it knows.
pub struct Owner {
    pub lane: u32,
    log: Box<dyn LaneLog>,
    answers: Receiver<Committed>,
    pub term: Term,
    /// What the last take replayed.
    pub replayed: Vec<Block>,
    /// The next record's number, from what was replayed and acknowledged since.
    pub next: u64,
}

impl Owner {
    pub fn new(bench: &dyn Bench, lane: u32) -> Self {
        // Far more than a check ever leaves unread: answers must never wait.
        let (to, answers) = sync_channel(1 << 16);
        let log = bench.lane(lane, Box::new(move |committed| drop(to.send(committed))));
        Self { lane, log, answers, term: Term(0), replayed: Vec::new(), next: 0 }
    }

    /// A handle that has taken the lane and knows everything before.
    pub fn taken(bench: &dyn Bench, lane: u32) -> Self {
        let mut owner = Self::new(bench, lane);
        owner.take(Lsn(0)).expect("the lane can be had");
        owner
    }

    /// Takes the lane and replays from an address; `next` follows only from a replay from 0.
    pub fn take(&mut self, from: Lsn) -> Result<Term, LogError> {
        let mut replayed = Vec::new();
        let term = self.log.take(from, &mut |block| {
            replayed.push(block.clone());
            Ok(())
        })?;
        assert!(replayed.windows(2).all(|pair| pair[0].lsn() < pair[1].lsn()), "replay is in order");
        assert!(replayed.iter().all(|block| block.lsn() >= from), "nothing before the start is replayed");
        assert!(replayed.iter().all(|block| block.term() < term.0), "nothing of a later owner is replayed");
        self.next = records(&replayed).last().map_or(0, |(_, sequence)| sequence + 1);
        (self.term, self.replayed) = (term, replayed);
        Ok(term)
    }

    /// A block of one command for the lane's own aggregate, numbered densely.
    pub fn block(&self, text: &str) -> BlockBuilder {
        self.block_of([text.to_owned()])
    }

    /// A block of several commands.
    pub fn block_of(&self, texts: impl IntoIterator<Item = String>) -> BlockBuilder {
        let mut block = BlockBuilder::new();
        let id = id_of(self.lane);
        for (n, text) in (self.next..).zip(texts) {
            let head = EntryHead { sequence: n, command_offset: n, version: n + 1, module: Digest([7; 32]) };
            let mut events = Vec::new();
            let event = rmp_serde::to_vec(&BTreeMap::from([("Said", &text)])).expect("a map of texts");
            write_frame(&mut events, &event);
            let answer = Answer::Accepted { count: 1, events: &events };
            block.push(&head, &command(&id, PARTITIONS, text.as_bytes()), &answer);
        }
        block
    }

    pub fn submit(&mut self, block: BlockBuilder) -> Result<(), LogError> {
        self.log.submit(block)
    }

    /// The answer to the block that was submitted.
    pub fn answer(&mut self) -> Committed {
        let answer = self.answers.recv_timeout(PATIENCE).expect("every block is answered");
        if let Ok(Some(block)) = &answer.result {
            self.next += u64::from(block.count());
        }
        answer
    }

    /// Whether an answer came that nobody waited for.
    pub fn has_answer(&self) -> bool {
        self.answers.try_recv().is_ok()
    }

    /// Submits a block and waits for its answer.
    pub fn commit(&mut self, block: BlockBuilder) -> Result<Block, LogError> {
        self.submit(block)?;
        self.answer().result.map(|block| block.expect("is a block"))
    }

    /// Commits a block of one command, which must work.
    pub fn write(&mut self, text: &str) -> Record {
        let block = self.commit(self.block(text)).expect("is committed");
        records(&[block]).remove(0)
    }
}
