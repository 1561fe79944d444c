//! Which lanes are ours: the hosts of a log share its lanes as the partitions of the lanes topic are shared by a group.
//!
//! Invariant: the group is a hint, never a proof (R1). A host that was given a lane takes it; who took it last owns it.

use std::collections::BTreeSet;
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

use super::ffi::advice;
use super::ffi::logging::say;
use super::options::Options;
use crate::log::LogError;

/// Longest wait for news of the group.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time that lanes have to answer what they decided before they are given away.
const DRAIN: Duration = Duration::from_millis(800);

/// Lanes that the group gives to this host.
#[derive(Debug, Default)]
pub struct Ours {
    lanes: Mutex<BTreeSet<u32>>,
    joined: AtomicBool,
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
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        say("group", level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("the group: {error}: {reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, group: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let lanes: Vec<u32> =
            partitions.elements().iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Nothing is read through the group: positions do not matter, and records do not come.
            if let Err(error) = partitions.set_all_offsets(Offset::End) {
                tracing::warn!("the group's lanes have no position: {error}");
            }
            let taken = group.incremental_assign(partitions).and_then(|()| group.pause(partitions));
            if let Err(error) = taken {
                tracing::error!("lanes {lanes:?} could not be taken from the group: {error}");
            }
            tracing::info!("the group gives this host lanes {lanes:?}");
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
            self.tenant.leave(&lanes, DRAIN);
            self.forget(&lanes);
            self.tenant.lost(&lanes);
        }
        if let Err(error) = group.incremental_unassign(partitions) {
            tracing::error!("lanes {lanes:?} could not be given back to the group: {error}");
        }
    }
}

impl Context {
    fn forget(&self, lanes: &[u32]) {
        let mut ours = self.ours.lock();
        ours.retain(|lane| !lanes.contains(lane));
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
        let context = Context { ours: Arc::clone(&ours), tenant: Arc::clone(&tenant), ending: Arc::clone(&ending) };
        let group: BaseConsumer<Context> = config(options).create_with_context(context).map_err(|e| fatal(&e))?;
        group.subscribe(&[&options.lanes_topic()]).map_err(|e| fatal(&e))?;
        let end = Arc::clone(&ending);
        let work = move || {
            let mut told = String::new();
            while !end.load(Ordering::Acquire) {
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
        let thread = std::thread::Builder::new().name("group".into()).spawn(work).map_err(|e| fatal(&e))?;
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
    let mut config = options.client_with(&[
        ("group.id", options.group.as_str()),
        ("session.timeout.ms", session.as_str()),
        ("heartbeat.interval.ms", heartbeat.as_str()),
        ("max.poll.interval.ms", "300000"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.metrics.push", "false"),
        ("log_level", "3"),
    ]);
    if let Some(instance) = &options.instance {
        config.set("group.instance.id", instance);
    }
    config
}
