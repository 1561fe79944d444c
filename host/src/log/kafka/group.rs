//! Which lanes are ours: the hosts of a log share its lanes as the partitions of the lanes topic are shared by a group.
//!
//! Invariant: the group is a hint, never a proof (R1). A host that was given a lane takes it; who took it last owns it.
//!
//! A coordinator that is cut off from its controller answers heartbeats and can settle nothing, and librdkafka asks the
//! broker it spoke to last who the coordinator is: that one says itself. So a member that does not settle, or whose lanes
//! somebody else takes again and again, is replaced by a new one, which begins with a broker drawn at random. The lanes
//! run on meanwhile: that is no more than the hint being old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use serde::Deserialize;

use super::ffi::advice;
use super::ffi::logging::say;
use super::options::{Options, clients};
use crate::clock::Stopwatch;
use crate::log::LogError;
use crate::log::thread::{self, OnPanic};

/// Longest wait for news of the group.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time that lanes have to answer what they decided before they are given away.
const DRAIN: Duration = Duration::from_millis(800);
/// Time beyond a session, for which the group may wait for a member that died, after which a group that has not settled is
/// joined anew.
const UNSETTLED: Duration = Duration::from_secs(5);
/// Milliseconds between two reports of the member's state.
const REPORT_MS: &str = "1000";
/// Times that somebody else took the same lane of this host within [`CONTESTED_WITHIN`], after which the group is joined anew.
const CONTESTED: u32 = 3;
/// Members that were replaced and have not said goodbye yet, at most.
const LEAVING_MAX: usize = 4;
/// See [`CONTESTED`].
const CONTESTED_WITHIN: Duration = Duration::from_secs(60);

/// Lanes that the group gives to this host.
#[derive(Debug, Default)]
pub struct Ours {
    lanes: Mutex<BTreeSet<u32>>,
    joined: AtomicBool,
    /// How often each was taken by somebody else, since when.
    contested: Mutex<Option<(Stopwatch, BTreeMap<u32, u32>)>>,
}

impl Ours {
    /// Whether a lane is among them.
    pub fn has(&self, lane: u32) -> bool {
        self.lock().contains(&lane)
    }

    /// All of them.
    pub fn all(&self) -> Vec<u32> {
        self.lock().iter().copied().collect()
    }

    /// Whether the group has said once which lanes are ours.
    pub fn joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    /// Somebody else took a lane. If the group still gives it to this host, two hosts may believe two coordinators.
    pub fn contested(&self, lane: u32) {
        if self.has(lane) {
            let mut contested = self.contested.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, times) = contested.get_or_insert_with(|| (Stopwatch::start(), BTreeMap::new()));
            *times.entry(lane).or_default() += 1;
        }
    }

    /// Whether that happened too often. The count begins anew then, and now and then.
    fn is_contested(&self) -> bool {
        let mut contested = self.contested.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, times)) = &*contested else { return false };
        let often = times.values().any(|times| *times >= CONTESTED);
        if often || since.elapsed() > CONTESTED_WITHIN {
            *contested = None;
        }
        often
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to lanes.
pub trait Tenant: Send + Sync {
    /// A lane is ours. Called again and again while it is; does nothing if it runs.
    fn has(&self, lane: u32);
    /// Lanes are given away: what is decided is committed, but no longer than `patience`.
    fn leave(&self, lanes: &[u32], patience: Duration);
    /// Lanes are lost: nothing of them is ours any more.
    fn lost(&self, lanes: &[u32]);
    /// This host cannot be a member any more.
    fn cast_out(&self, why: &str);
}

struct Context {
    ours: Arc<Ours>,
    tenant: Arc<dyn Tenant>,
    /// The member is leaving.
    ending: Arc<AtomicBool>,
    /// Another member has taken its place.
    replaced: AtomicBool,
    /// The group has said once which lanes are this member's.
    begun: AtomicBool,
    /// Since when the group has not settled, although its coordinator answers.
    unsettled: Mutex<Option<Stopwatch>>,
}

/// What is read of librdkafka's statistics.
#[derive(Deserialize)]
struct Report {
    cgrp: Option<State>,
}

#[derive(Deserialize)]
struct State {
    state: String,
    join_state: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        say("group", level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("the group: {error}: {reason}");
    }

