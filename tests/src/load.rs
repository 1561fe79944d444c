//! Clients that keep a daemon busy while things are done to it: a stream and single requests, on the same accounts.
//!
//! The mix follows the standard load of the reliability plan: many commands for few accounts, new accounts all the time,
//! a fifth with a wrong expected version, a tenth sent again under the same id, some of those with another body.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::stream::Feed;
use crate::command::Command;
use crate::daemon::eventually;
use crate::dice::Dice;
use crate::hand::{Hand, Pace, stream};
use crate::stage::Stage;
use crate::witness::{Tally, Witness};

/// Commands that may be sent again. Far fewer than the ids an account remembers.
const AGAIN_MAX: usize = 48;

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Streams.
    pub streams: usize,
    /// How fast each is.
    pub pace: Pace,
    /// Clients that send one command at a time.
    pub singles: usize,
    /// Accounts used at a time.
    pub accounts: u64,
    /// Commands in a hundred that are sent again although they were answered.
    pub again_percent: u64,
    /// Whether states are read meanwhile, for the checker to compare. It knows one layout of the state.
    pub reads: bool,
}

impl Default for Shape {
    fn default() -> Self {
        let pace = Pace { in_flight: 256, per_second: Some(4_000) };
        Self { streams: 2, pace, singles: 6, accounts: 64, again_percent: 10, reads: true }
    }
}

impl Shape {
    /// A load beside which something else is looked at.
    pub fn light() -> Self {
        let pace = Pace { in_flight: 64, per_second: Some(300) };
        Self { streams: 1, pace, singles: 2, ..Self::default() }
    }
}

/// The commands of one client, without end until it is told to stop.
struct Script {
    client: String,
    dice: Dice,
    number: u64,
    shape: Shape,
    recent: VecDeque<Command>,
    pulse: Arc<Pulse>,
}

/// What all clients of a load have in common.
#[derive(Debug, Default)]
struct Pulse {
    stop: AtomicBool,
    asked: AtomicU64,
    heard: AtomicU64,
    reads: AtomicU64,
}

impl Script {
    fn new(seed: u64, client: &str, shape: Shape, pulse: &Arc<Pulse>) -> Self {
        let (dice, pulse) = (Dice::new(seed, client), Arc::clone(pulse));
        Self { client: client.to_owned(), dice, number: 0, shape, recent: VecDeque::new(), pulse }
    }

    fn fresh(&mut self) -> Command {
        self.number += 1;
        let (dice, accounts) = (&mut self.dice, self.shape.accounts);
        // Low numbers are hot; over time everybody moves on to new accounts.
        let account = self.number / 100 + dice.below(accounts) * dice.below(accounts) / accounts;
        let id = format!("acc-{account}");
        let asked = business(dice);
        let expected = match dice.below(10) {
            0 => Some(0),
            1 => Some(dice.below(40)),
            _ => asked.get("Open").map(|_| 0),
        };
        let command = Command::new("account", &id, &format!("{}-{}", self.client, self.number), &asked);
        Command { expected_version: expected, ..command }
    }

    fn again(&mut self) -> Option<Command> {
        let at = self.dice.below(self.recent.len() as u64) as usize;
        let before = self.recent.get(at)?.clone();
        if self.dice.percent(5) {
            let other = json!({"Deposit": {"amount": 1_000_000 + self.dice.below(1_000)}});
            let changed = Command::new("account", &before.id, &before.command_id, &other);
            return Some(Command { expected_version: before.expected_version, ..changed });
        }
        Some(before)
    }
}

impl Iterator for Script {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        if self.pulse.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.pulse.asked.fetch_add(1, Ordering::Relaxed);
        if self.dice.percent(self.shape.again_percent)
            && let Some(command) = self.again()
        {
            return Some(command);
        }
        let command = self.fresh();
        self.recent.push_back(command.clone());
        if self.recent.len() > AGAIN_MAX {
            self.recent.pop_front();
        }
        Some(command)
    }
}

