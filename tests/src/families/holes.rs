//! A log that lacks a record, or holds one that no host wrote: nothing is decided on it, and the refusal names topic,
//! partition and offset, and what to do (R4, R5).

use std::time::Duration;

use anyhow::{Context, ensure};
use ordain_checker::kafka::{self, Record, Source, Topic};
use rustix::process::{Pid, Signal, kill_process};

use super::poison::kinds::{DEPOSIT, OPEN};
use super::poison::{PARTITIONS, good, home_in, outcome};
use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch, eventually};
use crate::field::{Counts, Field};
use crate::fleet::{SharedLog, brokers, knows_accounts};
use crate::raw::{Admin, Raw, RawRecord};

/// Time for a host to see what happened.
const PATIENCE: Duration = Duration::from_secs(60);
/// The partition that things are done to.
const PARTITION: u32 = 3;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = brokers(field) else { return Ok(Counts::new()) };
    let mut refused = 0;
    for hole in HOLES {
        let place = Place::new(field, &brokers, hole.name)?;
        place.filled().await.with_context(|| hole.name)?;
        let last = place.last()?;
        Raw::open(&brokers, &[])?.send(&place.events, &[(hole.record)(&last)?])?;
        for launch in [&place.launch, &place.without_a_copy(field, hole.name)?] {
            let said = launch.start_that_fails().await.with_context(|| hole.name)?;
            for word in hole.says.iter().chain(&[&*place.events, "partition 3", "nothing is decided", "backup"]) {
                ensure!(said.contains(word), "{}: {word:?} is not in: {said}", hole.name);
            }
            refused += 1;
        }
    }
    for truncated in ["events", "commands"] {
        let place = Place::new(field, &brokers, &format!("cut-{truncated}"))?;
        place.filled().await?;
        let topic = format!("{}account.{truncated}", place.log.prefix);
        Admin::open(&brokers)?.truncate(&topic, PARTITION, 2).await?;
        let said = place.launch.begin()?.refuses().await?;
        for word in ["first offset is 2 in partition 3", &topic, "restore the topic"] {
            ensure!(said.contains(word), "{truncated}: {word:?} is not in: {said}");
        }
        refused += 1;
    }
    refused += cut_while_running(field, &brokers).await?;
    Ok(Counts::from([("refused", refused)]))
}

/// A record that is written behind the last one, and what the refusal must say.
struct Hole {
    name: &'static str,
    record: fn(&Record) -> anyhow::Result<RawRecord>,
    says: &'static [&'static str],
}

const HOLES: &[Hole] = &[
    Hole { name: "gap", record: |last| again(last, |n| n + 2), says: &["ce_logsequence", "comes next"] },
    Hole { name: "repeat", record: |last| again(last, |n| n), says: &["ce_logsequence", "comes next"] },
    Hole {
        name: "old-command",
        record: |last| again(last, |n| n + 1),
        says: &["answers the command at offset", "comes next"],
    },
    Hole { name: "stranger", record: |_| Ok(stranger()), says: &["has no header"] },
];

/// The same record again, with another number.
fn again(last: &Record, number: fn(u64) -> u64) -> anyhow::Result<RawRecord> {
    let mut headers = Vec::new();
    for (name, value) in last.headers() {
        let name = String::from_utf8(name.to_vec())?;
        let mut value = value.map(<[u8]>::to_vec);
        if name == "ce_logsequence" {
            let text = String::from_utf8(value.context("a number")?)?;
            value = Some(number(text.parse()?).to_string().into_bytes());
        }
        headers.push((name, value));
    }
    let (key, value) = (last.key().map(<[u8]>::to_vec), last.value().map(<[u8]>::to_vec));
    Ok(RawRecord { partition: PARTITION, key, value, headers, timestamp_ms: None })
}

fn stranger() -> RawRecord {
    let value = Some(b"{\"Deposited\":{\"amount\":1000000}}".to_vec());
    RawRecord { partition: PARTITION, key: Some(b"acc-0".to_vec()), value, ..RawRecord::default() }
}

/// A log of its own.
struct Place {
    log: SharedLog,
    events: String,
    commands: String,
    home: String,
    launch: Launch,
}

