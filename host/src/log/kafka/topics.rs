//! The topics of a log on Kafka: made with the right settings, verified at every start, and laid out by a record (R3).
//!
//! Reading order: [`rules`] says how topics must be, [`layout`] what is fixed for ever, [`Cluster::open`] (`open.rs`) is
//! what a start does with both, and `inspect.rs` looks at the same and makes nothing.
//!
//! Invariant: nothing here deletes a topic or changes one that exists. What is wrong is named, with the command that
//! repairs it.

pub(super) mod context;
mod create;
mod inspect;
mod lanes;
pub mod layout;
mod open;
pub mod print;
pub mod problem;
pub mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};

use super::ffi::admin::{Described, End, describe_topics, offsets};
use super::ffi::advice;
use super::options::{Options, clients};
use crate::clock::Stopwatch;
use crate::log::LogError;
use crate::message::AggregateType;
use context::{Context, pause, wait};
use layout::Layout;
use problem::Problem;
use rules::{Expected, Role, TRANSACTIONS, Topic};

pub use open::Opened;

/// Time for one request to the cluster.
const REQUEST: Duration = Duration::from_secs(15);
/// Time for a topic that was created to be known to anybody, and to have leaders.
const APPEARANCE: Duration = Duration::from_secs(30);
/// Time for every broker to hear of a topic that another one knows.
const SETTLING: Duration = Duration::from_secs(5);
/// Time to say what topics take, for which a lane that is being taken waits.
const BOUNDS: Duration = Duration::from_secs(2);
/// Time for an answer that is no more than welcome.
const MOMENTS: Duration = Duration::from_secs(3);
/// Rest between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster that answered, seen with one prefix.
pub struct Cluster {
    admin: AdminClient<Context>,
    context: Context,
    options: Options,
    id: String,
    brokers: u32,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).field("options", &self.options).finish_non_exhaustive()
    }
}

/// The refusal of a start, in words.
fn fatal(what: impl Into<String>) -> LogError {
    LogError::Fatal(what.into())
}

/// No cluster has to do with it.
fn unmade(error: impl fmt::Display) -> LogError {
    fatal(format!("no client of Kafka can be made of [log.properties]: {error}"))
}

/// Asks again while something is missing, or refused: the broker that answers may not have heard of a topic yet, and only
/// what stays missing is.
fn settled<T>(
    limit: Duration,
    ask: impl Fn() -> Result<T, LogError>,
    whole: impl Fn(&T) -> bool,
) -> Result<T, LogError> {
    let since = Stopwatch::start();
    loop {
        let answer = ask();
        if answer.as_ref().is_ok_and(&whole) || since.elapsed() > limit {
            return answer;
        }
        pause(LOOK);
    }
}

impl Cluster {
    /// Asks the brokers who they are. Blocks: not for a thread of a runtime.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the settings do not fit together, before anybody is asked, or nobody answers in time; the
    /// message holds the last complaint of librdkafka.
    pub fn connect(options: &Options) -> Result<Self, LogError> {
        Self::connect_within(options, REQUEST)
    }

    /// How many brokers there are, if that can be learned within moments; `None` if not, or if no setting depends on it.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the settings do not fit together.
    pub fn count_brokers(options: &Options) -> Result<Option<u32>, LogError> {
        options.probe().map_err(fatal)?;
        if options.replication > 0 {
            return Ok(None);
        }
        let client: AdminClient<Context> = options.client().create_with_context(Context::default()).map_err(unmade)?;
        let metadata = client.inner().fetch_metadata(Some(&options.lanes_topic()), MOMENTS);
        Ok(metadata.ok().and_then(|answer| u32::try_from(answer.brokers().len()).ok()))
    }

    fn connect_within(options: &Options, limit: Duration) -> Result<Self, LogError> {
        options.probe().map_err(fatal)?;
        let context = Context::default();
        // Most requests go to whoever was the controller when metadata came last, and wait for it where it is gone.
        let admin: AdminClient<Context> =
            options.client_with(&[clients::LEADERS]).create_with_context(context.clone()).map_err(unmade)?;
        let unreachable = |error: &dyn fmt::Display| {
            context.listen(options);
            let explained = context.explain(error);
            fatal(format!(
                "no broker of {} answers ({explained}): check `log.brokers`, and what [log.properties] says of TLS and passwords",
                options.brokers
            ))
        };
        let metadata = admin.inner().fetch_metadata(None, limit).map_err(|e| unreachable(&e))?;
        let brokers = u32::try_from(metadata.brokers().len()).unwrap_or(u32::MAX);
        let id = admin.inner().fetch_cluster_id(limit).ok_or_else(|| unreachable(&"it has no cluster id"))?;
        Ok(Self { admin, context, options: options.clone(), id, brokers })
    }

