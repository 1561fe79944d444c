//! What a start does: topics and layout are made where they are missing, and everything is verified.

use super::layout::{Found, Layout, compare};
use super::problem::{Problem, Repair, Severity, refusal};
use super::rules::{self, Role, Topic};
use super::{Cluster, fatal};
use crate::log::LogError;
use crate::log::kafka::options::LANES_USUAL;
use crate::message::AggregateType;

/// A log whose topics and layout are as they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The layout, with every type that was asked for.
    pub layout: Layout,
    /// What hosts start with nevertheless, and say.
    pub warnings: Vec<Problem>,
    /// Topics that were made now.
    pub created: Vec<String>,
}

impl Cluster {
    /// Makes what is missing, adds `types` to the layout, and verifies everything. Hosts may do this at the same time.
    ///
    /// # Errors
    /// [`LogError::Fatal`] with one line per thing that must be repaired; [`LogError::Corrupt`] if the layout is damaged.
    pub fn open(&self, types: &[AggregateType]) -> Result<Opened, LogError> {
        let before = self.topics()?;
        let lanes = self.lanes(&before)?;
        let mut surprise = None;
        let mut layout = match self.read_layout(lanes)? {
            Found::Agreed(layout) => layout,
            found => {
                // Looked at before the layout is read under the fence: if there is none then, these events were nobody's.
                let orphans = self.events_without_layout(&before)?;
                if found == Found::Nothing && orphans.is_none() {
                    self.refuse(self.lanes_problems(lanes, &before))?;
                    surprise = self.other_lanes(lanes);
                }
                self.change_layout(lanes, &|seen| self.first(seen, lanes, orphans.as_deref()))?
            }
        };
        self.refuse(compare(&layout, &self.options, &self.id, &self.topics_with(&layout)?))?;
        for name in types.iter().filter(|name| layout.of(name).is_none()).collect::<Vec<_>>() {
            layout = self.add(&layout, name)?;
        }
        let topics = self.topics_with(&layout)?;
        let mut problems = self.problems(&layout, &topics)?;
        self.refuse(problems.clone())?;
        problems.extend(surprise.map(|one| Problem {
            repair: Repair::Late("hosts that begin now have that many lanes for ever".into()),
            ..one
        }));
        let is_new = |topic: &Topic| !before.iter().any(|one| one.name == topic.name);
        let created = topics.iter().filter(|topic| is_new(topic)).map(|topic| topic.name.clone()).collect();
        Ok(Opened { layout, warnings: problems, created })
    }

