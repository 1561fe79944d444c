//! The modules folder as an inbox. Hints of the kernel make it quick, a look every second makes it sure.
//!
//! A file is read once it is quiet, once, into memory; what was read is what is hashed, checked and stored. Nothing
//! here waits for the check of a module: the folder is looked at all the time.

mod file;
mod hints;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use file::{Stamp, Unfit};
use hints::{Hint, Hints};

use super::worker::{Arrival, Job};
use super::{Activated, Shared, lock};
use crate::clock::{Stopwatch, now_ms};
use crate::decider::gate;
use crate::decider::refused::{Refused, Rule};
use crate::decider::text::one_line;
use crate::message::Digest;

#[cfg(test)]
mod tests;

/// How often the folder is looked at without a hint.
const RESCAN: Duration = Duration::from_secs(1);
/// The same while a file is not settled or a module is being checked.
const RESCAN_BUSY: Duration = Duration::from_millis(50);
/// Pause after hints, so that a file written in many pieces does not keep the thread busy.
const PAUSE: Duration = Duration::from_millis(20);
/// A file that did not change for so long may be whole.
const QUIET: Duration = Duration::from_millis(200);
/// One that nothing says to be whole (no closing was seen, no seal) is taken for it after this.
const QUIET_UNPROVEN: Duration = Duration::from_secs(1);
/// One that somebody holds open for writing is looked at after this, so that what is torn is seen to be.
const QUIET_OPEN: Duration = Duration::from_millis(500);
/// And believed to be whole only after this.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// A good module that could not be stored is tried again after this.
const STORE_AGAIN: Duration = Duration::from_secs(10);
/// Files looked at.
const FILES_MAX: usize = 1000;
/// Longest time for the first look, with the checks of what is there: a host is not to wait for ever for its modules.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(30);

/// The watching thread; it ends when this is dropped.
pub struct Watcher {
    stop: SyncSender<Hint>,
    looked: Arc<AtomicBool>,
}

impl Watcher {
    /// Starts to watch a folder, making it if it is not there.
    pub fn start(shared: Arc<Shared>, jobs: SyncSender<Job>, dir: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&dir).and_then(|()| fs::read_dir(&dir)).map_err(|error| {
            format!("the modules folder {} cannot be read: {error}; create it or name another one", dir.display())
        })?;
        let hints = Hints::new();
        let stop = hints.sender();
        let looked = Arc::<AtomicBool>::default();
        let folder = Folder {
            shared,
            jobs,
            dir,
            hints,
            files: HashMap::new(),
            asked: None,
            first: true,
            unreadable: false,
            since: Stopwatch::start(),
            looked: Arc::clone(&looked),
        };
        thread::Builder::new()
            .name("modules folder".to_owned())
            .spawn(move || folder.run())
            .map_err(|error| format!("the thread that watches the modules folder does not start: {error}"))?;
        Ok(Self { stop, looked })
    }

    /// Whether all that was there at the start is in service or refused.
    pub fn has_looked(&self) -> bool {
        self.looked.load(Ordering::Acquire)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Waits for room at most, which the thread makes at once; without a thread there is nothing to stop.
        let _ = self.stop.send(Hint::Stop);
    }
}

/// How long to wait for a hint before the next look. What is there at the start is what a host starts with: nothing is
/// decided before the first look.
fn until_look(is_first: bool, is_busy: bool) -> Duration {
    if is_first {
        Duration::ZERO
    } else if is_busy {
        RESCAN_BUSY
    } else {
        RESCAN
    }
}

/// What is known of the folder.
struct Folder {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    dir: PathBuf,
    hints: Hints,
    files: HashMap<OsString, Seen>,
    asked: Option<Asked>,
    /// No look was taken yet: what is there was there before the start.
    first: bool,
    /// The folder could not be read the last time; said once.
    unreadable: bool,
    /// Since the start.
    since: Stopwatch,
    /// The first look is done.
    looked: Arc<AtomicBool>,
}

/// A file as it was last seen.
struct Seen {
    stamp: Stamp,
    since: Stopwatch,
    /// For how long it had been as it is when it was seen first, if that was at the start.
    before: Duration,
    phase: Phase,
    /// Written to since its last closing, as far as hints tell.
    open: bool,
    /// Closed after writing, or renamed to this name as a whole.
    closed: bool,
    /// Read while it was not certain that it is whole, and not to be read again until it is.
    peeked: bool,
    /// It was there at the start.
    at_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Changed, and not looked into since.
    Unsettled,
    /// Waits for its check.
    Asked,
    /// Good, but the store had no room.
    Later,
    /// Nothing to do until it changes.
    Done,
}

