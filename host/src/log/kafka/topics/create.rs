//! Making the topics that are missing.

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::context::wait;
use super::layout::LayoutType;
use super::rules::{self, Role};
use super::{APPEARANCE, Cluster, REQUEST, fatal};
use crate::clock::Stopwatch;
use crate::log::LogError;
use crate::message::AggregateType;

impl Cluster {
    /// Makes the topic of lanes, unless it is there.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it may not or cannot be made.
    pub fn ensure_lanes_topic(&self, lanes: u32) -> Result<bool, LogError> {
        self.ensure(&self.options.lanes_topic(), Role::Lanes, lanes)
    }

    /// Makes the topics of a type, unless they are there, and tells their ids.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if they may not or cannot be made.
    pub fn ensure_type(&self, name: &AggregateType, partitions: u32) -> Result<LayoutType, LogError> {
        let (commands, events) = (self.options.commands_topic(name), self.options.events_topic(name));
        self.ensure(&commands, Role::Commands, partitions)?;
        self.ensure(&events, Role::Events, partitions)?;
        let known = self.known(&[&commands, &events])?;
        let id = |topic: &str| {
            let found = known.iter().find(|one| one.name == topic);
            found.map(|one| one.id.clone()).ok_or_else(|| self.failed(&format!("find {topic}"), "it vanished"))
        };
        Ok(LayoutType {
            name: name.to_string(),
            slot: 0,
            commands_topic_id: id(&commands)?,
            events_topic_id: id(&events)?,
        })
    }

    /// Copies of a topic that is created here.
    pub fn replication(&self) -> u32 {
        self.options.copies(self.brokers)
    }

    /// The command that makes a topic and its like.
    pub(super) fn creation(&self, name: &str) -> String {
        match rules::parse(&self.options.prefix, name) {
            Some((_, Some(of))) => format!("ordain topics create {of}"),
            _ => "ordain topics create".to_owned(),
        }
    }

    /// Why a topic cannot have as many copies as the settings say.
    pub(super) fn too_many_copies(&self) -> String {
        format!(
            "`log.replication` is {}, but the number of brokers that answer is {}: start as many, or set it to less",
            self.options.replication, self.brokers
        )
    }

    /// Creates one topic and waits until it is known; `false` if it was there. Somebody else may create it at the same time.
    fn ensure(&self, name: &str, role: Role, partitions: u32) -> Result<bool, LogError> {
        if !self.known_once(&[name])?.is_empty() {
            return Ok(false);
        }
        if !self.options.create_topics {
            return Err(fatal(format!(
                "topic {name} is missing, and `log.create_topics` is false: `{} --print` shows the commands that make it",
                self.creation(name)
            )));
        }
        let (copies, count) = (self.replication(), i32::try_from(partitions).unwrap_or(i32::MAX));
        let replication = TopicReplication::Fixed(i32::try_from(copies).unwrap_or(i32::MAX));
        let settings = rules::settings(role, copies);
        let new = settings
            .iter()
            .fold(NewTopic::new(name, count, replication), |topic, (setting, value)| topic.set(setting, value));
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let what = format!("create topic {name}");
        let made = wait(self.admin.create_topics([&new], &options), 2 * REQUEST)
            .ok_or_else(|| self.failed(&what, "no answer"))?
            .map_err(|e| self.failed(&what, e))?;
        match made.into_iter().next() {
            Some(Ok(_)) => {}
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return self.appeared(name).map(|()| false),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) if self.options.replication > 0 => {
                return Err(fatal(format!("cannot {what}: {}", self.too_many_copies())));
            }
            Some(Err((_, code))) => return Err(self.failed(&what, code)),
            None => return Err(self.failed(&what, "an empty answer")),
        }
        tracing::info!("created topic {name} with {partitions} partitions and {copies} copies");
        self.appeared(name).map(|()| true)
    }

    pub(super) fn appeared(&self, name: &str) -> Result<(), LogError> {
        let since = Stopwatch::start();
        while self.known(&[name])?.is_empty() {
            if since.elapsed() > APPEARANCE {
                return Err(self.failed(&format!("see topic {name}, which was created"), "it does not appear"));
            }
        }
        Ok(())
    }
}
