//! Hosts on Kafka and rules they do not have. One without rules for a type of the layout takes no lanes, in which nobody would
//! decide, until it is given them. A module whose type cannot have its topics is refused, and costs nobody anything.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use ordain_checker::murmur;
use serde_json::json;
use xtask::kafka::Tool;

use crate::client::Client;
use crate::clock;
use crate::daemon::eventually;
use crate::field::{Counts, Field};
use crate::fleet::{self, PARTITIONS, READY, SharedLog, knows_accounts};

/// Longer than joining the group takes.
const JOINING: Duration = Duration::from_secs(4);
const OPEN: &str = r#"{"Open":{"owner":"ada","overdraft_limit":0}}"#;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = fleet::brokers(field) else { return Ok(Counts::new()) };
    let log = SharedLog::new(&brokers, "unruled");
    let ruled = log.launch(field, &field.folder.join("ruled"))?.start().await?;
    knows_accounts(ruled.http()).await?;
    let mut commands = opened_everywhere(ruled.http(), "before").await?;

    let launch = log.launch(field, &field.folder.join("unruled"))?;
    let module = launch.modules.join("bank-v1.wasm");
    std::fs::remove_file(&module)?;
    let unruled = launch.begin()?;
    let says = || async { unruled.said().contains("it waits for a module of type account").then_some(()) };
    eventually("the host says what it lacks", READY, says).await?;
    tokio::time::sleep(JOINING).await;
    ensure!(!launch.data.join("run.json").exists(), "it says that it is ready");
    commands += opened_everywhere(ruled.http(), "beside").await?;
    std::fs::copy(field.guests.join("bank-v1.wasm"), &module)?;
    let joined = unruled.ready().await?;
    commands += opened_everywhere(joined.http(), "after").await?;

    refused(field, &log, joined.http()).await?;
    commands += opened_everywhere(joined.http(), "at last").await?;
    for host in [joined, ruled] {
        let status = host.stop(READY).await?;
        ensure!(status.success(), "a host ended with {status}");
    }
    let records = log.judged(field, false)?;
    field.clear();
    Ok(Counts::from([("commands", commands), ("records", records)]))
}

/// Opens an account in every partition, so in every lane; returns how many.
async fn opened_everywhere(host: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let mut client = Client::new(host);
    for partition in 0..PARTITIONS {
        let mut ids = (0..).map(|n: u32| format!("{}-{n}", name.replace(' ', "-")));
        let id = ids.find(|id| murmur::partition(id, PARTITIONS) == partition).context("there is one")?;
        let (path, began) = (format!("/v1/account/{id}/commands"), clock::now_ns());
        loop {
            let headers = [("idempotency-key", id.as_str())];
            let answer = client.post(&path, &headers, Bytes::from_static(OPEN.as_bytes())).await?;
            if answer.status == 200 {
                break;
            }
            let late = clock::since(began) > READY || !matches!(answer.status, 503 | 504);
            ensure!(!late, "{name}, partition {partition}: {} {}", answer.status, answer.json().unwrap_or(json!({})));
        }
    }
    Ok(PARTITIONS.into())
}

/// A type of which somebody made a topic with another number of partitions.
async fn refused(field: &Field, log: &SharedLog, host: SocketAddr) -> anyhow::Result<()> {
    let topic = format!("{}counter.events", log.prefix);
    topics(log, &["--create", "--topic", &topic, "--partitions", "3", "--replication-factor", "1"])?;
    let module = Bytes::from(std::fs::read(field.guests.join("counter.wasm"))?);
    let answer = Client::new(host).post("/v1/modules", &[], module).await?;
    let (status, problem) = (answer.status, answer.json()?);
    let why = problem["detail"].as_str().unwrap_or_default();
    ensure!(status == 422 && why.contains(&topic), "a type without its topics: {status} {problem}");
    // The judge would find it as odd as the host did.
    topics(log, &["--delete", "--topic", &format!("{}counter\\..*", log.prefix)])
}

fn topics(log: &SharedLog, words: &[&str]) -> anyhow::Result<()> {
    let done = Tool::Topics.command(&log.brokers).args(words).output().context("Kafka's tool for topics")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