/// A file whose module is being checked.
struct Asked {
    name: OsString,
    stamp: Stamp,
    answer: Receiver<Result<Activated, Refused>>,
}

impl Seen {
    fn quiet(&self) -> Duration {
        self.since.elapsed() + self.before
    }

    /// Whether it is time to read it.
    fn is_due(&self) -> bool {
        let quiet = self.quiet();
        match self.phase {
            Phase::Done | Phase::Asked => false,
            Phase::Later => self.since.elapsed() >= STORE_AGAIN,
            Phase::Unsettled if self.open => (quiet >= QUIET_OPEN && !self.peeked) || quiet >= OPEN_MAX,
            Phase::Unsettled if self.closed => true,
            Phase::Unsettled => (quiet >= QUIET && !self.peeked) || quiet >= QUIET_UNPROVEN,
        }
    }

    /// Whether what was read now is surely whole.
    fn is_whole(&self, sealed: bool) -> bool {
        let quiet = self.quiet();
        sealed || if self.open { quiet >= OPEN_MAX } else { self.closed || quiet >= QUIET_UNPROVEN }
    }
}

impl Folder {
    fn run(mut self) {
        loop {
            let busy = self.asked.is_some() || self.files.values().any(|seen| seen.phase == Phase::Unsettled);
            let hints = self.hints.wait(until_look(self.first && !self.unreadable, busy));
            for hint in &hints {
                match hint {
                    Hint::Stop => return,
                    Hint::Written(name) => self.note(name, true),
                    Hint::Writing(name) => self.note(name, false),
                    Hint::Look => {}
                }
            }
            if self.hints.were_lost() {
                self.files.values_mut().for_each(|seen| seen.open = false);
            }
            self.hints.watch(&self.dir);
            self.scan();
            self.take_answer();
            self.read_due();
            self.note_first_look();
            if !hints.is_empty() {
                thread::park_timeout(PAUSE);
            }
        }
    }

    fn note(&mut self, name: &OsString, closed: bool) {
        if !self.files.contains_key(name) {
            self.scan(); // it came just now
        }
        if let Some(seen) = self.files.get_mut(name) {
            (seen.open, seen.closed, seen.peeked) = (!closed, closed, false);
        }
    }

