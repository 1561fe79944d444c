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

/// The layout, unless there is no log yet; the topics; and what is wrong with both.
pub type Inspected = (Option<Layout>, Vec<Topic>, Vec<Problem>);

impl Cluster {
    /// Makes what is missing, adds `types` to the layout, and verifies everything. Hosts may do this at the same time.
    ///
    /// # Errors
    /// [`LogError::Fatal`] with one line per thing that must be repaired; [`LogError::Corrupt`] if the layout is damaged.
    pub fn open(&self, types: &[AggregateType]) -> Result<Opened, LogError> {
        let before = self.topics()?;
        let lanes = self.lanes(&before)?;
        let mut layout = match self.read_layout(lanes)? {
            Found::Agreed(layout) => layout,
            Found::Newest(_) | Found::Nothing => {
                // Looked at before the layout is read under the fence: if there is none then, these events were nobody's.
                let orphans = self.events_without_layout(&before)?;
                self.change_layout(lanes, &|seen| self.first(seen, lanes, orphans.as_deref()))?
            }
        };
        self.refuse(compare(&layout, &self.options, &self.id, &self.topics_with(&layout)?))?;
        for name in types.iter().filter(|name| layout.of(name).is_none()).collect::<Vec<_>>() {
            layout = self.add(&layout, name)?;
        }
        let topics = self.topics_with(&layout)?;
        let problems = self.problems(&layout, &topics)?;
        self.refuse(problems.clone())?;
        let is_new = |topic: &Topic| !before.iter().any(|one| one.name == topic.name);
        let created = topics.iter().filter(|topic| is_new(topic)).map(|topic| topic.name.clone()).collect();
        Ok(Opened { layout, warnings: problems, created })
    }

    /// Adds one type while hosts run; `layout` is what the caller knows. Every host that does this gets the same answer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn add(&self, layout: &Layout, name: &AggregateType) -> Result<Layout, LogError> {
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
        problems.extend(self.transaction_problems(layout)?);
        problems.sort_by_key(|problem| problem.severity);
        Ok(problems)
    }

    /// What is wrong with the layout and the topics as they are, without making anything. `None` = there is no log yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inspect(&self) -> Result<Inspected, LogError> {
        let topics = self.topics()?;
        let lanes_topic = self.options.lanes_topic();
        let Some(lanes) = topics.iter().find(|topic| topic.name == lanes_topic).map(|topic| topic.partitions) else {
            return Ok((None, topics, vec![self.no_lanes_topic()]));
        };
        let found = self.read_layout(lanes)?;
        let rewritten = matches!(found, Found::Newest(_));
        let Some(layout) = found.layout() else { return Ok((None, topics, Vec::new())) };
        let topics = self.topics_with(&layout)?;
        let mut problems = self.problems(&layout, &topics)?;
        if rewritten {
            problems.push(Problem {
                severity: Severity::Warn,
                topic: lanes_topic,
                setting: "layout".into(),
                is: "older or missing in some partitions".into(),
                should: "the same in all".into(),
                repair: Repair::Words("the next start of a host writes it again".into()),
            });
        }
        Ok((Some(layout), topics, problems))
    }

    fn no_lanes_topic(&self) -> Problem {
        Problem {
            severity: Severity::Refuse,
            topic: self.options.lanes_topic(),
            setting: "topic".into(),
            is: "missing".into(),
            should: "there".into(),
            repair: Repair::Command("ordain topics create".into()),
        }
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
        self.ensure_lanes_topic(self.options.dimensions().1)?;
        let made = self.describe(&[&name])?;
        made.first().map(|topic| topic.partitions).ok_or_else(|| self.failed(&format!("find {name}"), "it vanished"))
    }

    /// Events whose layout is gone: nobody knows which generation their lanes are, so nobody can be fenced.
    fn events_without_layout(&self, topics: &[Topic]) -> Result<Option<String>, LogError> {
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

    /// The layout of a log that has none; one that was found stays as it is.
    fn first(&self, seen: Option<Layout>, lanes: u32, orphans: Option<&str>) -> Result<Layout, LogError> {
        if let Some(layout) = seen {
            return Ok(layout);
        }
        if let Some(orphans) = orphans {
            return Err(fatal(orphans));
        }
        let partitions = self.options.partitions.unwrap_or(self.options.dimensions().0.max(lanes));
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
    fn transaction_problems(&self, layout: &Layout) -> Result<Vec<Problem>, LogError> {
        let expected = self.expected(layout, Role::Transactions);
        match self.transactions() {
            Ok(topic) => Ok(rules::check(&topic, Role::Transactions, expected)),
            Err(error) => Ok(vec![Problem {
                severity: if expected.production { Severity::Refuse } else { Severity::Warn },
                topic: rules::TRANSACTIONS.into(),
                setting: "replication factor".into(),
                is: format!("unknown ({error})"),
                should: "at least 3".into(),
                repair: Repair::Words("allow the host to describe the topic, or the brokers' settings".into()),
            }]),
        }
    }

    fn refuse(&self, problems: Vec<Problem>) -> Result<(), LogError> {
        refusal(&problems).map_or(Ok(()), |text| Err(fatal(text)))
    }
}
