//! Records that nobody should write, in a topic of commands that anybody may write to. Each has exactly one answer, the
//! good commands between them are decided as if nothing were beside them, and the host goes on (R6, R12).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use ordain_checker::kafka::{self, Record, Source, Topic};
use serde_json::Value;

use crate::client::Client;
use crate::daemon::{Daemon, eventually};
use crate::field::{Counts, Field};
use crate::fleet::{SharedLog, brokers, knows_accounts};
use crate::raw::{Raw, RawRecord};

pub(super) mod kinds;

use kinds::{Kind, Wants};

/// Partitions, as [`launch`] has them.
pub(super) const PARTITIONS: u32 = 8;
/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = brokers(field) else { return Ok(Counts::new()) };
    let log = SharedLog::new(&brokers, "poison");
    let prefix = &log.prefix;
    let mut host = log.launch(field, &field.folder.join("a"))?.start().await?;
    knows_accounts(host.http()).await?;
    let topic = format!("{prefix}account.commands");
    let homes: Vec<String> = (0..PARTITIONS).map(|at| home_in("acc", at)).collect();
    let raw = Raw::open(&brokers, &[])?;
    let open: Vec<RawRecord> = (0..PARTITIONS).map(|at| good(&homes, at, "open", kinds::OPEN)).collect();
    raw.send(&topic, &open)?;

    // Each kind in a partition of its own choosing, and behind each a good command.
    let all = kinds::all();
    let mut asked: BTreeMap<(u32, u64), &Kind> = BTreeMap::new();
    let mut goods = 0;
    for (n, kind) in (0..).zip(&all) {
        let partition = n % PARTITIONS;
        let record = kind.record(&homes, partition);
        let with = match kind.codec {
            Some(codec) => &Raw::open(&brokers, &[("compression.type", codec), ("linger.ms", "50")])?,
            None => &raw,
        };
        let copies = vec![record; kind.copies];
        for offset in with.send(&topic, &copies).with_context(|| format!("sending {}", kind.name))? {
            asked.insert((partition, offset), kind);
        }
        raw.send(&topic, &[good(&homes, partition, &format!("good-{n}"), kinds::DEPOSIT)])?;
        goods += 1;
    }
    let aborted = aborted(&brokers, prefix, &topic, &homes)?;
    let last: Vec<RawRecord> = (0..PARTITIONS).map(|at| good(&homes, at, "last", kinds::DEPOSIT)).collect();
    raw.send(&topic, &last)?;
    for home in &homes {
        outcome(&host, home, "last").await?;
    }
    ensure!(host.runs()?, "the host ended: {}", host.said());
    let status = Client::new(host.addresses().admin).get("/readyz").await?.status;
    ensure!(status == 200, "the host is not ready any more ({status}): {}", host.said());
    host.stop(Duration::from_secs(30)).await?;

    let records = log.judged(field, false)?;
    let answers = answers(&brokers, prefix)?;
    for (at, kind) in &asked {
        let answer = answers.get(at).with_context(|| format!("{} at {at:?} has no answer", kind.name))?;
        kind.wants.holds(answer).with_context(|| format!("{} at {at:?}", kind.name))?;
    }
    let accepted = answers.values().filter(|answer| *answer == "accepted").count() as u64;
    ensure!(accepted >= goods + 2 * u64::from(PARTITIONS), "good commands were not accepted: {accepted} were");
    let kinds = all.len() as u64;
    Ok(Counts::from([("kinds", kinds), ("records", records), ("accepted", accepted), ("aborted", aborted)]))
}

/// An id whose home is a partition.
pub(super) fn home_in(stem: &str, partition: u32) -> String {
    let home = |id: &String| ordain_checker::murmur::partition(id, PARTITIONS) == partition;
    (0..).map(|n| format!("{stem}-{n}")).find(home).unwrap_or_default()
}

/// A command as it should be.
pub(super) fn good(homes: &[String], partition: u32, id: &str, json: &str) -> RawRecord {
    RawRecord {
        partition,
        key: Some(homes[partition as usize].clone().into_bytes()),
        value: Some(json.into()),
        headers: vec![("ce_id".into(), Some(id.into()))],
        timestamp_ms: None,
    }
}

/// Waits for the outcome of a command.
pub(super) async fn outcome(host: &Daemon, of: &str, id: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/account/{of}/commands/{id}");
    eventually(&format!("an answer to {id} of {of}"), PATIENCE, || async {
        let answer = Client::new(host.http()).get(&path).await.ok()?;
        if answer.status == 200 { answer.json().ok() } else { None }
    })
    .await
    .with_context(|| host.said())
}

/// Commands that somebody wrote in a transaction, and took back.
fn aborted(brokers: &str, prefix: &str, topic: &str, homes: &[String]) -> anyhow::Result<u64> {
    let foreign = Raw::open(brokers, &[("transactional.id", &format!("{prefix}foreign"))])?;
    foreign.begin()?;
    let records: Vec<RawRecord> = (0..PARTITIONS).map(|at| good(homes, at, "taken-back", kinds::DEPOSIT)).collect();
    let sent = foreign.send(topic, &records)?;
    foreign.abort()?;
    Ok(sent.len() as u64)
}

/// How each command was answered, by its partition and offset: `accepted`, or the outcome and the reason of a failure.
fn answers(brokers: &str, prefix: &str) -> anyhow::Result<BTreeMap<(u32, u64), String>> {
    let mut cluster = kafka::Cluster::open(&kafka::Broker::new(brokers, prefix))?;
    let mut answers = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for record in cluster.part(Topic::Events("account"), partition)?.records {
            if let Some(offset) = header(&record, "ce_commandoffset").and_then(|text| text.parse().ok()) {
                answers.insert((partition, offset), word(&record)?);
            }
        }
    }
    Ok(answers)
}

fn header(record: &Record, name: &str) -> Option<String> {
    String::from_utf8(record.header(name).ok()??.to_vec()).ok()
}

fn word(record: &Record) -> anyhow::Result<String> {
    if header(record, "ce_type").as_deref() != Some("ordain.outcome") {
        return Ok("accepted".into());
    }
    let value: Value = serde_json::from_slice(record.value().unwrap_or_default())?;
    let word = value["outcome"].as_str().unwrap_or("repeated");
    Ok(match value["failure"]["reason"].as_str() {
        _ if value["replayed"] == true => "repeated".into(),
        Some(reason) => format!("{word}: {reason}"),
        None => word.into(),
    })
}

impl Wants {
    fn holds(&self, answer: &str) -> anyhow::Result<()> {
        let wanted = match self {
            Self::Answer(word) => (*word).to_owned(),
            Self::Failed(reason) => format!("failed: {reason}"),
        };
        ensure!(answer == wanted, "was answered `{answer}`, not `{wanted}`");
        Ok(())
    }
}
