//! The lanes of one host: their threads, their ways in, and what to do when one ends.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::inbox::{Control, Inbox};
use super::{Board, Ended, Lane, Parts, Settings};
use crate::decider::RuleBook;
use crate::log::{History, LaneLog, LogError, OnCommitted};
use crate::store::Store;

/// What all lanes share.
pub struct Shared {
    /// Makes one lane's side of the log.
    pub log: Box<dyn Fn(u32, OnCommitted) -> Box<dyn LaneLog>>,
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

/// Running lanes.
pub struct Lanes {
    /// The way into each lane, and what can be seen of it.
    pub ways: Vec<(Arc<Inbox>, Arc<Board>)>,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::Receiver<(u32, Ended)>,
}

impl Lanes {
    /// Starts a thread per lane; each takes its lane and serves.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if a thread cannot be started.
    pub fn start(shared: &Shared) -> Result<Self, LogError> {
        let count = shared.settings.lanes;
        let (tell, ended) = mpsc::sync_channel(count as usize);
        let mut lanes = Self { ways: Vec::new(), threads: Vec::new(), ended };
        for number in 0..count {
            let inbox = Arc::new(Inbox::new(shared.queue_commands_max, shared.queue_bytes_max));
            let board = Arc::new(Board::default());
            let told = Arc::clone(&inbox);
            let on_committed: OnCommitted = Box::new(move |committed| told.tell(Control::Committed(committed)));
            let lane = Lane::new(Parts {
                settings: Settings { lane: number, ..shared.settings.clone() },
                inbox: Arc::clone(&inbox),
                board: Arc::clone(&board),
                log: (shared.log)(number, on_committed),
                history: Arc::clone(&shared.history),
                store: Arc::clone(&shared.store),
                book: Arc::clone(&shared.book),
            });
            lanes.ways.push((Arc::clone(&inbox), Arc::clone(&board)));
            let tell = tell.clone();
            let watch = Watch { inbox, board };
            let work = move || {
                let _watch = watch;
                drop(tell.send((number, lane.run())));
            };
            let thread = Builder::new().name(format!("lane-{number}")).spawn(work);
            lanes.threads.push(thread.map_err(|error| {
                LogError::Fatal(format!("lane {number} cannot be started: {error}. Raise the limit of threads"))
            })?);
        }
        Ok(lanes)
    }

    /// Waits until a lane ends, or `patience` has passed.
    pub fn wait(&self, patience: Duration) -> Option<(u32, Ended)> {
        match self.ended.recv_timeout(patience) {
            Ok(ended) => Some(ended),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Some((u32::MAX, Ended::Failed("a lane's thread ended without a word: see the log".to_owned())))
            }
        }
    }

    /// Tells every lane to answer what is queued, write a checkpoint and end, and waits for it.
    pub fn stop(self) {
        for (inbox, _) in &self.ways {
            inbox.close("the host is stopping");
            inbox.tell(Control::Stop);
        }
        for thread in self.threads {
            // A panic is in the process's log; the watch told everybody who waited.
            drop(thread.join());
        }
    }
}

/// Sees to it that nobody waits for a lane whose thread is gone, even if it panicked.
struct Watch {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.ready.store(false, std::sync::atomic::Ordering::Release);
        self.inbox.close("a lane of this host ended: see its log and restart it");
        self.inbox.answer_all(&crate::engine::Unanswered::Interrupted);
    }
}
