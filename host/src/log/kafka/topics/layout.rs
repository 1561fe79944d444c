//! The layout of a log (R3): how many partitions and lanes it has, and which topics. It is a record in every partition of
//! the topic of lanes, and never guessed from what a cluster happens to hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Repair, Severity};
use super::rules::Topic;
use crate::log::kafka::options::Options;
use crate::message::AggregateType;

/// Key of the record.
pub const KEY: &str = "layout";

/// How a log is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The cluster that the topics are in.
    pub cluster_id: String,
    /// Counts changes of the number of lanes; part of the names of transactions.
    pub generation: u32,
    /// Partitions of each topic of commands or events.
    pub partitions: u32,
    /// Lanes, which are the partitions of the topic of lanes.
    pub lanes: u32,
    /// The types, each with a slot of its own.
    pub types: Vec<LayoutType>,
}

/// The topics of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutType {
    /// The type.
    pub name: String,
    /// Its number, which the numbers of its streams are made of: never used for another type.
    pub slot: u32,
    /// Id of its topic of commands.
    pub commands_topic_id: String,
    /// Id of its topic of events.
    pub events_topic_id: String,
}

impl Layout {
    /// Reads the value of a record.
    ///
    /// # Errors
    /// A sentence, if it is no layout that this version understands.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let layout: Self = serde_json::from_slice(json)
            .map_err(|e| format!("the record of the layout cannot be read ({e}): is it of a later version?"))?;
        let (mut names, mut slots) = (BTreeSet::new(), BTreeSet::new());
        let types_fit = layout.types.iter().all(|one| {
            AggregateType::parse(&one.name).is_ok() && names.insert(one.name.as_str()) && slots.insert(one.slot)
        });
        if layout.partitions == 0 || layout.lanes == 0 || !types_fit {
            return Err(format!("the record of the layout contradicts itself: {}", String::from_utf8_lossy(json)));
        }
        Ok(layout)
    }

    /// The entry of a type.
    pub fn of(&self, name: &AggregateType) -> Option<&LayoutType> {
        self.types.iter().find(|one| one.name == name.as_str())
    }

    /// Adds a type under the next slot, if it is not there yet.
    #[must_use]
    pub fn with(mut self, name: &AggregateType, commands_topic_id: &str, events_topic_id: &str) -> Self {
        if self.of(name).is_none() {
            let slot = self.types.iter().map(|one| one.slot + 1).max().unwrap_or(0);
            self.types.push(LayoutType {
                name: name.to_string(),
                slot,
                commands_topic_id: commands_topic_id.into(),
                events_topic_id: events_topic_id.into(),
            });
        }
        self
    }

    /// Whether this one came out of `earlier` by adding types, or by a change of the number of lanes.
    fn follows(&self, earlier: &Self) -> bool {
        let same_log = (&self.cluster_id, self.partitions) == (&earlier.cluster_id, earlier.partitions);
        let same_lanes = self.generation > earlier.generation || self.lanes == earlier.lanes;
        same_log && same_lanes && self.types.starts_with(&earlier.types)
    }
}

/// What the partitions of the topic of lanes say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No partition has a layout.
    Nothing,
    /// All have this one.
    Agreed(Layout),
    /// Some have an older one or none: this is the newest, and must be written again.
    Newest(Layout),
}

impl Found {
    /// The newest, if there is any.
    pub fn layout(self) -> Option<Layout> {
        match self {
            Self::Nothing => None,
            Self::Agreed(layout) | Self::Newest(layout) => Some(layout),
        }
    }
}

/// Compares what was read from each partition. Types are only ever added and generations only rise, which orders layouts.
///
/// # Errors
/// A sentence, if two contradict each other.
pub fn agree(read: &[Option<Layout>]) -> Result<Found, String> {
    let age = |layout: &&Layout| (layout.generation, layout.types.len());
    let Some(newest) = read.iter().flatten().max_by_key(age) else { return Ok(Found::Nothing) };
    if let Some(other) = read.iter().flatten().find(|other| !newest.follows(other)) {
        return Err(format!(
            "two layouts in the topic of lanes contradict each other, {newest:?} and {other:?}: restore the topic from a backup"
        ));
    }
    let all = read.iter().all(|one| one.as_ref() == Some(newest));
    Ok(if all { Found::Agreed(newest.clone()) } else { Found::Newest(newest.clone()) })
}

/// What the layout, the settings and the cluster say differently. `topics` are those of the prefix.
pub fn compare(layout: &Layout, options: &Options, cluster_id: &str, topics: &[Topic]) -> Vec<Problem> {
    let lanes_topic = options.lanes_topic();
    let mut problems = Vec::new();
    let mut refuse = |topic: &str, setting: &str, is: String, should: String, repair: &str| {
        let (topic, setting, repair) = (topic.to_owned(), setting.to_owned(), Repair::Words(repair.to_owned()));
        problems.push(Problem { severity: Severity::Refuse, topic, setting, is, should, repair });
    };
    if layout.cluster_id != cluster_id {
        refuse(
            &lanes_topic,
            "cluster of the layout",
            layout.cluster_id.clone(),
            format!("{cluster_id}, which answers here"),
            "topics that were copied have other offsets: set `log.brokers` to the cluster they are from, or begin anew \
             under another `log.prefix`",
        );
    }
    let agreed = [("partitions", options.partitions, layout.partitions), ("lanes", options.lanes, layout.lanes)];
    for (setting, wanted, have) in agreed {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != have) {
            let (is, should) = (format!("{wanted} in the settings"), format!("{have}, as in the layout"));
            refuse(
                &lanes_topic,
                setting,
                is,
                should,
                &format!("it is fixed: set `{setting} = {have}`, or leave it out"),
            );
        }
    }
    let find = |name: &str| topics.iter().find(|one| one.name == name);
    for one in &layout.types {
        let Ok(name) = AggregateType::parse(&one.name) else { continue };
        let pair = [
            (options.commands_topic(&name), &one.commands_topic_id),
            (options.events_topic(&name), &one.events_topic_id),
        ];
        for (topic, id) in pair {
            let (is, repair) = match find(&topic) {
                None => (
                    "missing".to_owned(),
                    "it may not be described, or it vanished, and one made anew has another id: allow it, or restore the \
                     cluster from a backup, or begin anew under another `log.prefix`",
                ),
                Some(found) if found.id != *id => (
                    found.id.clone(),
                    "it was deleted and made anew, and its records are gone: restore the cluster from a backup, or \
                     begin anew under another `log.prefix`",
                ),
                Some(_) => continue,
            };
            refuse(&topic, "topic id", is, format!("{id}, as in the layout"), repair);
        }
    }
    problems
}
