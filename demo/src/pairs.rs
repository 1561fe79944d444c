//! The client of the problem that Ordain was made for: a `Delete` followed at once by a `Modify`. Here they are `Close`
//! and `Rename`, by single requests, on accounts of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ordain_checker::history::Ending;
use ordain_tests::clock;
use ordain_tests::command::Command;
use ordain_tests::hand::Hand;
use ordain_tests::witness::{Known, Tally};
use serde_json::json;
use tokio::sync::watch;

/// Connections at a time, in pairs.
const WORKERS: u64 = 32;

/// What became of the pairs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// `Rename` sent when `Close` had been answered.
    pub after: u64,
    /// Of those: rejected as `Closed`.
    pub after_rejected: u64,
    /// Both in flight together.
    pub together: u64,
    /// Of those: renamed first, closed second.
    pub renamed_first: u64,
    /// Of those: closed first, the rename rejected as `Closed`.
    pub closed_first: u64,
    /// From the first command to the last outcome.
    pub took: Duration,
    /// What the clients heard.
    pub tally: Tally,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.after += other.after;
        self.after_rejected += other.after_rejected;
        self.together += other.together;
        self.renamed_first += other.renamed_first;
        self.closed_first += other.closed_first;
        self.tally.add(&other.tally);
    }
}

/// Sends the commands of `pairs` accounts of each kind, spread over the time in which `progress` goes to `total`.
///
/// # Errors
/// If a command gets no outcome for too long.
pub async fn race(
    pairs: u64,
    history: &Path,
    address: &watch::Receiver<SocketAddr>,
    progress: &watch::Receiver<u64>,
    total: u64,
) -> anyhow::Result<Outcome> {
    let start = clock::now_ns();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let hand = |side: &str| Hand::new(history, &format!("pair-{worker}-{side}"), address.clone());
        let (mut one, mut other) = (hand("a")?, hand("b")?);
        let mut progress = progress.clone();
        workers.push(tokio::spawn(async move {
            let mut outcome = Outcome::default();
            for number in (worker..2 * pairs).step_by(WORKERS as usize) {
                let due = total * number / (2 * pairs);
                progress.wait_for(|&heard| heard >= due).await.context("the file's client ended early")?;
                if number % 2 == 0 {
                    after(number, &mut one, &mut outcome).await?;
                } else {
                    together(number, &mut one, &mut other, &mut outcome).await?;
                }
            }
            for mut hand in [one, other] {
                hand.witness.flush()?;
                outcome.tally.add(&hand.witness.tally);
            }
            anyhow::Ok(outcome)
        }));
    }
    let mut sum = Outcome::default();
    for worker in workers {
        sum.add(&worker.await??);
    }
    sum.took = clock::since(start);
    Ok(sum)
}

/// `Rename` is sent the moment `Close` was answered.
async fn after(number: u64, hand: &mut Hand, outcome: &mut Outcome) -> anyhow::Result<()> {
    let [open, close, rename] = commands(number);
    hand.decided(&open).await?;
    hand.decided(&close).await?;
    let renamed = hand.decided(&rename).await?;
    outcome.after += 1;
    outcome.after_rejected += u64::from(refused_as_closed(&renamed));
    Ok(())
}

/// `Close` and `Rename` are in flight together, over two connections; who is sent first changes from pair to pair.
async fn together(number: u64, one: &mut Hand, other: &mut Hand, outcome: &mut Outcome) -> anyhow::Result<()> {
    let [open, close, rename] = commands(number);
    one.decided(&open).await?;
    let renamed = if number % 4 == 1 {
        tokio::try_join!(one.decided(&close), other.decided(&rename))?.1
    } else {
        tokio::try_join!(other.decided(&rename), one.decided(&close))?.0
    };
    outcome.together += 1;
    outcome.renamed_first += u64::from(renamed.outcome == Ending::Accepted);
    outcome.closed_first += u64::from(refused_as_closed(&renamed));
    Ok(())
}

fn refused_as_closed(known: &Known) -> bool {
    known.outcome == Ending::Rejected && known.code.as_deref() == Some("Closed")
}

fn commands(number: u64) -> [Command; 3] {
    let id = format!("pair-{number}");
    let command = |word: &str, body| Command::new("account", &id, &format!("{word}-{number}"), &body);
    [
        command("open", json!({"Open": {"owner": "before", "overdraft_limit": 0}})).expecting(0),
        command("close", json!({"Close": {}})),
        command("rename", json!({"Rename": {"owner": "after"}})),
    ]
}