    /// Compares what is there with what was.
    fn scan(&mut self) {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                if !self.unreadable {
                    tracing::warn!(dir = %self.dir.display(), %error, "the modules folder is unreadable; what is active goes on");
                }
                self.unreadable = true;
                return;
            }
        };
        self.unreadable = false;
        let mut there = HashSet::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !is_module_name(&name) || there.len() >= FILES_MAX {
                continue;
            }
            let Ok(stamp) = Stamp::of(&entry.path()) else { continue };
            match self.files.get_mut(&name) {
                Some(seen) if seen.stamp == stamp => {}
                Some(seen) => {
                    (seen.stamp, seen.since, seen.phase) = (stamp, Stopwatch::start(), Phase::Unsettled);
                    (seen.peeked, seen.at_start, seen.before) = (false, false, Duration::ZERO);
                }
                None => {
                    let (since, phase, at_start) = (Stopwatch::start(), Phase::Unsettled, self.first);
                    let before = if at_start { stamp.age() } else { Duration::ZERO };
                    let (open, closed, peeked) = (false, false, false);
                    self.files
                        .insert(name.clone(), Seen { stamp, since, before, phase, open, closed, peeked, at_start });
                }
            }
            there.insert(name);
        }
        self.forget_gone(&there);
        self.first = false;
    }

    /// A file that is gone unloads nothing; if it comes back it is a new arrival.
    fn forget_gone(&mut self, there: &HashSet<OsString>) {
        self.files.retain(|name, _| there.contains(name));
        let names: HashSet<String> = there.iter().map(shown).collect();
        let gone: Vec<String> =
            lock(&self.shared.record).files.keys().filter(|name| !names.contains(*name)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for name in &gone {
            lock(&self.shared.refused).forget_file(name);
        }
        let forgotten = self.shared.change_record(|record| record.files.retain(|name, _| !gone.contains(name)));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "the record of the modules folder is not written");
        }
    }

    fn note_first_look(&self) {
        let open = |seen: &Seen| seen.at_start && matches!(seen.phase, Phase::Unsettled | Phase::Asked);
        if self.unreadable || !self.files.values().any(open) || self.since.elapsed() > FIRST_LOOK_MAX {
            self.looked.store(true, Ordering::Release);
        }
    }

    fn take_answer(&mut self) {
        let Some(asked) = &self.asked else { return };
        let phase = match asked.answer.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Err(Refused { rule: Rule::Store | Rule::Log, .. })) => Phase::Later,
            Ok(_) | Err(TryRecvError::Disconnected) => Phase::Done,
        };
        if let Some(seen) = self.files.get_mut(&asked.name)
            && seen.stamp == asked.stamp
        {
            (seen.phase, seen.since) = (phase, Stopwatch::start());
        }
        self.asked = None;
    }

    /// Reads what is due, oldest first, so that the latest arrival is the last one to be activated.
    fn read_due(&mut self) {
        let mut due: Vec<(Stamp, OsString)> = self
            .files
            .iter()
            .filter(|(_, seen)| seen.is_due())
            .map(|(name, seen)| (seen.stamp, name.clone()))
            .collect();
        due.sort_by_key(|(stamp, name)| (stamp.modified(), name.clone()));
        for (stamp, name) in due {
            if let Some(phase) = self.read(&name, stamp)
                && let Some(seen) = self.files.get_mut(&name)
            {
                seen.phase = phase;
            }
        }
    }

    /// Reads a file and has its module checked. Gives the phase it is in now; nothing if it is to be read again.
    fn read(&mut self, name: &OsString, stamp: Stamp) -> Option<Phase> {
        let shown = shown(name);
        let limit = self.shared.sandbox.limits().module_bytes_max;
        let seen = self.files.get_mut(name)?;
        let wasm = match file::read(&self.dir.join(name), stamp, limit) {
            Ok(wasm) => wasm,
            Err(Unfit::Changed) => return None,
            Err(Unfit::Never(refused)) => return Some(self.refuse(&shown, None, refused)),
        };
        let digest = Digest::of(&wasm);
        let known = lock(&self.shared.record).files.get(&shown).cloned();
        let mut arrival = Arrival { at_ms: now_ms(), again: false };
        if let Some(known) = known.filter(|known| known.digest == digest) {
            if known.aggregate_type.is_some() || !seen.at_start {
                return Some(Phase::Done);
            }
            arrival = Arrival { at_ms: known.at_ms, again: true };
        }
        let sealed = match gate::check(&wasm, self.shared.sandbox.limits()) {
            Ok(gated) => gated.sealed,
            Err(refused) => return Some(self.refuse(&shown, Some((digest, arrival)), refused)),
        };
        if !seen.is_whole(sealed) {
            seen.peeked = true;
            return None;
        }
        if self.asked.is_some() {
            return None;
        }
        let (reply, answer) = sync_channel(1);
        match self.jobs.try_send(Job { wasm, origin: shown, file: Some(arrival), reply }) {
            Ok(()) => {
                self.asked = Some(Asked { name: name.clone(), stamp, answer });
                Some(Phase::Asked)
            }
            Err(TrySendError::Full(_)) => None,
            Err(TrySendError::Disconnected(_)) => Some(Phase::Done),
        }
    }

    fn refuse(&self, shown: &str, bytes: Option<(Digest, Arrival)>, refused: Refused) -> Phase {
        let arrival = bytes.map_or(Arrival { at_ms: now_ms(), again: false }, |(_, arrival)| arrival);
        self.shared.refuse(None, bytes.map(|(digest, _)| digest), shown, Some(arrival), refused);
        Phase::Done
    }
}

/// Whether a file in the folder is meant to be a module: `*.wasm`, and no hidden one, as half-copied files often are.
fn is_module_name(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".wasm") && !name.starts_with(b".")
}

/// A file's name for people and for the record.
fn shown(name: &OsString) -> String {
    one_line(name.as_encoded_bytes(), 255)
}

/// The kind of an error of the file system, for a sentence.
fn because(error: &io::Error) -> String {
    one_line(error.to_string().as_bytes(), 200)
}
