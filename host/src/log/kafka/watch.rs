//! Looks after the lanes of this host every few seconds: whether a transaction that somebody left open keeps records from
//! being read, and how far the answers are, for tools that show the lag of groups (R13).
//!
//! Invariant: nothing here decides anything. What it commits for the tools is read by nobody who answers commands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Host;
use super::options::clients;
use super::topics::context::Context;
use crate::clock::Stopwatch;
use crate::log::LogError;
use crate::message::AggregateType;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// A transaction that is open for longer is nobody's who is at work: a lane's own is aborted after ten seconds, and the brokers look
/// for such ones every ten seconds.
const TOO_LONG: Duration = Duration::from_secs(25);

/// What open transactions keep from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Offsets between the last stable one and the end, of the partition that has the most.
    pub offsets: u64,
    /// Milliseconds for which the same transaction has been seen open, of the partition that has the oldest.
    pub age_ms: u64,
}

/// Told of each lane of this host after each look.
pub type OnLook = Box<dyn Fn(u32, Open) + Send>;

/// A partition of one of the log's topics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    topic: String,
    partition: u32,
}

/// A partition in which something is open.
#[derive(Debug)]
struct Stuck {
    stable: i64,
    since: Duration,
    told: bool,
}

/// What is worth saying of a partition.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It has been stuck for too long.
    Stuck { stable: i64, offsets: u64, age: Duration },
    /// What was told is over.
    Over,
}

/// The partitions in which something is open, with the time of the look as the only clock.
#[derive(Debug, Default)]
struct Watched(BTreeMap<Place, Stuck>);

impl Watched {
    /// Takes one look at a partition; news are told once.
    fn look(&mut self, place: &Place, stable: i64, end: i64, now: Duration) -> (Open, Option<News>) {
        let offsets = u64::try_from(end.saturating_sub(stable)).unwrap_or(0);
        let moved = self.0.get(place).is_some_and(|stuck| stuck.stable != stable);
        let mut news = None;
        if offsets == 0 || moved {
            let told = self.0.remove(place).is_some_and(|stuck| stuck.told);
            news = told.then_some(News::Over);
        }
        if offsets == 0 {
            return (Open::default(), news);
        }
        let stuck = self.0.entry(place.clone()).or_insert(Stuck { stable, since: now, told: false });
        let age = now.saturating_sub(stuck.since);
        if age >= TOO_LONG && !stuck.told {
            stuck.told = true;
            news = Some(News::Stuck { stable, offsets, age });
        }
        (Open { offsets, age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }, news)
    }

    /// Forgets partitions that are not looked at any more.
    fn keep(&mut self, places: &[(u32, Place)]) {
        self.0.retain(|place, _| places.iter().any(|(_, kept)| kept == place));
    }
}

/// A running watch. Dropping it ends it at its next look; nothing waits for it.
#[derive(Debug)]
pub struct Watch {
    _ending: SyncSender<()>,
}

impl Watch {
    /// Begins to look.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there can be no client or no thread.
    pub(super) fn start(host: Arc<Host>, on_look: OnLook) -> Result<Self, LogError> {
        let fatal = |e: &dyn std::fmt::Display| LogError::Fatal(format!("the lanes cannot be watched: {e}"));
        let group = lag_config(&host).create_with_context(Context::default()).map_err(|e| fatal(&e))?;
        let (ending, ended) = sync_channel::<()>(0);
        let mut work = Work {
            host,
            group,
            on_look,
            watched: Watched::default(),
            lanes: BTreeMap::new(),
            committed: BTreeMap::new(),
            watch: Stopwatch::start(),
        };
        let run = move || {
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                work.look();
            }
        };
        std::thread::Builder::new().name("watch".into()).spawn(run).map_err(|e| fatal(&e))?;
        Ok(Self { _ending: ending })
    }
}

fn lag_config(host: &Host) -> ClientConfig {
    let group = host.options.lag_group();
    host.options.client_with(&[&[("group.id", group.as_str())][..], clients::LAG].concat())
}

struct Work {
    host: Arc<Host>,
    group: BaseConsumer<Context>,
    on_look: OnLook,
    watched: Watched,
    /// What the last look found.
    lanes: BTreeMap<u32, Open>,
    /// What was committed last for the tools.
    committed: BTreeMap<Place, u64>,
    watch: Stopwatch,
}

impl Work {
    fn look(&mut self) {
        let ours = self.ours();
        self.watch_transactions(&ours);
        if let Err(error) = self.commit_lag(&ours) {
            // Nobody depends on it; the next look tries again.
            tracing::debug!("how far the answers are was not written down for tools: {error}");
        }
    }

    /// The partitions of this host's lanes: lane, number of the stream, type, partition.
    fn ours(&self) -> Vec<(u32, u32, AggregateType, u32)> {
        let layout = self.host.layout();
        let types = layout.types.iter().filter_map(|one| Some((one.slot, AggregateType::parse(&one.name).ok()?)));
        let mut ours = Vec::new();
        for (slot, of) in types {
            for partition in 0..layout.partitions {
                let lane = partition % layout.lanes;
                if self.host.placement.is_ours(lane) {
                    ours.push((lane, slot * layout.partitions + partition, of.clone(), partition));
                }
            }
        }
        ours
    }

