//! What happens, in order: start, stream, swap, kill, start again, finish, read, stop, judge.

use std::time::Duration;

use anyhow::Context;
use ordain_checker::Report;
use ordain_tests::client::stream::Feed;
use ordain_tests::clock;
use ordain_tests::hand::{Hand, Pace, stream};
use ordain_tests::rules::Rules;
use ordain_tests::stage::Stage;
use ordain_tests::witness::{Tally, Witness};
use tokio::sync::watch;

use crate::Arguments;
use crate::pairs::{self, Outcome};
use crate::script;

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
        rules[0].short(),
        arguments.commands,
        file.display()
    );

    let (progress, heard) = watch::channel(0);
    let start = clock::now_ns();
    let witness = Witness::new(&stage.history, "file")?;
    let pace = Pace { in_flight: arguments.in_flight, per_second: None };
    let told = move || progress.send_modify(|heard| *heard += 1);
    // The last third is held back until the swap is over, so that both rules decide however fast the machine is.
    let (allow, allowed) = watch::channel(arguments.commands * 2 / 3);
    let feed = Feed::held(script::read(&file)?, allowed);
    let streaming = stream(feed, witness, stage.address(), pace, told);
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
    let report = stage.judged()?;
    let Deeds { swapped, came_back, heard } = deeds;
    Ok(Told {
        rules,
        file: witness.tally,
        streamed,
        pairs,
        swapped,
        came_back,
        heard,
        // The first rules came by a swap too.
        done: [stage.kills, stage.swaps - 1],
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
        rules.short(),
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
    let mut reader = Hand::new(&stage.history, "reader", stage.address())?;
    let accounts = (commands / 20).max(1);
    for number in 0..READS.min(accounts) {
        reader.state(&format!("acc-{}", number * accounts / READS.min(accounts))).await?;
    }
    Ok(reader.witness.flush()?)
}
