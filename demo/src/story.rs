//! What happens, in order: start, stream, swap, kill, start again, finish, read, stop, judge.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ordain_checker::history::StateSeen;
use ordain_checker::history::read::History;
use ordain_checker::log::Log;
use ordain_checker::{Options, Report, judge};
use ordain_tests::client::Client;
use ordain_tests::client::stream::Feed;
use ordain_tests::stage::{Rules, Stage};
use ordain_tests::witness::{Tally, Witness};
use ordain_tests::{bulk, clock};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::Arguments;
use crate::pairs::{self, Outcome};
use crate::script;

/// Violations printed in full; `ordain-checker` shows more of them.
const SHOWN_MAX: usize = 3;
/// Accounts whose state is read at the end.
const READS: u64 = 500;

/// What came of it.
pub struct Told {
    /// The rules before and after the swap.
    pub rules: [Rules; 2],
    /// What the file's client heard.
    pub file: Tally,
    /// From the first command of the file to the last outcome.
    pub streamed: Duration,
    /// The other clients.
    pub pairs: Outcome,
    /// From the new module's file to its deciding everywhere.
    pub swapped: Duration,
    /// From the start after the kill to ready.
    pub came_back: Duration,
    /// Outcomes heard before the swap and before the kill.
    pub heard: [u64; 2],
    /// Times the daemon was killed, and times its rules were swapped.
    pub done: [u64; 2],
    /// The checker's.
    pub report: Report,
}

/// Tells the story.
///
/// # Errors
/// If it cannot go on: the daemon does not start, swap, answer or stop.
pub async fn tell(arguments: &Arguments) -> anyhow::Result<Told> {
    let rules = [Rules::read(&arguments.modules_v1, "v1")?, Rules::read(&arguments.modules_v2, &arguments.rules_v2)?];
    let mut stage = Stage::set(&arguments.ordain, &arguments.data, &rules[0]).await?;
    let file = arguments.data.join("commands.jsonl");
    script::write(&file, arguments.seed, arguments.commands)?;
    println!(
        "the daemon is up with {} ({}); {} commands in {}",
        rules[0].name,
        short(&rules[0].digest),
        arguments.commands,
        file.display()
    );

    let (progress, heard) = watch::channel(0);
    let start = clock::now_ns();
    let witness = Witness::new(&stage.history, "file")?;
    // The last third is held back until the swap is over, so that both rules decide however fast the machine is.
    let (allow, allowed) = watch::channel(arguments.commands * 2 / 3);
    let feed = Feed::held(script::read(&file)?, allowed);
    let streaming = bulk::stream(feed, witness, stage.address(), arguments.in_flight, progress);
    let history = stage.history.clone();
    let address = stage.address();
    let racing = pairs::race(arguments.pairs(), &history, &address, &heard, arguments.commands);
    let streaming = async {
        let witness = streaming.await?;
        anyhow::Ok((witness, clock::since(start)))
    };
    let doing = deeds(&mut stage, &rules[1], heard.clone(), arguments.commands, &allow);
    let ((witness, streamed), pairs, deeds) = tokio::try_join!(streaming, racing, doing)?;

    read_states(&stage, arguments.commands).await?;
    stage.stop().await?;
    println!("all answered; the checker reads the log and what the clients saw");
    let report = judged(stage.data(), &stage.history)?;
    let Deeds { swapped, came_back, heard } = deeds;
    Ok(Told {
        rules,
        file: witness.tally,
        streamed,
        pairs,
        swapped,
        came_back,
        heard,
        done: [stage.kills, stage.swaps],
        report,
    })
}

struct Deeds {
    swapped: Duration,
    came_back: Duration,
    heard: [u64; 2],
}

/// The swap when a third of the file is answered, the kill when three quarters are.
async fn deeds(
    stage: &mut Stage,
    rules: &Rules,
    mut heard: watch::Receiver<u64>,
    total: u64,
    allow: &watch::Sender<u64>,
) -> anyhow::Result<Deeds> {
    let early = "the file's client ended early";
    let before_swap = *heard.wait_for(|&heard| heard >= total / 3).await.context(early)?;
    let swapped = stage.swap(rules).await?;
    allow.send_replace(u64::MAX);
    println!(
        "after {before_swap} outcomes: swapped to {} ({}) in {} ms",
        rules.name,
        short(&rules.digest),
        swapped.as_millis()
    );
    let before_kill = *heard.wait_for(|&heard| heard >= total * 3 / 4).await.context(early)?;
    stage.kill()?;
    let came_back = stage.start().await?;
    println!("after {before_kill} outcomes: killed with -9, back in {} ms", came_back.as_millis());
    Ok(Deeds { swapped, came_back, heard: [before_swap, before_kill] })
}

/// Reads some states, for the checker to compare with what the log's events make.
async fn read_states(stage: &Stage, commands: u64) -> anyhow::Result<()> {
    let mut witness = Witness::new(&stage.history, "reader")?;
    let mut client = Client::new(*stage.address().borrow());
    let accounts = (commands / 20).max(1);
    for number in 0..READS.min(accounts) {
        let id = format!("acc-{}", number * accounts / READS.min(accounts));
        let invoke = clock::now_ns();
        let answer = client.get(&format!("/v1/account/{id}")).await?;
        let nothing = answer.status == 404;
        let whole = if nothing { serde_json::Value::Null } else { answer.json()? };
        let state = RawValue::from_string(whole["state"].to_string())?;
        let version = if nothing { 0 } else { whole["version"].as_u64().with_context(|| format!("{id}: {whole}"))? };
        let seen = StateSeen { aggregate_type: "account", id: &id, version, state: &state, past: false };
        witness.note_state(seen, invoke);
    }
    Ok(witness.flush()?)
}

fn judged(data: &Path, history: &Path) -> anyhow::Result<Report> {
    let options = Options { shown_max: SHOWN_MAX, ..Options::default() };
    judge(&Log::open(&data.join("log"))?, &History::open(history)?, options)
}

/// A digest as people recognise it.
pub fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}
