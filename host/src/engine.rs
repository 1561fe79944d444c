//! What the ways in (HTTP, CLI in one process, Kafka later) see of the running system. They know no lane and no log.

mod awaited;
mod reply;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::decider::modules::{Listing, Modules};
use crate::decider::{Module, RuleBook, Rules};
use crate::history;
use crate::lane::Board;
use crate::lane::inbox::{Asked, Control, Inbox, Read};
use crate::message::{AggregateId, AggregateType, CommandId, Digest, partition_of};
use crate::store::Store;

pub use awaited::{Awaited, Fed};
pub use reply::{Answered, Appended, Reply, ReplyBox, Submission, Unanswered};
pub use views::{History, HistoryEvent, ReadError, Refused, StateView, Status};

/// The running system. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// What an engine is made of.
pub struct Parts {
    /// Number of partitions.
    pub partitions: u32,
    /// The way into each lane, and what can be seen of it.
    pub lanes: Vec<(Arc<Inbox>, Arc<Board>)>,
    /// The active rules.
    pub book: Arc<dyn RuleBook>,
    /// The registry the rules come from; without one (rules compiled in) nothing can be deployed.
    pub modules: Option<Arc<Modules>>,
    /// The committed blocks.
    pub history: Arc<dyn crate::log::History>,
    /// The state store.
    pub store: Arc<Store>,
    /// Where commands go that must be appended to a log of commands first; without it they go to their lanes.
    pub intake: Option<Arc<dyn Take>>,
    /// Reads of the past at once.
    pub readers_max: usize,
    /// Reads of the past that wait for their turn.
    pub readers_waiting_max: usize,
}

/// A log of commands as the ways in see it.
pub trait Take: Send + Sync {
    /// Where commands are handed in; none once it is closed.
    fn sender(&self) -> Option<mpsc::Sender<Submission>>;
    /// Whether this host was told which lanes are its own.
    fn joined(&self) -> bool;
    /// Whether a partition belongs to a lane of this host.
    fn is_ours(&self, partition: u32) -> bool;
    /// Where the API of the owner of a partition's lane is reached, as far as that is known.
    fn owner(&self, partition: u32) -> Option<String>;
    /// Where this host is reached by others.
    fn own_address(&self) -> Option<String>;
    /// Gives `reply` the answer to the command at an offset of a type's partition as soon as it is there.
    fn expect(&self, of: &AggregateType, partition: u32, offset: u64, reply: Reply);
}

struct Inner {
    parts: Parts,
    readers: Semaphore,
    readers_and_waiting: Semaphore,
    /// Set when the host stops or cannot go on; else it is starting or ready, as the lanes say.
    ended: ArcSwapOption<Status>,
    /// What it waits for beside its lanes before it is ready.
    waits_for: ArcSwapOption<String>,
}

impl Engine {
    /// An engine over lanes that are being started.
    pub fn new(parts: Parts) -> Self {
        let readers = Semaphore::new(parts.readers_max);
        let readers_and_waiting = Semaphore::new(parts.readers_max + parts.readers_waiting_max);
        Self(Arc::new(Inner {
            parts,
            readers,
            readers_and_waiting,
            ended: ArcSwapOption::empty(),
            waits_for: ArcSwapOption::empty(),
        }))
    }

    /// Number of partitions, fixed for ever.
    pub fn partitions(&self) -> u32 {
        self.0.parts.partitions
    }

    /// Whether the host serves.
    pub fn status(&self) -> Status {
        if let Some(ended) = self.0.ended.load_full() {
            return (*ended).clone();
        }
        let waits_for = self.0.waits_for.load_full().map(Arc::unwrap_or_clone);
        let lanes: Vec<_> = self.wanted_lanes().collect();
        let ready = lanes.iter().filter(|board| board.ready.load(Ordering::Acquire)).count();
        if waits_for.is_none() && self.is_restored() {
            return Status::Ready;
        }
        Status::Starting {
            lanes_ready: ready as u32,
            lanes: lanes.len() as u32,
            events_restored: lanes.iter().map(|board| board.events_restored.load(Ordering::Relaxed)).sum(),
            waits_for,
        }
    }