impl Place {
    fn new(field: &Field, brokers: &str, name: &str) -> anyhow::Result<Self> {
        let log = SharedLog::new(brokers, &format!("holes-{name}"));
        let launch = log.launch(field, &field.folder.join(name))?;
        let prefix = log.prefix.clone();
        let topic = |rest: &str| format!("{prefix}account.{rest}");
        let home = home_in("acc", PARTITION);
        let (events, commands) = (topic("events"), topic("commands"));
        Ok(Self { log, events, commands, home, launch })
    }

    /// Another host, that has nothing yet.
    fn without_a_copy(&self, field: &Field, name: &str) -> anyhow::Result<Launch> {
        self.log.launch(field, &field.folder.join(format!("{name}-fresh")))
    }

    fn send(&self, commands: &[(String, &str)]) -> anyhow::Result<Vec<u64>> {
        let homes = vec![self.home.clone(); PARTITIONS as usize];
        let records: Vec<_> = commands.iter().map(|(id, json)| good(&homes, PARTITION, id, json)).collect();
        Raw::open(&self.log.brokers, &[])?.send(&self.commands, &records)
    }

    /// Runs a host that answers some commands.
    async fn running(&self) -> anyhow::Result<Daemon> {
        let host = self.launch.start().await?;
        knows_accounts(host.http()).await?;
        let deposits = (0..5).map(|n| (format!("deposit-{n}"), DEPOSIT));
        self.send(&std::iter::once(("open".to_owned(), OPEN)).chain(deposits).collect::<Vec<_>>())?;
        outcome(&host, &self.home, "deposit-4").await?;
        Ok(host)
    }

    /// A host ran, answered some commands, and stopped.
    async fn filled(&self) -> anyhow::Result<()> {
        self.running().await?.stop(Duration::from_secs(30)).await.map(drop)
    }

    /// The last answer in the partition.
    fn last(&self) -> anyhow::Result<Record> {
        let mut cluster = kafka::Cluster::open(&kafka::Broker::new(&self.log.brokers, &self.log.prefix))?;
        let records = cluster.part(Topic::Events("account"), PARTITION)?.records;
        records.into_iter().rfind(|record| record.has("ce_logsequence")).context("there are answers")
    }
}

impl Launch {
    /// Starts a host that finds out while it restores that it cannot trust the log, and returns what it said. One that
    /// has no rules yet is ready before that.
    async fn start_that_fails(&self) -> anyhow::Result<String> {
        match self.begin()?.ready().await {
            Err(said) => Ok(format!("{said:#}")),
            Ok(host) => Ok(host.ends(PATIENCE).await?.1),
        }
    }
}

/// Commands are deleted that a host has not read yet: it stops, rather than to go on behind them.
async fn cut_while_running(field: &Field, brokers: &str) -> anyhow::Result<u64> {
    let place = Place::new(field, brokers, "cut-while-running")?;
    let host = place.running().await?;
    let pid = Pid::from_raw(host.addresses().pid.cast_signed()).context("a process")?;
    kill_process(pid, Signal::STOP)?;
    // Of the first the host's waiting fetch still hears; the others are gone when it wakes up.
    let mut cut = 0;
    for n in 0..3 {
        cut = *place.send(&[(format!("unheard-{n}"), DEPOSIT)])?.last().context("an offset")?;
        let silence = clock::now_ns();
        while clock::since(silence) < Duration::from_millis(200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Admin::open(brokers)?.truncate(&place.commands, PARTITION, cut + 1).await?;
    kill_process(pid, Signal::CONT)?;
    let says = |said: &str| said.contains("commands cannot be read on") && said.contains("docs/kafka.md");
    let heard = || async { says(&host.said()).then_some(()) };
    eventually("the host saying that commands are missing", PATIENCE, heard).await.with_context(|| host.said())?;
    let answer = Client::new(host.http()).get(&format!("/v1/account/{}/commands/unheard-2", place.home)).await;
    ensure!(!answer.is_ok_and(|answer| answer.status == 200), "a command behind the hole was answered");
    drop(host);
    Ok(1)
}