    /// Adds one type while hosts run; `layout` is what the caller knows. Every host that does this gets the same answer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn add(&self, layout: &Layout, name: &AggregateType) -> Result<Layout, LogError> {
        let pair = [self.options.commands_topic(name), self.options.events_topic(name)];
        if self.known_once(&pair.each_ref().map(String::as_str))?.len() < pair.len() {
            self.refuse(self.scarce(&pair[1]).into_iter().collect())?;
        }
        let ids = self.ensure_type(name, layout.partitions)?;
        let events = self.options.events_topic(name);
        self.refuse(self.type_problems(layout.partitions, name)?)?;
        // Looked at before the layout is read under the fence: owners write to the topic only after the layout has it.
        let written = self.written(&events, layout.partitions)?;
        self.change_layout(layout.lanes, &|seen| {
            let seen = seen.ok_or_else(|| fatal("the layout vanished from the topic of lanes: restore it from a backup"))?;
            if seen.of(name).is_none() && written {
                return Err(fatal(format!(
                    "topic {events} holds records, but the layout does not know it: it was copied, or is another log's. \
                     Delete it, or use another `log.prefix`"
                )));
            }
            Ok(seen.with(name, &ids.commands_topic_id, &ids.events_topic_id))
        })
    }

    /// Everything that is wrong with the topics of a layout, of which `topics` are those that exist.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the cluster does not answer.
    pub fn problems(&self, layout: &Layout, topics: &[Topic]) -> Result<Vec<Problem>, LogError> {
        let mut problems = compare(layout, &self.options, &self.id, topics);
        for (name, role) in self.names(layout) {
            if let Some(topic) = topics.iter().find(|topic| topic.name == name) {
                problems.extend(rules::check(topic, role, self.expected(layout, role)));
            }
        }
        problems.extend(self.transaction_problems());
        problems.sort_by_key(|problem| problem.severity);
        Ok(problems)
    }

    /// The number of lanes of the topic of lanes, which is made if it may be.
    fn lanes(&self, topics: &[Topic]) -> Result<u32, LogError> {
        let name = self.options.lanes_topic();
        if let Some(topic) = topics.iter().find(|topic| topic.name == name) {
            return Ok(topic.partitions);
        }
        if let Some(orphans) = self.events_without_layout(topics)?
            && self.known_once(&[&name])?.is_empty()
        {
            return Err(fatal(orphans));
        }
        if self.options.create_topics && self.options.production {
            self.refuse(self.scarce(&name).into_iter().chain(self.transaction_problems()).collect())?;
        }
        self.ensure_lanes_topic(self.options.dimensions().1)?;
        let made = self.describe(&[&name])?;
        made.first().map(|topic| topic.partitions).ok_or_else(|| self.failed(&format!("find {name}"), "it vanished"))
    }

    /// Events whose layout is gone: nobody knows which generation their lanes are, so nobody can be fenced.
    pub(super) fn events_without_layout(&self, topics: &[Topic]) -> Result<Option<String>, LogError> {
        for topic in topics {
            let role = rules::parse(&self.options.prefix, &topic.name).map(|(role, _)| role);
            if role == Some(Role::Events) && self.written(&topic.name, topic.partitions)? {
                return Ok(Some(format!(
                    "topic {} holds records, but the layout of the log is gone with {}: restore that topic from a backup, or \
                     begin anew under another `log.prefix`",
                    topic.name,
                    self.options.lanes_topic()
                )));
            }
        }
        Ok(None)
    }

    /// The number of partitions of a log that has no layout yet.
    pub(super) fn partitions_to_be(&self, lanes: u32) -> u32 {
        self.options.partitions.unwrap_or(self.options.dimensions().0.max(lanes))
    }

    /// The layout of a log that has none; one that was found stays as it is.
    pub(super) fn first(&self, seen: Option<Layout>, lanes: u32, orphans: Option<&str>) -> Result<Layout, LogError> {
        if let Some(layout) = seen {
            return Ok(layout);
        }
        if let Some(orphans) = orphans {
            return Err(fatal(orphans));
        }
        let partitions = self.partitions_to_be(lanes);
        let wanted = self.options.lanes.unwrap_or(lanes);
        if wanted != lanes || lanes > partitions {
            return Err(fatal(format!(
                "topic {} has {lanes} partitions, but the settings say {wanted} lanes of {partitions} partitions \
                 (the usual number of lanes is {LANES_USUAL}): set `lanes = {lanes}`, or delete the topic, which is still unused",
                self.options.lanes_topic()
            )));
        }
        Ok(Layout { cluster_id: self.id.clone(), generation: 1, partitions, lanes, types: Vec::new() })
    }

    /// What is wrong with the topics of a type that no layout has yet.
    fn type_problems(&self, partitions: u32, name: &AggregateType) -> Result<Vec<Problem>, LogError> {
        let (commands, events) = (self.options.commands_topic(name), self.options.events_topic(name));
        let topics = self.describe(&[&commands, &events])?;
        let expected = self.expected_before(partitions);
        let role = |topic: &Topic| if topic.name == events { Role::Events } else { Role::Commands };
        Ok(topics.iter().flat_map(|topic| rules::check(topic, role(topic), expected)).collect())
    }

    /// A record of transactions on one disk loses commits that were answered (R11). Who may not look is told so.
    pub(super) fn transaction_problems(&self) -> Vec<Problem> {
        let expected = self.expected_before(0);
        match self.transactions() {
            Ok(topic) => rules::check(&topic, Role::Transactions, expected),
            Err(error) => vec![Problem {
                severity: if expected.production { Severity::Refuse } else { Severity::Warn },
                topic: rules::TRANSACTIONS.into(),
                setting: "replication factor".into(),
                is: format!("unknown ({error})"),
                should: "at least 3".into(),
                repair: Repair::Words("allow the host to describe the topic, or the brokers' settings".into()),
            }],
        }
    }

    fn refuse(&self, problems: Vec<Problem>) -> Result<(), LogError> {
        refusal(&problems).map_or(Ok(()), |text| Err(fatal(text)))
    }
}
