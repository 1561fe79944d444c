//! Answers and commands that are larger than their topic takes, and a topic whose bound is lowered while a host writes to
//! it: one command fails, as `too_large`, and nothing stops (R6).

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::poison::kinds::{DEPOSIT, OPEN, opening};
use super::poison::{PARTITIONS, good, home_in, outcome};
use crate::client::Client;
use crate::daemon::{Daemon, eventually};
use crate::field::{Counts, Field};
use crate::fleet::{SharedLog, brokers, knows_accounts};
use crate::raw::{Admin, Raw, RawRecord};

/// What hosts make topics take.
const USUAL: usize = 4 * 1024 * 1024;
/// What a topic of events must take at least.
const LEAST: usize = 64 * 1024;
/// An answer that fits into the one and not into the other.
const BETWEEN: usize = 100_000;
/// Time for a host to be what it is to be.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for a host to answer, or not to.
const A_MOMENT: Duration = Duration::from_secs(1);

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = brokers(field) else { return Ok(Counts::new()) };
    let log = SharedLog::new(&brokers, "oversized");
    let start = log.launch(field, &field.folder.join("a"))?;
    let prefix = &log.prefix;
    let (commands, events) = (format!("{prefix}account.commands"), format!("{prefix}account.events"));
    let admin = Admin::open(&brokers)?;
    let homes: Vec<String> = (0..PARTITIONS).map(|at| home_in("acc", at)).collect();
    let host = start.start().await?;
    knows_accounts(host.http()).await?;
    let bank = Bank { host: &host };

    // As the topics are made.
    bank.accepted(&homes[0], "open", &opening(BETWEEN)).await?;
    // Lowered while the host runs: it learns of it by a refusal.
    admin.bound(&events, LEAST).await?;
    bank.fails(&home_in("large", 0), "too-large", BETWEEN).await?;
    bank.accepted(&homes[0], "after", DEPOSIT).await?;
    // The first answer is larger than the topic takes now: it can be named, and not be shown again.
    let again = bank.post(&homes[0], "open", &opening(BETWEEN)).await?;
    ensure!(again.0 == 200 && again.1["replayed"] == true, "{again:?}");
    // One of many that are decided together.
    let failed = flood(&brokers, &commands, &host, &homes).await?;
    // Raised: it holds from the next taking of a lane on.
    admin.bound(&events, USUAL).await?;
    host.stop(Duration::from_secs(30)).await?;
    let host = start.start().await?;
    knows_accounts(host.http()).await?;
    let bank = Bank { host: &host };
    bank.accepted(&home_in("large", 1), "fits-again", &opening(BETWEEN)).await?;

    // A command that its topic does not take is not taken here either, and in the next moment it may be.
    admin.bound(&commands, 2_000).await?;
    bank.refused(&home_in("large", 2), "too-long", BETWEEN).await?;
    bank.accepted(&homes[0], "short", DEPOSIT).await?;
    admin.bound(&commands, USUAL).await?;
    let fits =
        || async { bank.post(&home_in("large", 2), "long", &opening(BETWEEN)).await.ok().filter(|got| got.0 == 200) };
    eventually("the topic of commands taking more again", PATIENCE, fits).await?;

    // Too little for any answer: the host says so, and so does the next one that starts.
    admin.bound(&events, 100).await?;
    let says =
        |text: &str| text.contains("max.message.bytes") && text.contains(&events) && text.contains("kafka-configs.sh");
    // Brokers may take some more before they hear of it.
    let said = || async {
        let _unanswered = tokio::time::timeout(A_MOMENT, bank.once(&homes[0], "nowhere", DEPOSIT)).await;
        says(&host.said()).then_some(())
    };
    eventually("the host saying why it cannot go on", PATIENCE, said).await?;
    drop(host);
    let refusal = start.begin()?.refuses().await?;
    ensure!(says(&refusal), "{refusal}");
    admin.bound(&events, USUAL).await?;
    let host = start.start().await?;
    outcome(&host, &homes[0], "nowhere").await?;
    host.stop(Duration::from_secs(30)).await?;
    let records = log.judged(field, false)?;
    Ok(Counts::from([("records", records), ("failed as too large", failed + 1), ("refused as too large", 1)]))
}

/// Many commands at once, some of whose answers do not fit; returns how many.
async fn flood(brokers: &str, topic: &str, host: &Daemon, homes: &[String]) -> anyhow::Result<u64> {
    let raw = Raw::open(brokers, &[("linger.ms", "100")])?;
    let mut records = vec![good(homes, 1, "open", OPEN)];
    let mut large = Vec::new();
    for n in 0..60 {
        if n % 20 == 10 {
            let id = home_in(&format!("flood-{n}"), 1);
            let command = good(&vec![id.clone(); PARTITIONS as usize], 1, "too-large", &opening(BETWEEN));
            records.push(command);
            large.push(id);
        }
        records.push(good(homes, 1, &format!("small-{n}"), DEPOSIT));
    }
    let records: Vec<RawRecord> = records;
    raw.send(topic, &records)?;
    for n in 0..60 {
        let answer = outcome(host, &homes[1], &format!("small-{n}")).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
    }
    for id in &large {
        let answer = outcome(host, id, "too-large").await?;
        ensure!(answer["failure"]["reason"] == "too_large", "{answer}");
    }
    Ok(large.len() as u64)
}

/// A host to send to.
struct Bank<'a> {
    host: &'a Daemon,
}

impl Bank<'_> {
    /// Sends a command until the host says something of it.
    async fn post(&self, of: &str, id: &str, json: &str) -> anyhow::Result<(u16, Value)> {
        let sent = || self.once(of, id, json);
        eventually(&format!("an answer to {id} of {of}"), PATIENCE, sent).await.with_context(|| self.host.said())
    }

    /// Sends a command; `None` if the host says nothing of it yet.
    async fn once(&self, of: &str, id: &str, json: &str) -> Option<(u16, Value)> {
        let path = format!("/v1/account/{of}/commands");
        let headers = [("idempotency-key", id)];
        let answer = Client::new(self.host.http()).post(&path, &headers, json.to_owned().into()).await.ok()?;
        let known = !matches!(answer.status, 429 | 503 | 504);
        known.then(|| (answer.status, answer.json().unwrap_or(json!(null))))
    }

    async fn accepted(&self, of: &str, id: &str, json: &str) -> anyhow::Result<()> {
        let (status, answer) = self.post(of, id, json).await?;
        ensure!(status == 200 && answer["outcome"] == "accepted", "{id} of {of}: {status} {answer}");
        Ok(())
    }

    /// The answer to an opening of so many bytes does not fit into its topic.
    async fn fails(&self, of: &str, id: &str, bytes: usize) -> anyhow::Result<()> {
        let (status, answer) = self.post(of, id, &opening(bytes)).await?;
        ensure!(status == 500 && answer["failure"]["reason"] == "too_large", "{id} of {of}: {status} {answer}");
        Ok(())
    }

    /// The command itself does not fit into its topic, and is not in it.
    async fn refused(&self, of: &str, id: &str, bytes: usize) -> anyhow::Result<()> {
        let (status, problem) = self.post(of, id, &opening(bytes)).await?;
        let named = problem["type"] == "urn:ordain:problem:too-large" && problem["detail"].to_string().contains("2000");
        ensure!(status == 413 && named, "{id} of {of}: {status} {problem}");
        let asked = Client::new(self.host.http()).get(&format!("/v1/account/{of}/commands/{id}")).await?;
        ensure!(asked.status == 404, "a refused command has an outcome: {}", asked.status);
        Ok(())
    }
}
