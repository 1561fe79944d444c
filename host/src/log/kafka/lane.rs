//! One lane's side of a log on Kafka, as one owner sees it.
//!
//! Invariant: a lane goes on only after a commit that came back as a plain success with exactly one EndTxn on the wire.
//! Everything else ends this ownership; the lane is taken anew, which tells what happened (R1).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use super::commit::{Committer, Job, Owned};
use super::feed::Feed;
use super::{Host, take};
use crate::engine::Awaited;
use crate::lane::inbox::Inbox;
use crate::log::{Block, BlockBuilder, LaneLog, LogError, Lsn, Offsets, OnCommitted, Term};
use crate::message::AggregateType;

/// A lane of a log on Kafka.
pub struct KafkaLane {
    host: Arc<Host>,
    lane: u32,
    on_committed: Arc<OnCommitted>,
    inbox: Option<(Arc<Inbox>, Arc<Awaited>)>,
    committer: Option<Committer>,
    feed: Option<Feed>,
    /// The types whose rules were active at the last take, and their streams.
    types: Vec<AggregateType>,
    streams: Vec<Stream>,
    /// What a test makes of the next commit.
    pub(super) doubt: Arc<AtomicU8>,
}

/// A partition of a type's topics, and the number under which the host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its number: slot of the type times partitions, plus partition.
    pub number: u32,
    /// The type's name.
    pub of: AggregateType,
    /// The partition.
    pub partition: u32,
}

impl fmt::Debug for KafkaLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLane").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl KafkaLane {
    pub(super) fn new(
        host: Arc<Host>,
        lane: u32,
        inbox: Option<(Arc<Inbox>, Arc<Awaited>)>,
        on_committed: OnCommitted,
    ) -> Self {
        Self {
            host,
            lane,
            on_committed: Arc::new(on_committed),
            inbox,
            committer: None,
            feed: None,
            types: Vec::new(),
            streams: Vec::new(),
            doubt: Arc::default(),
        }
    }

    fn drop_ownership(&mut self) {
        self.feed = None;
        if let Some((inbox, awaited)) = &self.inbox {
            inbox.begin_feed();
            awaited.forget();
        }
        self.committer = None;
        self.host.proved(self.lane, Duration::ZERO);
    }
}

impl LaneLog for KafkaLane {
    fn streams(&mut self) -> Result<Vec<u32>, LogError> {
        self.drop_ownership();
        self.types = self.host.placement.types();
        self.streams = self.host.streams(self.lane, &self.types)?;
        Ok(self.streams.iter().map(|stream| stream.number).collect())
    }

    fn stream_of(&self, aggregate_type: &str, partition: u32) -> Option<u32> {
        let found = self.streams.iter().find(|one| one.partition == partition && one.of.as_str() == aggregate_type);
        found.map(|stream| stream.number)
    }

    fn offsets(&self) -> Offsets {
        Offsets::Rising
    }

    fn result_bytes_max(&self, stream: u32) -> usize {
        let of = self.streams.iter().find(|one| one.number == stream).map(|one| &one.of);
        of.map_or(0, |of| self.host.bounds.of_results(&self.host.options.events_topic(of)))
    }

    fn wants_new_take(&mut self) -> bool {
        self.host.placement.types() != self.types
    }

    fn take(&mut self, from: Lsn, replay: &mut dyn FnMut(&Block) -> Result<(), LogError>) -> Result<Term, LogError> {
        self.drop_ownership();
        if self.types.is_empty() {
            self.streams()?;
        }
        self.host.look_at_bounds(&self.streams)?;
        let (producer, term, ends) = take::take(&self.host, self.lane, &self.streams, from, replay)?;
        let (streams, doubt) = (self.streams.clone(), Arc::clone(&self.doubt));
        let owned = Owned { lane: self.lane, term, streams, ends, doubt };
        let on_committed = Arc::clone(&self.on_committed);
        self.committer = Some(Committer::start(Arc::clone(&self.host), producer, owned, on_committed)?);
        Ok(term)
    }

    fn begin(&mut self, next: &[(u32, u64)]) -> Result<(), LogError> {
        if let Some((inbox, awaited)) = &self.inbox {
            let feed = Feed::start(&self.host, &self.streams, next, Arc::clone(inbox), Arc::clone(awaited))?;
            self.feed = Some(feed);
        }
        Ok(())
    }

    fn submit(&mut self, block: BlockBuilder) -> Result<(), LogError> {
        if let Some(why) = self.feed.as_ref().and_then(Feed::problem) {
            return Err(LogError::Fatal(why));
        }
        let taken = self.committer.as_ref().is_some_and(|committer| committer.submit(Job::Block(block)));
        if taken { Ok(()) } else { Err(LogError::Fenced { lane: self.lane }) }
    }

    fn proved_at(&self) -> Duration {
        self.host.proved_at(self.lane)
    }

    fn proof_age_max(&self) -> Duration {
        Duration::from_millis(self.host.options.session_timeout_ms / 2)
    }

    fn prove(&mut self) -> Result<(), LogError> {
        let taken = self.committer.as_ref().is_some_and(|committer| committer.submit(Job::Proof));
        if taken { Ok(()) } else { Err(LogError::Fenced { lane: self.lane }) }
    }
}

impl Drop for KafkaLane {
    fn drop(&mut self) {
        self.drop_ownership();
    }
}