    fn wanted_lanes(&self) -> impl Iterator<Item = &Board> {
        self.boards().filter(|board| board.wanted.load(Ordering::Acquire))
    }

    /// Whether every lane that is to run here is restored, and it is known which these are.
    pub fn is_restored(&self) -> bool {
        let joined = self.0.parts.intake.as_ref().is_none_or(|intake| intake.joined());
        joined && self.wanted_lanes().all(|board| board.ready.load(Ordering::Acquire))
    }

    /// The host is not ready, whatever its lanes are, as long as it waits for something; in words.
    pub fn wait_for(&self, what: Option<&str>) {
        self.0.waits_for.store(what.map(|what| Arc::new(what.to_owned())));
    }

    /// The host begins to stop: commands are refused, what is queued is still decided.
    pub fn stop(&self) {
        self.0.ended.store(Some(Arc::new(Status::Stopping)));
        for (inbox, _) in &self.0.parts.lanes {
            inbox.close("the host is stopping: send the command again, with the same command id, once it is back");
            inbox.tell(Control::Stop);
        }
    }

    /// A lane cannot go on: the host acknowledges nothing any more and says why.
    pub fn fail(&self, reason: &str) {
        self.0.ended.store(Some(Arc::new(Status::Failed { reason: reason.to_owned() })));
        for (inbox, _) in &self.0.parts.lanes {
            inbox.close(reason);
        }
    }

    /// What can be seen of each lane.
    pub fn boards(&self) -> impl Iterator<Item = &Board> {
        self.0.parts.lanes.iter().map(|(_, board)| &**board)
    }

    fn lane(&self, partition: u32) -> &(Arc<Inbox>, Arc<Board>) {
        let lanes = &self.0.parts.lanes;
        &lanes[partition as usize % lanes.len()]
    }

    fn lane_of(&self, id: &AggregateId) -> &(Arc<Inbox>, Arc<Board>) {
        self.lane(partition_of(id.as_str(), self.0.parts.partitions))
    }

    fn rules(&self, of: &AggregateType) -> Result<Arc<dyn Rules>, ReadError> {
        self.0.parts.book.active(of.as_str()).ok_or_else(|| ReadError::UnknownType(of.as_str().to_owned()))
    }

    fn serving(&self) -> Result<(), String> {
        match self.status() {
            Status::Ready => Ok(()),
            // Lanes come and go. A command for one that is being restored waits in its topic, and a read is refused by
            // that lane alone.
            Status::Starting { .. } if self.0.parts.intake.as_ref().is_some_and(|intake| intake.joined()) => Ok(()),
            Status::Starting { waits_for: Some(what), .. } => Err(format!("the host is starting and waits for {what}")),
            Status::Starting { lanes_ready, lanes, .. } => {
                Err(format!("the host is starting: {lanes_ready} of {lanes} lanes are restored"))
            }
            Status::Stopping => Err("the host is stopping".to_owned()),
            Status::Failed { reason } => Err(reason),
        }
    }

    /// Where the owner of an aggregate is reached, if that is another host.
    pub fn owner_elsewhere(&self, id: &AggregateId) -> Option<String> {
        let intake = self.0.parts.intake.as_ref()?;
        let partition = partition_of(id.as_str(), self.0.parts.partitions);
        if intake.is_ours(partition) { None } else { intake.owner(partition) }
    }

    /// Where the owners of all lanes are reached that are other hosts, each once.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if a lane's owner is not known.
    pub fn owners_elsewhere(&self) -> Result<BTreeSet<String>, ReadError> {
        let Some(intake) = &self.0.parts.intake else { return Ok(BTreeSet::new()) };
        let unknown = || ReadError::Unavailable("a lane has no owner that is known yet: try again shortly".to_owned());
        let others = (0..self.0.parts.lanes.len() as u32).filter(|lane| !intake.is_ours(*lane));
        others.map(|lane| intake.owner(lane).ok_or_else(unknown)).collect()
    }