    /// Both topics can be blocked: commands that are not read, and events whose readers wait.
    fn watch_transactions(&mut self, ours: &[(u32, u32, AggregateType, u32)]) {
        let options = &self.host.options;
        let both = ours.iter().flat_map(|(lane, _, of, partition)| {
            [options.commands_topic(of), options.events_topic(of)]
                .map(|topic| (*lane, Place { topic, partition: *partition }))
        });
        let places: Vec<(u32, Place)> = both.collect();
        self.watched.keep(&places);
        let asked: Vec<(&str, u32)> = places.iter().map(|(_, place)| (place.topic.as_str(), place.partition)).collect();
        let ends = match self.host.cluster.stable_and_last(&asked) {
            Ok(ends) => ends,
            // A lane that cannot reach its brokers says so itself.
            Err(error) => return tracing::debug!("open transactions were not looked for: {error}"),
        };
        let now = self.watch.elapsed();
        let mut lanes: BTreeMap<u32, Open> = places.iter().map(|(lane, _)| (*lane, Open::default())).collect();
        for ((lane, place), (stable, end)) in places.iter().zip(ends) {
            let (open, news) = self.watched.look(place, stable, end, now);
            let of_lane = lanes.entry(*lane).or_default();
            of_lane.offsets = of_lane.offsets.max(open.offsets);
            of_lane.age_ms = of_lane.age_ms.max(open.age_ms);
            if let Some(news) = news {
                tell(&self.host.options.brokers, *lane, place, &news);
            }
        }
        for lane in self.lanes.keys().filter(|lane| !lanes.contains_key(lane)) {
            // It went to another host, which looks after it now.
            (self.on_look)(*lane, Open::default());
        }
        lanes.iter().for_each(|(lane, open)| (self.on_look)(*lane, *open));
        self.lanes = lanes;
    }

    /// Commits the offset of the next command of each partition for which it is another one than before.
    fn commit_lag(&mut self, ours: &[(u32, u32, AggregateType, u32)]) -> Result<(), String> {
        let mut news = BTreeMap::new();
        for (_, stream, of, partition) in ours {
            let place = Place { topic: self.host.options.commands_topic(of), partition: *partition };
            let next = self.host.copy.progress(*stream).next_command_offset;
            if self.committed.get(&place) != Some(&next) {
                news.insert(place, next);
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(news.len());
        for (place, next) in &news {
            let offset = Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
            let added = list.add_partition_offset(&place.topic, place.partition.cast_signed(), offset);
            added.map_err(|e| e.to_string())?;
        }
        self.group.commit(&list, CommitMode::Sync).map_err(|e| e.to_string())?;
        // A partition that another host had meanwhile is written again: what is remembered is of this host alone.
        self.committed.retain(|place, _| {
            ours.iter().any(|(.., of, partition)| {
                *partition == place.partition && self.host.options.commands_topic(of) == place.topic
            })
        });
        self.committed.extend(news);
        Ok(())
    }
}

fn tell(brokers: &str, lane: u32, place: &Place, news: &News) {
    let Place { topic, partition } = place;
    match news {
        News::Stuck { stable, offsets, age } => tracing::warn!(
            lane,
            "a transaction has been open for {} s in {topic} partition {partition}: nobody reads the {offsets} records from offset \
             {stable} on, so that commands or their answers wait. No host of this log leaves one open so long. \
             `kafka-transactions.sh --bootstrap-server {brokers} describe-producers --topic {topic} --partition {partition}` shows \
             whose it is, `find-hanging --topic {topic}` whether nobody will end it, and \
             `abort --topic {topic} --partition {partition} --start-offset {stable}` ends it",
            age.as_secs(),
        ),
        News::Over => tracing::info!(lane, "the transaction that was open in {topic} partition {partition} has ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { topic: "bank.account.events".into(), partition: 3 }
    }

    #[test]
    fn a_transaction_that_stays_open_is_told_once_and_again_when_it_ends() {
        let mut watched = Watched::default();
        let mut look = |stable, end, seconds| watched.look(&place(), stable, end, Duration::from_secs(seconds));
        assert_eq!(look(10, 10, 0), (Open::default(), None), "nothing is open");
        assert_eq!(look(10, 15, 5), (Open { offsets: 5, age_ms: 0 }, None));
        assert_eq!(look(10, 17, 20), (Open { offsets: 7, age_ms: 15_000 }, None));
        let told = News::Stuck { stable: 10, offsets: 8, age: Duration::from_secs(25) };
        assert_eq!(look(10, 18, 30), (Open { offsets: 8, age_ms: 25_000 }, Some(told)));
        assert_eq!(look(10, 19, 100).1, None, "it was told");
        assert_eq!(look(19, 19, 105), (Open::default(), Some(News::Over)));
        assert_eq!(look(19, 19, 110).1, None);
    }

    #[test]
    fn transactions_that_come_and_go_are_work() {
        let mut watched = Watched::default();
        for n in 0..100_i64 {
            let (open, news) = watched.look(&place(), n, n + 50, Duration::from_secs(5 * n.unsigned_abs()));
            assert_eq!((open, news), (Open { offsets: 50, age_ms: 0 }, None));
        }
    }

    #[test]
    fn a_partition_that_went_to_another_host_is_forgotten() {
        let mut watched = Watched::default();
        watched.look(&place(), 1, 2, Duration::ZERO);
        watched.keep(&[(0, Place { partition: 4, ..place() })]);
        assert_eq!(watched.look(&place(), 1, 2, 2 * TOO_LONG).0.age_ms, 0);
    }
}