    fn stats_raw(&self, report: &[u8]) {
        if let Ok(Report { cgrp: Some(State { state, join_state }) }) = serde_json::from_slice(report) {
            let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            if state == "up" && join_state != "steady" {
                unsettled.get_or_insert_with(Stopwatch::start);
            } else {
                *unsettled = None;
            }
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, group: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let lanes: Vec<u32> =
            partitions.elements().iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect();
        if self.replaced.load(Ordering::Acquire) {
            // What it does with its lanes is nobody's business any more, but it waits to be told.
            let gives = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
            let told =
                if gives { group.incremental_assign(partitions) } else { group.incremental_unassign(partitions) };
            if let Err(error) = told {
                tracing::debug!("the member that was replaced: {error}");
            }
            return;
        }
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Nothing is read through the group: positions do not matter, and records do not come.
            if let Err(error) = partitions.set_all_offsets(Offset::End) {
                tracing::warn!("the group's lanes have no position: {error}");
            }
            let taken = group.incremental_assign(partitions).and_then(|()| group.pause(partitions));
            if let Err(error) = taken {
                tracing::error!("lanes {lanes:?} could not be taken from the group: {error}");
            }
            let (news, all) = (!lanes.is_empty(), self.ours.all().len() + lanes.len());
            if news {
                tracing::info!("the group gives this host lanes {lanes:?}, {all} in all");
            }
            if !self.begun.swap(true, Ordering::AcqRel) {
                // Those that the member before had, and this one has not.
                let gone: Vec<u32> = self.ours.all().into_iter().filter(|lane| !lanes.contains(lane)).collect();
                self.give(&gone);
            }
            self.ours.lock().extend(&lanes);
            self.ours.joined.store(true, Ordering::Release);
            // Nobody answers for them until they are taken.
            lanes.into_iter().for_each(|lane| self.tenant.has(lane));
            return;
        }
        let lost = group.assignment_lost();
        tracing::info!(
            "the group takes lanes {lanes:?} from this host{}",
            if lost { ", which was silent too long" } else { "" }
        );
        if lost {
            self.forget(&lanes);
            self.tenant.lost(&lanes);
        } else {
            if !self.ending.load(Ordering::Acquire) {
                std::thread::park_timeout(KEPT);
            }
            self.give(&lanes);
        }
        if let Err(error) = group.incremental_unassign(partitions) {
            tracing::error!("lanes {lanes:?} could not be given back to the group: {error}");
        }
    }
}

