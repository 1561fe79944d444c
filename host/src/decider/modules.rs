//! The registry of modules: which are stored, which is active for each type, which were refused and why.
//!
//! One thread checks candidates, one at a time and at low priority; readers of what is active never wait for it. A
//! module is published only after it is stored and the record that it is active is on disk, so that what decided an
//! event can always be found by its digest.

mod files;
pub mod listing;
mod record;
mod watch;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::refused::{Refused, Rule};
use super::self_check::Case;
use super::{Module, RuleBook, Rules, Sandbox};
use crate::message::{AggregateType, Digest};

use files::Files;
use listing::RefusedOnes;
pub use listing::{Listing, RefusedListing, TypeListing};
use record::Record;
use worker::Job;

#[cfg(test)]
pub(crate) mod tests;

/// Candidates that wait for the one that is being checked.
const WAITING_MAX: usize = 4;

/// Real cases of a type to check a candidate with; few, since each is decided four times.
pub type CaseSource = dyn Fn(&AggregateType) -> Vec<Case> + Send + Sync;
/// Makes a place for the first module of a type where its answers will go; says why there is none, and what to do.
pub type Admit = dyn Fn(&AggregateType) -> Result<(), String> + Send + Sync;
/// Told of each module right after it was published. Called on the registry's own thread: it must not wait.
pub type OnPublished = dyn Fn(&Active) + Send + Sync;

/// What a registry is opened with.
pub struct Options {
    /// Folder of the stored modules and of the record which is active.
    pub store_dir: PathBuf,
    /// Where modules are compiled and run.
    pub sandbox: Sandbox,
}

/// The registry cannot be opened; the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CannotOpen(pub String);

/// The active module of a type.
#[derive(Debug, Clone)]
pub struct Active {
    /// The module.
    pub module: Module,
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
    /// Which one of its type it is; each publication is one more, over restarts too.
    pub generation: u64,
}

/// A candidate that is in service now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Its type.
    pub aggregate_type: AggregateType,
    /// Its identity.
    pub digest: Digest,
    /// It was the active one already: nothing changed.
    pub unchanged: bool,
    /// What is no reason to refuse it, for people.
    pub warnings: Vec<String>,
}

/// The registry. Its threads end with it.
pub struct Modules {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    watcher: Mutex<Option<watch::Watcher>>,
}

struct Shared {
    files: Files,
    sandbox: Sandbox,
    active: ArcSwap<HashMap<String, Arc<Active>>>,
    record: Mutex<Record>,
    refused: Mutex<RefusedOnes>,
    cases: Mutex<Option<Arc<CaseSource>>>,
    admit: Mutex<Option<Arc<Admit>>>,
    subscribers: Mutex<Vec<Arc<OnPublished>>>,
}