    /// The cluster's own name for itself.
    pub fn cluster_id(&self) -> &str {
        &self.id
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> u32 {
        self.brokers
    }

    /// The options it was reached with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The topics that belong to the prefix, with everything that is checked of them.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the cluster does not answer or does not allow it.
    pub fn topics(&self) -> Result<Vec<Topic>, LogError> {
        let metadata = self.admin.inner().fetch_metadata(None, REQUEST).map_err(|e| self.failed("list topics", e))?;
        let ours: Vec<&str> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| rules::parse(&self.options.prefix, name).is_some())
            .collect();
        self.describe(&ours)
    }

    /// The same, together with those that a layout names.
    fn topics_with(&self, layout: &Layout) -> Result<Vec<Topic>, LogError> {
        let mut topics = self.topics()?;
        let names = self.names(layout);
        let missing =
            names.iter().map(|(name, _)| name.as_str()).filter(|name| !topics.iter().any(|one| one.name == *name));
        topics.extend(self.describe(&missing.collect::<Vec<_>>())?);
        Ok(topics)
    }

    /// Some topics, with everything that is checked of them; those that do not exist are left out.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the cluster does not answer or does not allow it.
    pub fn describe(&self, names: &[&str]) -> Result<Vec<Topic>, LogError> {
        // A broker may know a topic and not yet its settings.
        let whole =
            |topics: &Vec<Topic>| topics.len() == names.len() && topics.iter().all(|topic| !topic.settings.is_empty());
        settled(SETTLING, || self.describe_once(names), whole)
    }

    fn describe_once(&self, names: &[&str]) -> Result<Vec<Topic>, LogError> {
        let described = self.known_once(names)?;
        let resources: Vec<_> = described.iter().map(|one| ResourceSpecifier::Topic(&one.name)).collect();
        let mut settings = self.settings(&resources, REQUEST)?;
        let kept: Vec<_> = described.iter().map(|one| (one.name.as_str(), one.partitions)).collect();
        let first = self.ends(&kept, End::First)?;
        let mut cut: BTreeMap<String, Vec<(u32, i64)>> = BTreeMap::new();
        for ((topic, partition), offset) in first.into_iter().filter(|(_, offset)| *offset > 0) {
            cut.entry(topic).or_default().push((partition, offset));
        }
        let topic = |one: Described| Topic {
            settings: settings.remove(&one.name).unwrap_or_default(),
            cut: cut.remove(&one.name).unwrap_or_default(),
            partitions: one.partitions,
            replication: one.replicas_min,
            id: one.id,
            name: one.name,
        };
        Ok(described.into_iter().map(topic).collect())
    }

    /// Ids and numbers of partitions alone.
    fn known(&self, names: &[&str]) -> Result<Vec<Described>, LogError> {
        settled(SETTLING, || self.known_once(names), |topics| topics.len() == names.len())
    }

    fn known_once(&self, names: &[&str]) -> Result<Vec<Described>, LogError> {
        describe_topics(self.admin.inner(), names, REQUEST).map_err(|e| self.failed("describe topics", e))
    }