    /// Where this host is reached by others, if there are any.
    pub fn own_address(&self) -> Option<String> {
        self.0.parts.intake.as_ref()?.own_address()
    }

    /// The answer to the command at an offset of its log of commands, waited for if it is not there yet. The caller bounds
    /// the wait by dropping the future. `None` if there is no such log, or the lane was lost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn outcome_at(
        &self,
        of: &AggregateType,
        id: &AggregateId,
        offset: u64,
    ) -> Result<Option<Answered>, ReadError> {
        let Some(intake) = &self.0.parts.intake else { return Ok(None) };
        self.rules(of)?;
        // Asked for before it is looked for: what is answered in between is found by one of the two.
        let (reply, answer) = oneshot::channel();
        intake.expect(of, partition_of(id.as_str(), self.0.parts.partitions), offset, Reply::Once(reply));
        let (type_of, name) = (of.clone(), id.clone());
        let known = self.past(move |log| history::answer_at(log, &type_of, &name, offset)).await?;
        if known.is_some() {
            return Ok(known);
        }
        Ok(answer.await.ok().and_then(Result::ok))
    }

    /// Whether a module is active for the type.
    ///
    /// # Errors
    /// [`Refused::UnknownType`].
    pub fn route(&self, aggregate_type: &AggregateType) -> Result<(), Refused> {
        match self.0.parts.book.active(aggregate_type.as_str()) {
            Some(_) => Ok(()),
            None => Err(Refused::UnknownType(aggregate_type.as_str().to_owned())),
        }
    }

    /// Hands one command to its lane if there is room.
    ///
    /// # Errors
    /// [`Refused`]; the command was not recorded.
    pub fn try_submit(&self, submission: Submission) -> Result<(), Refused> {
        self.serving().map_err(Refused::Unavailable)?;
        if let Some(intake) = &self.0.parts.intake {
            let closed = || Refused::Unavailable("the host is stopping".to_owned());
            return intake.sender().ok_or_else(closed)?.try_send(submission).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refused::Busy,
                mpsc::error::TrySendError::Closed(_) => closed(),
            });
        }
        self.lane(submission.command.partition).0.try_push(submission)
    }

    /// Hands commands of one stream to their lanes, in order, waiting where a queue is full. Types must have been routed.
    /// Not cancel-safe in between: a part may have been handed over.
    ///
    /// # Errors
    /// [`Refused::Unavailable`]; every reply not handed over gets [`Unanswered::Interrupted`].
    pub async fn submit(&self, submissions: Vec<Submission>) -> Result<(), Refused> {
        if let Some(intake) = &self.0.parts.intake {
            return append(&**intake, self.serving(), submissions).await;
        }
        let lanes = self.0.parts.lanes.len();
        let mut by_lane: Vec<Vec<Submission>> = (0..lanes).map(|_| Vec::new()).collect();
        for submission in submissions {
            by_lane[submission.command.partition as usize % lanes].push(submission);
        }
        let mut refused = self.serving().map_err(Refused::Unavailable);
        for (lane, piece) in by_lane.into_iter().enumerate() {
            if refused.is_err() {
                for submission in piece {
                    submission.reply.send(Err(Unanswered::Interrupted));
                }
            } else if !piece.is_empty() {
                refused = self.0.parts.lanes[lane].0.push(piece).await;
            }
        }
        refused
    }

    /// The current committed state; `None` if the aggregate never existed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state(&self, of: &AggregateType, id: &AggregateId) -> Result<Option<StateView>, ReadError> {
        self.rules(of)?;
        self.ask(id, |reply| Read::State(of.clone(), id.clone(), reply)).await
    }

    /// The same, proved to be current: whatever was answered anywhere before this was called is in it (R8).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state_now(&self, of: &AggregateType, id: &AggregateId) -> Result<Option<StateView>, ReadError> {
        self.rules(of)?;
        let since = Some(crate::clock::boot_time());
        self.ask_since(id, since, |reply| Read::State(of.clone(), id.clone(), reply)).await
    }

    async fn ask<T>(
        &self,
        id: &AggregateId,
        read: impl FnOnce(oneshot::Sender<Result<T, ReadError>>) -> Read,
    ) -> Result<T, ReadError> {
        self.ask_since(id, None, read).await
    }

    async fn ask_since<T>(
        &self,
        id: &AggregateId,
        since: Option<Duration>,
        read: impl FnOnce(oneshot::Sender<Result<T, ReadError>>) -> Read,
    ) -> Result<T, ReadError> {
        self.serving().map_err(ReadError::Unavailable)?;
        let (reply, answer) = oneshot::channel();
        self.lane_of(id).0.ask(Asked { read: read(reply), since })?;
        answer.await.unwrap_or_else(|_| Err(ReadError::Unavailable("the host is stopping".to_owned())))
    }

    /// Runs a read of the past on a thread that may block. Bounded: above that, readers are told to come again.
    async fn past<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn crate::log::History) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let _place = self.0.readers_and_waiting.try_acquire().map_err(|_| ReadError::Busy)?;
        let _turn = self.0.readers.acquire().await.map_err(|_| ReadError::Busy)?;
        let history = Arc::clone(&self.0.parts.history);
        let task = tokio::task::spawn_blocking(move || read(&*history));
        task.await.unwrap_or_else(|error| Err(ReadError::Broken(format!("a reader of the past ended: {error}"))))
    }

    async fn version(&self, of: &AggregateType, id: &AggregateId) -> Result<u64, ReadError> {
        self.ask(id, |reply| Read::Version(of.clone(), id.clone(), reply)).await
    }

    /// The state as it was at a version, folded by the active module; `None` if the version is above the head or 0.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state_at(
        &self,
        of: &AggregateType,
        id: &AggregateId,
        version: u64,
    ) -> Result<Option<StateView>, ReadError> {
        let rules = self.rules(of)?;
        if version == 0 || version > self.version(of, id).await? {
            return Ok(None);
        }
        let (of, id) = (of.clone(), id.clone());
        self.past(move |log| history::state_at(log, &*rules, &of, &id, version)).await.map(Some)
    }

    /// Waits until the aggregate has at least this version, then its state. The caller bounds the wait by dropping the future.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state_from(&self, of: &AggregateType, id: &AggregateId, version: u64) -> Result<StateView, ReadError> {
        let (_, board) = self.lane_of(id);
        loop {
            let settled = board.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if let Some(view) = self.state(of, id).await?
                && view.version >= version
            {
                return Ok(view);
            }
            settled.await;
        }
    }

    /// The outcome of a command, if it was answered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn outcome(
        &self,
        of: &AggregateType,
        id: &AggregateId,
        command: &CommandId,
    ) -> Result<Option<Answered>, ReadError> {
        self.rules(of)?;
        let known = self.ask(id, |reply| Read::Known(of.clone(), id.clone(), command.clone(), reply)).await?;
        let (of, id, command) = (of.clone(), id.clone(), command.clone());
        self.past(move |log| history::outcome(log, &of, &id, &command, known)).await
    }

    /// Events of an aggregate from version `from` (inclusive) on, at most `limit`; `None` if it never existed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(
        &self,
        of: &AggregateType,
        id: &AggregateId,
        from: u64,
        limit: usize,
    ) -> Result<Option<History>, ReadError> {
        self.rules(of)?;
        let head = self.version(of, id).await?;
        if head == 0 {
            return Ok(None);
        }
        let (of, id) = (of.clone(), id.clone());
        self.past(move |log| history::events(log, &of, &id, head, from, limit)).await.map(Some)
    }

    /// Ids and versions of a type's aggregates in byte order of id, after `after`, at most `limit`. Of the lanes that this
    /// host has, where several hosts share them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list(
        &self,
        of: &AggregateType,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ReadError> {
        self.rules(of)?;
        self.serving().map_err(ReadError::Unavailable)?;
        let mut answers = Vec::new();
        let ours = self.0.parts.lanes.iter().filter(|(_, board)| board.wanted.load(Ordering::Acquire));
        for (inbox, _) in ours {
            let (reply, answer) = oneshot::channel();
            let read = Read::Unstored(of.clone(), after.map(str::to_owned), reply);
            inbox.ask(Asked { read, since: None })?;
            answers.push(answer);
        }
        // The lanes are asked before the store: what a lane writes to it in between is found in one of the two.
        let mut ids = BTreeMap::new();
        for answer in answers {
            ids.extend(answer.await.map_err(|_| ReadError::Unavailable("the host is stopping".to_owned()))?);
        }
        let (store, of, after) = (Arc::clone(&self.0.parts.store), of.clone(), after.map(str::to_owned));
        let stored = self.past(move |_| {
            store.list(of.as_str(), after.as_deref(), limit).map_err(|error| ReadError::Broken(error.to_string()))
        });
        for (id, version) in stored.await? {
            ids.entry(id).and_modify(|known: &mut u64| *known = version.max(*known)).or_insert(version);
        }
        Ok(ids.into_iter().filter(|(_, version)| *version > 0).take(limit).collect())
    }

    /// Every type's modules: active, former, refused. Each active one with the lanes that took it.
    pub fn modules(&self) -> Listing {
        let mut listing = self.0.parts.modules.as_ref().map(|modules| modules.list()).unwrap_or_default();
        for one in &mut listing.types {
            let lanes = self.0.parts.lanes.iter().enumerate().filter(|(_, (_, board))| {
                let digests = board.digests.lock().expect("no panic while held");
                digests.iter().any(|(of, digest)| *of == one.aggregate_type && *digest == one.active)
            });
            one.lanes = lanes.map(|(lane, _)| lane as u32).collect();
        }
        listing
    }

    /// The active modules, in order of their types' names. Rules that are compiled in are none.
    pub fn active_modules(&self) -> Vec<Module> {
        self.0.parts.modules.as_ref().map(|modules| modules.all_active()).unwrap_or_default()
    }

    /// Checks and activates a module. Returns its digest and its aggregate type.
    ///
    /// # Errors
    /// Why it was refused, with what to do about it.
    pub async fn deploy(&self, wasm: Vec<u8>) -> Result<Digest, String> {
        let Some(modules) = self.0.parts.modules.clone() else {
            return Err("this host runs rules that are compiled in: nothing can be deployed".to_owned());
        };
        let task = tokio::task::spawn_blocking(move || modules.deploy(wasm, "upload"));
        let checked = task.await.map_err(|error| format!("the check of the module ended: {error}"))?;
        checked.map(|activated| activated.digest).map_err(|refused| refused.to_string())
    }
}

/// Hands commands in, in order, waiting where the queue is full.
async fn append(intake: &dyn Take, serving: Result<(), String>, submissions: Vec<Submission>) -> Result<(), Refused> {
    let sender = serving.and_then(|()| intake.sender().ok_or_else(|| "the host is stopping".to_owned()));
    let mut refused = None;
    for submission in submissions {
        let sent = match (&sender, &refused) {
            (Ok(sender), None) => sender.send(submission).await.map_err(|error| ("the host is stopping", error.0)),
            (Err(why), _) => Err((why.as_str(), submission)),
            (_, Some(_)) => Err(("the host is stopping", submission)),
        };
        if let Err((why, submission)) = sent {
            submission.reply.send(Err(Unanswered::Interrupted));
            refused = Some(Refused::Unavailable(why.to_owned()));
        }
    }
    refused.map_or(Ok(()), Err)
}