/// Takes a lock. A panic while it was held left nothing half done: each holder changes one value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Modules {
    /// Opens the store and puts the modules in service that were active when it was closed.
    ///
    /// # Errors
    /// [`CannotOpen`] if the store is unreadable or a stored module is not what it was. Nothing is skipped: a type whose
    /// rules are gone must not look like a type that never was.
    pub fn open(options: Options) -> Result<Self, CannotOpen> {
        let files = Files::open(options.store_dir).map_err(CannotOpen)?;
        let record = files.read_record().map_err(CannotOpen)?;
        let mut active = HashMap::new();
        for (name, one) in &record.types {
            let module = load(&files, &options.sandbox, one.active).map_err(|refused| {
                CannotOpen(format!(
                    "the active module {} of {name} does not start: {refused}; put the file {} back from a backup, or undo \
                     the change of limits",
                    one.active,
                    files.path(one.active).display()
                ))
            })?;
            let entry = Active { module, since_ms: one.since_ms, generation: one.generation };
            active.insert(name.clone(), Arc::new(entry));
        }
        let shared = Arc::new(Shared {
            files,
            sandbox: options.sandbox,
            active: ArcSwap::from_pointee(active),
            record: Mutex::new(record),
            refused: Mutex::default(),
            cases: Mutex::default(),
            admit: Mutex::default(),
            subscribers: Mutex::default(),
        });
        let (jobs, queue) = sync_channel(WAITING_MAX);
        worker::start(Arc::clone(&shared), queue).map_err(CannotOpen)?;
        Ok(Self { shared, jobs, watcher: Mutex::default() })
    }

    /// Where real cases come from. Until this is called candidates are checked with their own samples only.
    pub fn check_with(&self, cases: Arc<CaseSource>) {
        *lock(&self.shared.cases) = Some(cases);
    }

    /// Who is asked before a type gets its first module. Until this is called every type is welcome.
    pub fn admit_with(&self, admit: Arc<Admit>) {
        *lock(&self.shared.admit) = Some(admit);
    }

    /// Watches a folder as an inbox from now on: the latest valid arrival of a type becomes active. What was seen there
    /// before the last stop is no arrival.
    ///
    /// # Errors
    /// [`CannotOpen`] if the folder cannot be made or read.
    pub fn watch(&self, inbox: PathBuf) -> Result<(), CannotOpen> {
        let watcher = watch::Watcher::start(Arc::clone(&self.shared), self.jobs.clone(), inbox).map_err(CannotOpen)?;
        *lock(&self.watcher) = Some(watcher);
        Ok(())
    }

    /// Whether all that was in the watched folder at the start is in service or refused.
    pub fn has_looked(&self) -> bool {
        lock(&self.watcher).as_ref().is_some_and(watch::Watcher::has_looked)
    }

    /// Checks a module and puts it in service. Waits for its turn and for the check: seconds.
    ///
    /// # Errors
    /// [`Refused`], which is listed too; what was active goes on.
    pub fn deploy(&self, wasm: Vec<u8>, origin: &str) -> Result<Activated, Refused> {
        let (reply, answer) = sync_channel(1);
        let stopping = || Refused::new(Rule::Store, "the host is stopping: deploy the module again when it runs");
        let job = Job { wasm, origin: origin.to_owned(), file: None, reply };
        self.jobs.send(job).map_err(|_| stopping())?;
        answer.recv().map_err(|_| stopping())?
    }

    /// The active module of a type. Never waits.
    pub fn get_active(&self, aggregate_type: &str) -> Option<Arc<Active>> {
        self.shared.active.load().get(aggregate_type).cloned()
    }

    /// The active modules of all types, in order of their types' names.
    pub fn all_active(&self) -> Vec<Module> {
        let mut modules: Vec<_> = self.shared.active.load().values().map(|one| one.module.clone()).collect();
        modules.sort_by(|one, other| one.aggregate_type().cmp(other.aggregate_type()));
        modules
    }

    /// Every type's modules. `lanes` is left empty: the registry does not know them.
    pub fn list(&self) -> Listing {
        listing::list(&lock(&self.shared.record), &lock(&self.shared.refused), &self.shared.active.load())
    }

    /// Asks to be told of each publication.
    pub fn subscribe(&self, on_published: Arc<OnPublished>) {
        lock(&self.shared.subscribers).push(on_published);
    }
}

impl RuleBook for Modules {
    fn active(&self, aggregate_type: &str) -> Option<Arc<dyn Rules>> {
        let active = self.get_active(aggregate_type)?;
        Some(active)
    }

    fn types(&self) -> Vec<String> {
        self.shared.active.load().keys().cloned().collect()
    }
}

impl Rules for Active {
    fn digest(&self) -> Digest {
        self.module.digest()
    }

    fn state_tag(&self) -> u64 {
        self.module.state_tag()
    }

    fn instantiate(&self) -> Result<Box<dyn super::Decider>, super::Fault> {
        self.module.instantiate()
    }
}

/// Reads a stored module and compiles it.
fn load(files: &Files, sandbox: &Sandbox, digest: Digest) -> Result<Module, Refused> {
    let wasm = files.read(digest).map_err(|what| Refused::new(Rule::Store, what))?;
    sandbox.compile(&wasm)
}
