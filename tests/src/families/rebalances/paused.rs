//! A host that stands still past its session: the others take its lanes and go on. When it wakes up, what it was asked
//! while it stood still is answered by the log as it is now or not at all, and it gets lanes again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::daemon::eventually;
use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{Fleet, READY, SESSION, SharedLog};

/// The host that is paused; the other one goes on.
const SLEEPER: usize = 0;
/// See [`SLEEPER`].
const OTHER: usize = 1;
/// Answers heard before, meanwhile, afterwards.
const BETWEEN: u64 = 100;
/// Accounts that the sleeper is asked about while it stands still: some of every lane.
const ASKED: u64 = 16;

pub(super) async fn run(field: &Field, brokers: &str) -> anyhow::Result<Counts> {
    let mut fleet = Fleet::start(field, SharedLog::new(brokers, "paused"), 2).await?;
    let mut load = Load::start(fleet.addresses());
    load.hears(BETWEEN).await?;
    let sleeper = fleet.host(SLEEPER).context("it runs")?;
    let (address, given) = (sleeper.http(), lanes_given(&sleeper.said()));
    let other = fleet.host(OTHER).context("it runs")?.http();
    // Each account has one event, by whichever host.
    for n in 0..ASKED {
        answered(other, n, 1).await?;
    }
    fleet.pause(SLEEPER, OTHER)?;
    let mut asked = JoinSet::new();
    for n in 0..ASKED {
        asked.spawn(ask(address, n, 2));
    }
    load.goes_on(SESSION + Duration::from_secs(1)).await?;
    load.hears(BETWEEN).await.context("with a paused host")?;
    // What the sleeper knows is old now.
    for n in 0..ASKED {
        answered(other, n, 1 + 2).await.context("with a paused host")?;
    }
    fleet.resume(SLEEPER)?;
    while let Some(answer) = asked.join_next().await {
        // Without an answer nothing was promised; decided on what it knew before it slept, it would be version 2.
        let Some((n, outcome)) = answer? else { continue };
        ensure!(outcome["outcome"] == "accepted" && outcome["version"] == 3, "asked in its sleep about {n}: {outcome}");
    }
    load.hears(BETWEEN).await?;
    eventually("the sleeper getting lanes again", READY, || {
        let again = fleet.host(SLEEPER).is_some_and(|host| lanes_given(&host.said()) > given);
        async move { again.then_some(()) }
    })
    .await?;
    fleet.all_run()?;
    let mut counts = fleet.judge(field, load).await?;
    counts.insert("hosts paused", 1);
    Ok(counts)
}

/// How often the group gave lanes to the host that said this.
fn lanes_given(said: &str) -> usize {
    said.matches("the group gives this host lanes [").count()
        - said.matches("the group gives this host lanes []").count()
}

/// The `k`th command of an account; the first opens it. The outcome, if one came.
async fn ask(host: SocketAddr, n: u64, k: u64) -> Option<(u64, Value)> {
    let path = format!("/v1/account/sleeper-{n}/commands");
    let body = if k == 1 {
        json!({"Open": {"owner": "ada", "overdraft_limit": 0}})
    } else {
        json!({"Deposit": {"amount": k}})
    };
    let id = format!("sleeper-{n}-{k}");
    let answer =
        Client::new(host).post(&path, &[("idempotency-key", &id)], Bytes::from(body.to_string())).await.ok()?;
    if answer.status == 200 { answer.json().ok().map(|outcome| (n, outcome)) } else { None }
}

/// Asks until there is an outcome, which must be the next version of that account.
async fn answered(host: SocketAddr, n: u64, k: u64) -> anyhow::Result<()> {
    let (_, outcome) = eventually("an answer", READY, || ask(host, n, k)).await?;
    let version = k.min(2);
    ensure!(outcome["outcome"] == "accepted" && outcome["version"] == version, "account {n}, command {k}: {outcome}");
    Ok(())
}
