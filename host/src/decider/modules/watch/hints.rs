//! What the kernel says about the folder. Hints may come late, twice, or not at all (network and container mounts).

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// Hints that wait; more than these are as good as "look at everything".
const WAITING_MAX: usize = 1024;

/// Something happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Hint {
    /// A file was closed after writing, or came as a whole by renaming.
    Written(OsString),
    /// A file is being written.
    Writing(OsString),
    /// Something else.
    Look,
    /// The watcher is not wanted any more.
    Stop,
}

/// The hints about one folder.
pub struct Hints {
    sender: SyncSender<Hint>,
    receiver: Receiver<Hint>,
    lost: Arc<AtomicBool>,
    /// The kernel's watch, and device and inode of the folder it is on.
    watch: Option<(RecommendedWatcher, (u64, u64))>,
    complained: bool,
}

impl Hints {
    /// None yet.
    pub fn new() -> Self {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        Self { sender, receiver, lost: Arc::default(), watch: None, complained: false }
    }

    /// A way to send one.
    pub fn sender(&self) -> SyncSender<Hint> {
        self.sender.clone()
    }

    /// Waits for hints and takes all there are.
    pub fn wait(&self, at_most: Duration) -> Vec<Hint> {
        match self.receiver.recv_timeout(at_most) {
            Ok(hint) => std::iter::once(hint).chain(self.receiver.try_iter().take(WAITING_MAX)).collect(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Vec::new(),
        }
    }

    /// Whether hints were lost since this was last asked: then what they said of open files is not known.
    pub fn were_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// Makes sure that hints about this folder come, also after it was removed and made again.
    pub fn watch(&mut self, dir: &Path) {
        let Ok(about) = fs::metadata(dir) else {
            self.watch = None;
            return;
        };
        let folder = (about.dev(), about.ino());
        if self.watch.as_ref().is_some_and(|(_, watched)| *watched == folder) {
            return;
        }
        let (sender, lost) = (self.sender.clone(), Arc::clone(&self.lost));
        let on_event = move |event: notify::Result<Event>| {
            let hints = event.map_or_else(|_| vec![None], |event| read(&event));
            for hint in hints {
                let full = hint.is_none_or(|hint| sender.try_send(hint).is_err());
                if full {
                    lost.store(true, Ordering::Relaxed);
                }
            }
        };
        let watching = notify::recommended_watcher(on_event)
            .and_then(|mut watcher| watcher.watch(dir, RecursiveMode::NonRecursive).map(|()| watcher));
        match watching {
            Ok(watcher) => (self.watch, self.complained) = (Some((watcher, folder)), false),
            Err(error) => {
                if !self.complained {
                    tracing::warn!(dir = %dir.display(), %error, "no hints about the modules folder; it is looked at every second");
                }
                (self.watch, self.complained) = (None, true);
            }
        }
    }
}

/// The hints in an event; `None` stands for hints that were lost.
fn read(event: &Event) -> Vec<Option<Hint>> {
    if event.need_rescan() {
        return vec![None];
    }
    let names = event.paths.iter().filter_map(|path| path.file_name()).map(OsString::from);
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => names.map(|name| Some(Hint::Written(name))).collect(),
        EventKind::Modify(ModifyKind::Data(_)) => names.map(|name| Some(Hint::Writing(name))).collect(),
        EventKind::Access(_) => Vec::new(),
        _ => vec![Some(Hint::Look)],
    }
}