/// Amounts are above the one that the hostile modules fall over.
fn business(dice: &mut Dice) -> Value {
    match dice.below(400) {
        0..60 => {
            json!({"Open": {"owner": format!("owner {}", dice.below(1_000)), "overdraft_limit": dice.below(5) * 5_000}})
        }
        60..240 => json!({"Deposit": {"amount": 100 + dice.below(50_000)}}),
        240..380 => json!({"Withdraw": {"amount": 100 + dice.below(50_000)}}),
        380..399 => json!({"Rename": {"owner": format!("owner {}", dice.below(1_000))}}),
        _ => json!({"Close": {}}),
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    pulse: Arc<Pulse>,
    clients: JoinSet<anyhow::Result<Tally>>,
    history: PathBuf,
    address: watch::Receiver<std::net::SocketAddr>,
}

impl Load {
    /// Starts clients; `name` sets them apart from those of other loads on the same stage.
    ///
    /// # Errors
    /// If their records cannot be opened.
    pub fn start(stage: &Stage, name: &str, seed: u64, shape: Shape) -> anyhow::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let mut load =
            Self { pulse, clients: JoinSet::new(), history: stage.history.clone(), address: stage.address() };
        for number in 0..shape.streams {
            let client = format!("{name}-stream-{number}");
            let script = Script::new(seed, &client, shape, &load.pulse);
            let witness = Witness::new(&load.history, &client)?;
            let (pulse, address) = (Arc::clone(&load.pulse), load.address.clone());
            load.clients.spawn(async move {
                let heard = || _ = pulse.heard.fetch_add(1, Ordering::Relaxed);
                Ok(stream(Feed::new(script), witness, address, shape.pace, heard).await?.tally)
            });
        }
        for number in 0..shape.singles {
            let client = format!("{name}-single-{number}");
            let script = Script::new(seed, &client, shape, &load.pulse);
            let hand = Hand::new(&load.history, &client, load.address.clone())?;
            load.clients.spawn(one_by_one(script, hand));
        }
        if shape.reads {
            let reader = format!("{name}-reader");
            let hand = Hand::new(&load.history, &reader, load.address.clone())?;
            load.clients.spawn(read(Dice::new(seed, &reader), shape.accounts, hand, Arc::clone(&load.pulse)));
        }
        Ok(load)
    }

    /// Commands that were sent and have no outcome yet.
    pub fn in_flight(&self) -> u64 {
        let heard = self.pulse.heard.load(Ordering::Relaxed);
        self.pulse.asked.load(Ordering::Relaxed).saturating_sub(heard)
    }

    /// Outcomes heard so far.
    pub fn heard(&self) -> u64 {
        self.pulse.heard.load(Ordering::Relaxed)
    }

    /// Waits until so many more outcomes were heard.
    ///
    /// # Errors
    /// If a client gave up, or it takes too long.
    pub async fn hears(&self, more: u64) -> anyhow::Result<()> {
        let goal = self.heard() + more;
        let what = format!("hearing {more} more outcomes");
        eventually(&what, Duration::from_secs(120), || async { (self.heard() >= goal).then_some(()) }).await
    }

    /// Lets the clients finish what they began, and returns what they heard and how many states were read.
    ///
    /// # Errors
    /// If a client gave up.
    pub async fn finish(mut self) -> anyhow::Result<(Tally, u64)> {
        self.pulse.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        while let Some(client) = self.clients.join_next().await {
            sum.add(&client.context("a client ended badly")??);
        }
        Ok((sum, self.pulse.reads.load(Ordering::Relaxed)))
    }
}

async fn one_by_one(script: Script, mut hand: Hand) -> anyhow::Result<Tally> {
    let pulse = Arc::clone(&script.pulse);
    for command in script {
        hand.decided(&command).await?;
        pulse.heard.fetch_add(1, Ordering::Relaxed);
    }
    hand.witness.flush()?;
    Ok(hand.witness.tally)
}

/// Reads states while they change; a daemon that is away is no reason to complain.
async fn read(mut dice: Dice, accounts: u64, mut hand: Hand, pulse: Arc<Pulse>) -> anyhow::Result<Tally> {
    while !pulse.stop.load(Ordering::Relaxed) {
        let newest = pulse.asked.load(Ordering::Relaxed) / 800;
        let id = format!("acc-{}", newest + dice.below(accounts / 2));
        let seen = hand.state(&id).await.is_ok();
        pulse.reads.fetch_add(u64::from(seen), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    hand.witness.flush()?;
    Ok(hand.witness.tally)
}