    /// The settings in effect of topics or brokers, by their name.
    fn settings(
        &self,
        resources: &[ResourceSpecifier<'_>],
        limit: Duration,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, LogError> {
        if resources.is_empty() {
            return Ok(BTreeMap::new());
        }
        let options = AdminOptions::new().request_timeout(Some(limit));
        let answer = wait(self.admin.describe_configs(resources, &options), 2 * limit)
            .ok_or_else(|| self.failed("read the settings of topics", "no answer"))?
            .map_err(|e| self.failed("read the settings of topics", e))?;
        let mut settings = BTreeMap::new();
        for resource in answer {
            let resource = resource.map_err(|e| self.failed("read the settings of topics", e))?;
            let name = match &resource.specifier {
                rdkafka::admin::OwnedResourceSpecifier::Topic(name)
                | rdkafka::admin::OwnedResourceSpecifier::Group(name) => name.clone(),
                rdkafka::admin::OwnedResourceSpecifier::Broker(id) => id.to_string(),
            };
            let entries = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            settings.insert(name, entries.collect());
        }
        Ok(settings)
    }

    /// Bytes of the largest batch of records that each topic takes (R6). One that does not say so is left out. Takes
    /// seconds at most: who asks knows an earlier answer, or does without.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there is no such topic, or the cluster does not answer.
    pub fn max_message_bytes(&self, topics: &[String]) -> Result<BTreeMap<String, usize>, LogError> {
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let settings = settled(BOUNDS / 2, || self.settings(&resources, BOUNDS), |_| true)?;
        let bytes = |of: &BTreeMap<String, String>| of.get("max.message.bytes")?.parse().ok();
        Ok(settings.into_iter().filter_map(|(topic, of)| Some((topic, bytes(&of)?))).collect())
    }

    /// Whether any record was ever written to a topic.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the cluster does not answer.
    fn written(&self, topic: &str, partitions: u32) -> Result<bool, LogError> {
        Ok(self.ends(&[(topic, partitions)], End::Last)?.values().any(|offset| *offset > 0))
    }

    /// One end of topics. A partition that was just made, or moves, has no leader for a moment.
    fn ends(&self, topics: &[(&str, u32)], end: End) -> Result<BTreeMap<(String, u32), i64>, LogError> {
        let partitions: Vec<(&str, u32)> =
            topics.iter().flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition))).collect();
        let since = Stopwatch::start();
        loop {
            match offsets(self.admin.inner(), &partitions, end, REQUEST) {
                Ok(offsets) => return Ok(offsets),
                Err(error) if since.elapsed() > APPEARANCE => {
                    return Err(self.failed("learn where the topics begin and end", error));
                }
                Err(error) => tracing::debug!("ends of topics are asked for again: {error}"),
            }
            pause(LOOK);
            // librdkafka remembers that there was no leader, and would go on answering that.
            for (topic, _) in topics {
                let _ = self.admin.inner().fetch_metadata(Some(topic), REQUEST);
            }
        }
    }

    /// For each of these partitions the last stable offset, up to which records are read, and the end. The end is asked for
    /// last, so that it never lies before.
    ///
    /// # Errors
    /// A sentence, if the cluster does not say it now.
    pub fn stable_and_last(&self, partitions: &[(&str, u32)]) -> Result<Vec<(i64, i64)>, String> {
        let stable = offsets(self.admin.inner(), partitions, End::Stable, REQUEST)?;
        let last = offsets(self.admin.inner(), partitions, End::Last, REQUEST)?;
        let one = |(topic, partition): &(&str, u32)| {
            let key = ((*topic).to_owned(), *partition);
            Some((*stable.get(&key)?, *last.get(&key)?))
        };
        partitions.iter().map(one).collect::<Option<_>>().ok_or_else(|| "an answer lacks a partition".to_owned())
    }

    /// The brokers' record of transactions, or what it will be.
    fn transactions(&self) -> Result<Topic, LogError> {
        if let Some(topic) = self.describe_once(&[TRANSACTIONS])?.pop() {
            return Ok(topic);
        }
        let metadata = self.admin.inner().fetch_metadata(None, REQUEST).map_err(|e| self.failed("list brokers", e))?;
        let broker = metadata.brokers().first().map_or(0, rdkafka::metadata::MetadataBroker::id);
        let settings = self.settings(&[ResourceSpecifier::Broker(broker)], REQUEST)?;
        Ok(rules::transactions_to_be(settings.values().next().unwrap_or(&BTreeMap::new())))
    }

    /// Compares numbers of partitions and ids with the layout; cheap enough to be done again while a host runs (R3).
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the cluster does not answer: nothing is known then.
    pub fn verify(&self, layout: &Layout) -> Result<Vec<Problem>, LogError> {
        let names = self.names(layout);
        let known = self.known(&names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
        let topic = |one: Described| Topic {
            name: one.name,
            id: one.id,
            partitions: one.partitions,
            replication: one.replicas_min,
            ..Topic::default()
        };
        let topics: Vec<_> = known.into_iter().map(topic).collect();
        let mut problems = layout::compare(layout, &self.options, &self.id, &topics);
        for one in &topics {
            let role = names.iter().find(|(name, _)| *name == one.name).map_or(Role::Lanes, |(_, role)| *role);
            problems.extend(rules::partitions(one, role, self.expected(layout, role)));
        }
        Ok(problems)
    }

    /// The topics of a layout, each with what it is for.
    fn names(&self, layout: &Layout) -> Vec<(String, Role)> {
        let types = layout.types.iter().filter_map(|one| AggregateType::parse(&one.name).ok());
        let pairs = types.flat_map(|name| {
            [(self.options.commands_topic(&name), Role::Commands), (self.options.events_topic(&name), Role::Events)]
        });
        std::iter::once((self.options.lanes_topic(), Role::Lanes)).chain(pairs).collect()
    }

    fn expected(&self, layout: &Layout, role: Role) -> Expected<'_> {
        let partitions = if role == Role::Lanes { layout.lanes } else { layout.partitions };
        Expected { laid_out: true, ..self.expected_before(partitions) }
    }

    /// What is expected of a topic that no layout has yet.
    fn expected_before(&self, partitions: u32) -> Expected<'_> {
        let Options { production, brokers, .. } = &self.options;
        Expected { partitions, laid_out: false, production: *production, brokers }
    }

    /// An error that says what was tried, and what librdkafka knows about it.
    fn failed(&self, what: &str, error: impl fmt::Display) -> LogError {
        let text = self.context.explain(error);
        let hint = match advice(&text) {
            "" => ": is the cluster healthy?",
            rights => rights,
        };
        fatal(format!("cannot {what} on {}: {text}{hint}", self.options.brokers))
    }
}

#[cfg(test)]
mod tests;
