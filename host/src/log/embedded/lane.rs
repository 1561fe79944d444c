//! One owner's handle to a lane.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use super::super::segment::Reader;
use super::super::segment::format::{KIND_ENTRIES, KIND_OWNER, PAYLOAD_BYTES_MAX};
use super::super::{Block, BlockBuilder, LaneLog, LogError, Lsn, OnCommitted, Term};
use super::committer::{Answer, Shared, Submission};

/// Which lane it is, and among how many.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub lane: u32,
    pub lanes: u32,
    pub partitions: u32,
}

impl Place {
    /// Whether a block may hold entries of this lane's partitions. A block holds partitions of the lane that wrote it,
    /// which were dealt out differently if the number of lanes was another.
    fn concerns(&self, block: &Block) -> bool {
        if block.lanes() == self.lanes {
            return block.lane() == self.lane;
        }
        let theirs = |partition: u32| partition % block.lanes().max(1) == block.lane();
        (self.lane..self.partitions).step_by(self.lanes as usize).any(theirs)
    }
}

/// A lane of an embedded log, as one owner sees it. Two handles of the same lane fence each other.
pub struct EmbeddedLane {
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    place: Place,
    on_committed: Arc<OnCommitted>,
    in_flight: Arc<AtomicBool>,
    /// Count of the ownership it has, and its term.
    owned: Option<(u64, Term)>,
    text: String,
}

impl fmt::Debug for EmbeddedLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLane").field("place", &self.place).field("owned", &self.owned).finish_non_exhaustive()
    }
}

impl EmbeddedLane {
    pub(super) fn new(
        shared: Arc<Shared>,
        reader: Arc<Reader>,
        place: Place,
        on_committed: OnCommitted,
        text: String,
    ) -> Self {
        let in_flight = Arc::new(AtomicBool::new(false));
        Self { shared, reader, place, on_committed: Arc::new(on_committed), in_flight, owned: None, text }
    }
}

impl LaneLog for EmbeddedLane {
    fn streams(&mut self) -> Result<Vec<u32>, LogError> {
        Ok((self.place.lane..self.place.partitions).step_by(self.place.lanes as usize).collect())
    }

    fn take(&mut self, from: Lsn, replay: &mut dyn FnMut(&Block) -> Result<(), LogError>) -> Result<Term, LogError> {
        self.owned = None;
        let count = self.shared.fence(self.place.lane)?;
        let (to, answer) = mpsc::sync_channel(1);
        self.shared.submit(Submission {
            lane: self.place.lane,
            lanes: self.place.lanes,
            ownership: count,
            kind: KIND_OWNER,
            term: None,
            index: Vec::new(),
            block: Some(BlockBuilder::owner(&self.text)),
            answer: Some(Answer::Taker(to)),
        })?;
        let record = answer.recv().map_err(|_| LogError::Fatal("the log's thread ended".to_owned()))??;
        for block in self.reader.iterate(from.min(record.lsn()), record.lsn()) {
            let block = block?;
            if block.kind() == KIND_ENTRIES && self.place.concerns(&block) {
                replay(&block)?;
            }
        }
        let term = Term(record.term());
        self.owned = Some((count, term));
        Ok(term)
    }

    fn submit(&mut self, mut block: BlockBuilder) -> Result<(), LogError> {
        let lane = self.place.lane;
        let (ownership, term) = self.owned.ok_or(LogError::Fenced { lane })?;
        if block.len() > PAYLOAD_BYTES_MAX as usize {
            // Such a block could be written, and never read again.
            let bytes = block.len();
            return Err(LogError::Fatal(format!(
                "lane {lane} handed over a block of {bytes} bytes; at most {PAYLOAD_BYTES_MAX} are possible: lower the \
                 bytes of a batch"
            )));
        }
        if self.in_flight.swap(true, Ordering::AcqRel) {
            return Err(LogError::Fatal(format!("lane {lane} handed over a block while another was on its way")));
        }
        let index = block.take_index();
        let answer = Answer::Lane { on: Arc::clone(&self.on_committed), in_flight: Arc::clone(&self.in_flight) };
        let handed = self.shared.submit(Submission {
            lane,
            lanes: self.place.lanes,
            ownership,
            kind: KIND_ENTRIES,
            term: Some(term),
            index,
            block: Some(block),
            answer: Some(answer),
        });
        if handed.is_err() {
            self.owned = None;
            self.in_flight.store(false, Ordering::Release);
        }
        handed
    }
}