impl Context {
    fn new(ours: Arc<Ours>, tenant: Arc<dyn Tenant>, ending: Arc<AtomicBool>) -> Self {
        let (replaced, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { ours, tenant, ending, replaced, begun, unsettled: Mutex::default() }
    }

    /// Gives lanes away, with what they decided answered.
    fn give(&self, lanes: &[u32]) {
        if !lanes.is_empty() {
            self.tenant.leave(lanes, DRAIN);
            self.forget(lanes);
            self.tenant.lost(lanes);
        }
    }

    /// Whether the group has not settled for so long.
    fn is_unsettled(&self, limit: Duration) -> bool {
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        unsettled.as_ref().is_some_and(|since| since.elapsed() > limit)
    }

    fn forget(&self, lanes: &[u32]) {
        let mut ours = self.ours.lock();
        ours.retain(|lane| !lanes.contains(lane));
    }
}

/// Puts a new member in the place of one whose group is no good. Gives the thread in which that one leaves.
fn replace(
    group: &mut BaseConsumer<Context>,
    member: &impl Fn() -> Result<BaseConsumer<Context>, KafkaError>,
) -> Option<JoinHandle<()>> {
    match member() {
        Ok(anew) => {
            let old = std::mem::replace(group, anew);
            old.context().replaced.store(true, Ordering::Release);
            // It says goodbye to a coordinator that may not hear it. Without a thread it does so here.
            std::thread::Builder::new().name("group-before".into()).spawn(move || drop(old)).ok()
        }
        Err(error) => {
            tracing::warn!("the group cannot be joined anew: {error}");
            *group.context().unsettled.lock().unwrap_or_else(PoisonError::into_inner) = None;
            None
        }
    }
}

/// A member hears by the answer to its heartbeat that lanes are dealt out anew, and all wait for the last one that hears.
const HEARTBEAT_MS_MAX: u64 = 200;
/// Lanes that another host is to have are kept for this long before they are given away: librdkafka joins at most once a
/// second, so nobody could take them sooner.
const KEPT: Duration = Duration::from_millis(900);

/// A member of the group.
#[derive(Debug)]
pub struct Member {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins the group.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there can be no consumer, or no thread for it.
    pub fn join(options: &Options, ours: Arc<Ours>, tenant: Arc<dyn Tenant>) -> Result<Self, LogError> {
        let fatal =
            |e: &dyn std::fmt::Display| LogError::Fatal(format!("the group {} cannot be joined: {e}", options.group));
        let ending = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ending);
        let limit = Duration::from_millis(options.session_timeout_ms) + UNSETTLED;
        let (options, lanes) = (options.clone(), Arc::clone(&ours));
        let landlord = Arc::clone(&tenant);
        let member = move || -> Result<BaseConsumer<Context>, KafkaError> {
            let context = Context::new(Arc::clone(&lanes), Arc::clone(&landlord), Arc::clone(&end));
            let group: BaseConsumer<Context> = config(&options).create_with_context(context)?;
            group.subscribe(&[&options.lanes_topic()])?;
            Ok(group)
        };
        let mut group = member().map_err(|e| fatal(&e))?;
        let end = Arc::clone(&ending);
        let work = move || {
            let _guard = OnPanic::tell(|why: String| tenant.cast_out(&why));
            let mut told = String::new();
            let mut leaving: Vec<JoinHandle<()>> = Vec::new();
            while !end.load(Ordering::Acquire) {
                let unsettled = group.context().is_unsettled(limit);
                leaving.retain(|one| !one.is_finished());
                if leaving.len() < LEAVING_MAX && (unsettled || ours.is_contested()) {
                    let why = if unsettled { "has not settled" } else { "gave lanes to another host too" };
                    tracing::warn!(
                        "the group {why}: its coordinator may be cut off, and it is joined anew. If it stays so, see whether all \
                         hosts have the same `log.group`"
                    );
                    leaving.extend(replace(&mut group, &member));
                }
                match group.poll(PATIENCE) {
                    Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                        let all = std::mem::take(&mut *ours.lock());
                        tenant.lost(&Vec::from_iter(all));
                        tenant.cast_out(&format!(
                            "the group does not have this host any more: {error}. If another host was started with the same \
                             `log.instance`, give each its own"
                        ));
                        break;
                    }
                    Some(Err(error)) => {
                        let error = error.to_string();
                        // It comes again and again while the host waits for its lanes.
                        if !advice(&error).is_empty() && told != error {
                            tracing::error!("the group cannot be joined: {error}{}", advice(&error));
                            told = error;
                        } else {
                            tracing::debug!("the group: {error}");
                        }
                    }
                    _ => {}
                }
                // Heartbeats and joins are sent when librdkafka's own thread wakes up, else once a second: a question
                // wakes it.
                let _woken = group.assignment();
                // Also one that ended because another host had taken it meanwhile.
                ours.all().into_iter().for_each(|lane| tenant.has(lane));
            }
            // Leaving revokes what is ours, and tells the group at once.
            group.unsubscribe();
            drop(group);
        };
        let thread = thread::start("group", work)?;
        Ok(Self { ending, thread: Some(thread) })
    }

    /// Leaves the group and waits for it.
    pub fn leave(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It may be keeping lanes for others.
            thread.thread().unpark();
            // A panic is in the process's log.
            drop(thread.join());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

fn config(options: &Options) -> ClientConfig {
    let session = options.session_timeout_ms.to_string();
    let heartbeat = (options.session_timeout_ms / 10).clamp(100, HEARTBEAT_MS_MAX).to_string();
    let own = [
        ("group.id", options.group.as_str()),
        ("session.timeout.ms", session.as_str()),
        ("heartbeat.interval.ms", heartbeat.as_str()),
    ];
    let mut config = options.client_with(&[&own[..], clients::MEMBER].concat());
    config.set("statistics.interval.ms", REPORT_MS);
    if let Some(instance) = &options.instance {
        config.set("group.instance.id", instance);
    }
    config
}

#[cfg(test)]
mod tests;
