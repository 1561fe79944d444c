//! The thread on which candidates are checked, stored and published, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use super::listing::RefusedListing;
use super::record::{FileRecord, Record};
use super::{Activated, Active, Shared, lock};
use crate::clock::now_ms;
use crate::decider::refused::{Refused, Rule};
use crate::decider::{Module, self_check};
use crate::message::Digest;

/// The compiler recurses on deep code; nobody else needs this stack.
const STACK_BYTES: usize = 32 << 20;

/// A candidate.
pub struct Job {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// File name or `upload`.
    pub origin: String,
    /// It lies in the modules folder.
    pub file: Option<Arrival>,
    /// Where the answer goes.
    pub reply: SyncSender<Result<Activated, Refused>>,
}

/// A file of the modules folder.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When its bytes came, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// It was seen and refused before the last start: it may be good now, but it is no latest arrival.
    pub again: bool,
}

/// Starts the thread; it ends when nobody can send jobs any more.
pub fn start(shared: Arc<Shared>, queue: Receiver<Job>) -> Result<(), String> {
    let work = move || {
        crate::background::give_way();
        for job in queue {
            let answer = shared.handle(&job);
            // Whoever asked may be gone; the listing has the answer too.
            let _ = job.reply.try_send(answer);
        }
    };
    thread::Builder::new()
        .name("module check".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map(drop)
        .map_err(|error| format!("the thread that checks modules does not start: {error}"))
}

/// A refusal with the type it is about, if that was known.
type RefusedFor = (Option<String>, Refused);

impl Shared {
    fn handle(&self, job: &Job) -> Result<Activated, Refused> {
        let digest = Digest::of(&job.wasm);
        let answer = catch_unwind(AssertUnwindSafe(|| self.take_in(digest, job))).unwrap_or_else(|_| {
            Err((None, Refused::new(Rule::Compile, "the check of the module broke; please report it with the module")))
        });
        match answer {
            Ok(activated) => {
                let Activated { aggregate_type, digest, unchanged, .. } = &activated;
                tracing::info!(%aggregate_type, module = %digest, origin = job.origin, unchanged, "module in service");
                Ok(activated)
            }
            Err((aggregate_type, refused)) => {
                self.refuse(aggregate_type, Some(digest), &job.origin, job.file, refused.clone());
                Err(refused)
            }
        }
    }

    /// Lists a refusal, and remembers the file so that it is not tried again until its bytes change.
    pub fn refuse(
        &self,
        aggregate_type: Option<String>,
        digest: Option<Digest>,
        origin: &str,
        file: Option<Arrival>,
        refused: Refused,
    ) {
        tracing::warn!(origin, module = digest.map(tracing::field::display), reason = %refused, "module refused");
        let Refused { rule, message } = refused;
        // What failed for want of room or a place is tried again; anything else only when the bytes change.
        if let (Some(arrival), Some(digest)) = (file, digest)
            && !matches!(rule, Rule::Store | Rule::Log)
        {
            self.remember_file(origin, FileRecord { digest, at_ms: arrival.at_ms, aggregate_type: None });
        }
        let entry = RefusedListing { digest, origin: origin.to_owned(), rule, reason: message, at_ms: now_ms() };
        lock(&self.refused).add(aggregate_type, file.is_some(), entry);
    }

    /// Remembers what a file of the modules folder holds.
    fn remember_file(&self, name: &str, about: FileRecord) {
        let changed = self.change_record(|record| {
            record.files.insert(name.to_owned(), about);
        });
        if let Err(error) = changed {
            tracing::warn!(%error, file = name, "a file of the modules folder may be taken for new after a restart");
        }
    }

    /// Changes the record on disk, and then in memory.
    pub fn change_record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> std::io::Result<T> {
        let mut record = lock(&self.record);
        let mut next = record.clone();
        let result = change(&mut next);
        if next != *record {
            self.files.write_record(&next)?;
            *record = next;
        }
        Ok(result)
    }

    fn take_in(&self, digest: Digest, job: &Job) -> Result<Activated, RefusedFor> {
        let active_one = self.active.load().values().find(|one| one.module.digest() == digest).cloned();
        if let Some(active) = active_one {
            return Ok(self.unchanged(&active, job));
        }
        let module = self.sandbox.compile(&job.wasm).map_err(|refused| (None, refused))?;
        let aggregate_type = module.aggregate_type().clone();
        let of_type = |refused| (Some(aggregate_type.to_string()), refused);
        let active = self.active.load().get(aggregate_type.as_str()).cloned();
        if let (Some(active), Some(Arrival { at_ms, again: true })) = (&active, job.file)
            && active.since_ms > at_ms
        {
            return Err(of_type(Refused::new(
                Rule::Outdated,
                "the file arrived before the module that is active now: touching it changes nothing, deploy it to go back",
            )));
        }
        let active = active.map(|active| active.module.clone());
        state_version_holds(&module, active.as_ref()).map_err(of_type)?;
        let cases = lock(&self.cases).clone().map(|cases| cases(&aggregate_type)).unwrap_or_default();
        let report = self_check::check(&module, active.as_ref(), &cases).map_err(of_type)?;
        if active.is_none()
            && let Some(admit) = lock(&self.admit).clone()
        {
            admit(&aggregate_type).map_err(|why| of_type(Refused::new(Rule::Log, why)))?;
        }
        self.publish(&module, job).map_err(of_type)?;
        let warnings = [module.warnings(), &report.warnings].concat();
        for warning in &warnings {
            tracing::warn!(%aggregate_type, module = %digest, "{warning}");
        }
        Ok(Activated { aggregate_type, digest, unchanged: false, warnings })
    }

    fn unchanged(&self, active: &Active, job: &Job) -> Activated {
        let aggregate_type = active.module.aggregate_type().clone();
        if let Some(arrival) = job.file {
            lock(&self.refused).forget_file(&job.origin);
            let of = Some(aggregate_type.to_string());
            let digest = active.module.digest();
            self.remember_file(&job.origin, FileRecord { digest, at_ms: arrival.at_ms, aggregate_type: of });
        }
        Activated { aggregate_type, digest: active.module.digest(), unchanged: true, warnings: Vec::new() }
    }

    /// Stores, records, publishes, tells: in this order, so that nothing is in service that a restart would not find.
    fn publish(&self, module: &Module, job: &Job) -> Result<(), Refused> {
        let not_stored = |error: std::io::Error| {
            Refused::new(
                Rule::Store,
                format!("the module is good but cannot be stored: {error}; free space and deploy it again"),
            )
        };
        let (aggregate_type, digest, since_ms) = (module.aggregate_type().to_string(), module.digest(), now_ms());
        self.files.write(digest, &job.wasm).map_err(not_stored)?;
        let generation = self
            .change_record(|record| {
                if let Some(arrival) = job.file {
                    let about =
                        FileRecord { digest, at_ms: arrival.at_ms, aggregate_type: Some(aggregate_type.clone()) };
                    record.files.insert(job.origin.clone(), about);
                }
                record.activate(&aggregate_type, digest, &job.origin, since_ms)
            })
            .map_err(not_stored)?;
        if job.file.is_some() {
            lock(&self.refused).forget_file(&job.origin);
        }
        let active = Arc::new(Active { module: module.clone(), since_ms, generation });
        self.active.rcu(|before| {
            let mut after = (**before).clone();
            after.insert(aggregate_type.clone(), Arc::clone(&active));
            after
        });
        let subscribers = lock(&self.subscribers).clone();
        subscribers.iter().for_each(|on_published| on_published(&active));
        Ok(())
    }
}

/// Under one state version the layout of the state is one.
fn state_version_holds(module: &Module, active: Option<&Module>) -> Result<(), Refused> {
    let Some(active) = active else { return Ok(()) };
    let version = module.manifest().state_version;
    let (Some(new), Some(old)) = (module.schemas(), active.schemas()) else { return Ok(()) };
    if version == active.manifest().state_version && new.state_fingerprint() != old.state_fingerprint() {
        return Err(Refused::new(
            Rule::StateVersion,
            format!(
                "the layout of the state changed, but its state version is {version} as before: raise STATE_VERSION, so \
                 that states are built anew from the events"
            ),
        ));
    }
    Ok(())
}
