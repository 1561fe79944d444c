//! Hosts with a name in the group: one that dies and is back soon has its lanes again without waiting for the end of its
//! session. One that is started a second time under the same name casts the first one out, and both decide nothing twice.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{Fleet, READY, SharedLog};

/// Answers heard between two things that happen.
const BETWEEN: u64 = 100;
/// Each host has a name.
const SETTINGS: &str = "instance = \"{host}\"\n";
/// A session that no test waits for.
const SESSION: Duration = Duration::from_secs(30);

pub(super) async fn run(field: &Field, brokers: &str) -> anyhow::Result<Counts> {
    let settings = format!("session_timeout_ms = {}\n{SETTINGS}", SESSION.as_millis());
    let log = SharedLog { settings, ..SharedLog::new(brokers, "returning") };
    let mut fleet = Fleet::start(field, log, 2).await?;
    let mut load = Load::start(fleet.addresses());
    load.hears(BETWEEN).await?;
    for at in 0..2 {
        fleet.kill(at)?;
        fleet.start_again(at).await?;
        let took = fleet.host(at).context("it runs")?.took;
        ensure!(took < SESSION, "host {at} got its lanes after {took:?}: no sooner than the end of its session");
        load.hears(BETWEEN).await?;
    }
    let first = fleet.doubled(0, &field.folder.join("double")).await?;
    let (status, said) = first.ends(READY).await?;
    ensure!(!status.success() && said.contains("log.instance"), "cast out, it ended with {status} and said:\n{said}");
    load.hears(BETWEEN).await?;
    let mut counts = fleet.judge(field, load).await?;
    counts.insert("hosts returned", 2);
    Ok(counts)
}
