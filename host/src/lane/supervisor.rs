//! The lanes of one host: their threads, their ways in, and what to do when one ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::inbox::{Control, Inbox};
use super::{Board, Ended, Lane, Parts, Settings};
use crate::clock::Stopwatch;
use crate::decider::RuleBook;
use crate::log::{History, LaneLog, LogError, OnCommitted};
use crate::store::Store;

/// How often a stopping lane is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Stands for all lanes where one is named that ended.
pub const EVERY: u32 = u32::MAX;

/// Makes one lane's side of the log.
pub type MakeLog = Box<dyn Fn(u32, &Arc<Inbox>, OnCommitted) -> Box<dyn LaneLog> + Send + Sync>;

/// What all lanes share.
pub struct Shared {
    /// Makes one lane's side of the log. A log that holds commands feeds them to the inbox.
    pub log: MakeLog,
    /// The committed blocks.
    pub history: Arc<dyn History>,
    /// The state store.
    pub store: Arc<Store>,
    /// The active rules.
    pub book: Arc<dyn RuleBook>,
    /// Numbers of every lane; `lane` is set for each.
    pub settings: Settings,
    /// Most commands that wait for one lane, and their bytes.
    pub queue_commands_max: usize,
    /// Bytes of the commands that wait for one lane.
    pub queue_bytes_max: usize,
}

/// The lanes of a host, running or not.
pub struct Lanes {
    /// The way into each lane, and what can be seen of it.
    pub ways: Vec<(Arc<Inbox>, Arc<Board>)>,
    shared: Shared,
    /// No lane is started any more.
    ending: AtomicBool,
    threads: Mutex<BTreeMap<u32, JoinHandle<()>>>,
    tell: mpsc::SyncSender<(u32, Ended)>,
    ended: Mutex<mpsc::Receiver<(u32, Ended)>>,
}

impl Lanes {
    /// Lanes of which none runs yet.
    pub fn new(shared: Shared) -> Self {
        // A lane tells once when it ends, and is not started again before its thread was joined.
        let (tell, ended) = mpsc::sync_channel(2 * shared.settings.lanes as usize);
        let way = |_| {
            let inbox = Inbox::new(shared.queue_commands_max, shared.queue_bytes_max);
            inbox.close("this lane is not owned by this host");
            (Arc::new(inbox), Arc::new(Board::default()))
        };
        let ways = (0..shared.settings.lanes).map(way).collect();
        Self { ways, shared, ending: AtomicBool::new(false), threads: Mutex::default(), tell, ended: Mutex::new(ended) }
    }

    /// Starts a thread per lane; each takes its lane and serves.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if a thread cannot be started.
    pub fn start(shared: Shared) -> Result<Self, LogError> {
        let lanes = Self::new(shared);
        for number in 0..lanes.shared.settings.lanes {
            lanes.start_lane(number)?;
        }
        Ok(lanes)
    }

    /// Starts the thread of one lane, which takes it and serves. Does nothing if it runs.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the thread cannot be started.
    pub fn start_lane(&self, number: u32) -> Result<(), LogError> {
        let mut threads = self.threads.lock().expect("no panic while held");
        if self.ending.load(Ordering::Acquire) {
            return Ok(());
        }
        if threads.get(&number).is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        let (inbox, board) = &self.ways[number as usize];
        board.wanted.store(true, Ordering::Release);
        inbox.close("the lane of this aggregate is being restored from the log: try again shortly");
        // What the lane's last thread was told and did not hear any more.
        inbox.answer_all(&crate::engine::Unanswered::Interrupted);
        let told = Arc::clone(inbox);
        let on_committed: OnCommitted = Box::new(move |committed| told.tell(Control::Committed(committed)));
        let lane = Lane::new(Parts {
            settings: Settings { lane: number, ..self.shared.settings.clone() },
            inbox: Arc::clone(inbox),
            board: Arc::clone(board),
            log: (self.shared.log)(number, inbox, on_committed),
            history: Arc::clone(&self.shared.history),
            store: Arc::clone(&self.shared.store),
            book: Arc::clone(&self.shared.book),
        });
        let tell = self.tell.clone();
        let watch = Watch { number, inbox: Arc::clone(inbox), board: Arc::clone(board), tell: self.tell.clone() };
        let work = move || {
            let _watch = watch;
            drop(tell.send((number, lane.run())));
        };
        let thread = Builder::new().name(format!("lane-{number}")).spawn(work);
        let thread = thread.map_err(|error| {
            LogError::Fatal(format!("lane {number} cannot be started: {error}. Raise the limit of threads"))
        })?;
        threads.insert(number, thread);
        Ok(())
    }

    /// Tells some lanes to answer what is queued, write a checkpoint and end, and waits until they did, but no longer
    /// than `patience`. Returns those that still run.
    pub fn stop_lanes(&self, numbers: &[u32], patience: Duration) -> Vec<u32> {
        for &number in numbers {
            let (inbox, board) = &self.ways[number as usize];
            board.wanted.store(false, Ordering::Release);
            inbox.close("the lane moves to another host: send the command again, with the same command id");
            inbox.tell(Control::Stop);
        }
        let watch = Stopwatch::start();
        loop {
            let mut threads = self.threads.lock().expect("no panic while held");
            threads.retain(|_, thread| !thread.is_finished());
            let running: Vec<u32> = numbers.iter().copied().filter(|number| threads.contains_key(number)).collect();
            drop(threads);
            if running.is_empty() || watch.elapsed() >= patience {
                return running;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Lanes are lost: they drop what they have and end.
    pub fn lose_lanes(&self, numbers: &[u32]) {
        for &number in numbers {
            let (inbox, board) = &self.ways[number as usize];
            board.wanted.store(false, Ordering::Release);
            inbox.close("the lane was given to another host");
            inbox.tell(Control::Lost);
        }
    }

    /// No lane can go on, whatever each of them thinks.
    pub fn fail(&self, why: &str) {
        // Full only if nobody listens any more.
        let _unheard = self.tell.try_send((EVERY, Ended::Failed(why.to_owned())));
    }

    /// The host is about to stop: lanes that end are not started again.
    pub fn start_no_more(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Waits until a lane ends, or `patience` has passed.
    pub fn wait(&self, patience: Duration) -> Option<(u32, Ended)> {
        match self.ended.lock().expect("no panic while held").recv_timeout(patience) {
            Ok(ended) => Some(ended),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Some((EVERY, Ended::Failed("a lane's thread ended without a word: see the log".to_owned())))
            }
        }
    }

    /// Tells every lane to answer what is queued, write a checkpoint and end, and waits for it.
    pub fn stop(&self) {
        for (inbox, _) in &self.ways {
            inbox.close("the host is stopping");
            inbox.tell(Control::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock().expect("no panic while held"));
        for thread in threads.into_values() {
            // A panic is in the process's log; the watch told everybody who waited.
            drop(thread.join());
        }
    }
}

/// Sees to it that nobody waits for a lane whose thread is gone, even if it panicked.
struct Watch {
    number: u32,
    tell: mpsc::SyncSender<(u32, Ended)>,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.ready.store(false, Ordering::Release);
        self.inbox.close("a lane of this host ended: see its log and restart it");
        self.inbox.answer_all(&crate::engine::Unanswered::Interrupted);
        if std::thread::panicking() {
            let why = "its thread ended without a word: see the log".to_owned();
            // Full only if nobody listens any more.
            let _unheard = self.tell.try_send((self.number, Ended::Failed(why)));
        }
    }
}
