//! What a start would find, looked at without making anything, and what a start looks at before it makes something.

use std::collections::BTreeSet;

use super::Cluster;
use super::layout::{Found, Layout};
use super::problem::{Problem, Repair, Severity};
use super::rules::{self, Role, Topic};
use crate::log::LogError;
use crate::log::kafka::options::{COPIES_USUAL, Options};
use crate::message::AggregateType;

/// The layout, unless there is no log yet; the topics; and what is wrong with both.
pub type Inspected = (Option<Layout>, Vec<Topic>, Vec<Problem>);

impl Cluster {
    /// What is wrong with the layout and the topics as they are, and would be with those that a start makes. Of types that
    /// no layout has, those in `types` are looked at, and those that have a topic already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inspect(&self, types: &[AggregateType]) -> Result<Inspected, LogError> {
        let mut topics = self.topics()?;
        let lanes_topic = self.options.lanes_topic();
        let lanes = topics.iter().find(|topic| topic.name == lanes_topic).map(|topic| topic.partitions);
        let found = lanes.map_or(Ok(Found::Nothing), |lanes| self.read_layout(lanes))?;
        let rewritten = matches!(found, Found::Newest(_));
        let layout = found.layout();
        let mut problems = if let Some(layout) = &layout {
            topics = self.topics_with(layout)?;
            self.problems(layout, &topics)?
        } else {
            self.before_layout(lanes, &topics)?
        };
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
        problems.extend(self.newcomers(layout.as_ref(), lanes, &topics, types)?);
        problems.sort_by_key(|problem| problem.severity);
        Ok((layout, topics, problems))
    }

    /// What is wrong with a log that has no layout. `lanes`: the partitions of its topic of lanes, if that is there.
    fn before_layout(&self, lanes: Option<u32>, topics: &[Topic]) -> Result<Vec<Problem>, LogError> {
        let name = self.options.lanes_topic();
        let one = |setting: &str, is: String, should: &str, repair: String| Problem {
            severity: Severity::Refuse,
            topic: name.clone(),
            setting: setting.into(),
            is,
            should: should.into(),
            repair: Repair::Words(repair),
        };
        if let Some(orphans) = self.events_without_layout(topics)? {
            return Ok(vec![one("layout", "gone".into(), "there", orphans)]);
        }
        let Some(lanes) = lanes else {
            let mut problems = self.absent(&name);
            problems.extend(self.transaction_problems());
            return Ok(problems);
        };
        let mut problems = self.lanes_problems(lanes, topics);
        match self.first(None, lanes, None) {
            Ok(_) => problems.extend(self.other_lanes(lanes)),
            Err(why) => {
                problems.push(one("number of partitions", lanes.to_string(), "the number of lanes", why.to_string()))
            }
        }
        Ok(problems)
    }

    /// What is wrong with a topic of lanes that has no layout yet, and with the brokers' record of transactions.
    pub(super) fn lanes_problems(&self, lanes: u32, topics: &[Topic]) -> Vec<Problem> {
        let name = self.options.lanes_topic();
        let topic = topics.iter().find(|topic| topic.name == name);
        let mut problems: Vec<_> =
            topic.iter().flat_map(|topic| rules::check(topic, Role::Lanes, self.expected_before(lanes))).collect();
        problems.extend(self.transaction_problems());
        problems
    }

    /// A topic of lanes that somebody made with another number of partitions than hosts would give it.
    pub(super) fn other_lanes(&self, lanes: u32) -> Option<Problem> {
        let usual = self.options.dimensions().1;
        (self.options.lanes.is_none() && lanes != usual).then(|| Problem {
            severity: Severity::Warn,
            topic: self.options.lanes_topic(),
            setting: "number of lanes".into(),
            is: format!("{lanes}, the topic's partitions"),
            should: format!("{usual} as usual, or said by `lanes = {lanes}`"),
            repair: Repair::Words(
                "set it, or delete the topic, which is still unused, before the first host starts".into(),
            ),
        })
    }

    /// What is wrong with topics of types that the layout does not have: a host that gets a module of such a type looks at
    /// the same.
    fn newcomers(
        &self,
        layout: Option<&Layout>,
        lanes: Option<u32>,
        topics: &[Topic],
        types: &[AggregateType],
    ) -> Result<Vec<Problem>, LogError> {
        let partitions = layout.map_or_else(|| self.partitions_to_be(lanes.unwrap_or(0)), |layout| layout.partitions);
        let have = topics.iter().filter_map(|topic| rules::parse(&self.options.prefix, &topic.name)?.1);
        let all: BTreeSet<AggregateType> = have.chain(types.iter().cloned()).collect();
        let mut problems = Vec::new();
        for name in all.iter().filter(|name| layout.is_none_or(|layout| layout.of(name).is_none())) {
            let pair =
                [(self.options.commands_topic(name), Role::Commands), (self.options.events_topic(name), Role::Events)];
            for (topic_name, role) in pair {
                let Some(topic) = topics.iter().find(|topic| topic.name == topic_name) else {
                    problems.extend(self.absent(&topic_name));
                    continue;
                };
                problems.extend(rules::check(topic, role, self.expected_before(partitions)));
                if layout.is_some() && role == Role::Events && self.written(&topic.name, topic.partitions)? {
                    problems.push(Problem {
                        severity: Severity::Refuse,
                        topic: topic_name,
                        setting: "content".into(),
                        is: "records".into(),
                        should: "empty, as the layout does not know the type".into(),
                        repair: Repair::Words(
                            "it was copied, or is another log's: delete it, or use another `log.prefix`".into(),
                        ),
                    });
                }
            }
        }
        Ok(problems)
    }

    /// A topic that is not there: who makes it, and what would be wrong with it then.
    fn absent(&self, name: &str) -> Vec<Problem> {
        let (severity, repair) = if self.options.create_topics {
            let text = format!("a host makes it when it needs it, and `{}` at once", self.creation(name));
            (Severity::Warn, Repair::Words(text))
        } else {
            (Severity::Refuse, Repair::Command(self.creation(name)))
        };
        let (topic, setting, is, should) = (name.to_owned(), "topic".into(), "missing".into(), "there".into());
        let mut problems = vec![Problem { severity, topic, setting, is, should, repair }];
        problems.extend(self.foreseen(name));
        problems
    }

    /// What would be wrong with a topic that is made now.
    fn foreseen(&self, name: &str) -> Option<Problem> {
        let (copies, brokers) = (self.replication(), self.brokers);
        if copies <= brokers {
            return self.scarce(name);
        }
        Some(Problem {
            severity: Severity::Refuse,
            topic: name.to_owned(),
            setting: "replication factor".into(),
            is: format!("{copies} in the settings"),
            should: format!("at most {brokers}, the brokers that answer"),
            repair: Repair::Words(self.too_many_copies()),
        })
    }

    /// A topic that must have more copies than it would be made with: looked at before anything is made. More copies than
    /// there are brokers is for the brokers to refuse.
    pub(super) fn scarce(&self, name: &str) -> Option<Problem> {
        let Options { create_topics, production, .. } = self.options;
        let copies = self.replication();
        (create_topics && production && copies < COPIES_USUAL).then(|| Problem {
            severity: Severity::Refuse,
            topic: name.to_owned(),
            setting: "replication factor".into(),
            is: format!("{copies} if it is made now"),
            should: format!("at least {COPIES_USUAL}, as `log.production` is true"),
            repair: Repair::Words("start three brokers or more, and set `log.replication` to 3 or leave it out".into()),
        })
    }
}
