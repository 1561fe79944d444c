//! A storm of rebalances: four hosts that are stopped, killed, paused past their session and started again at random,
//! while clients send to all of them; and a single host that is paused while everything goes on without it.

mod paused;
mod returning;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::clock;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{self, Fleet, SESSION, SharedLog};

/// Hosts.
const HOSTS: usize = 4;
/// How long the storm blows, in a test and where there is time.
const STORM: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));
/// Answers heard after it.
const AFTER: u64 = 100;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = fleet::brokers(field) else { return Ok(Counts::new()) };
    let mut counts = Counts::new();
    let paused = paused::run(&field.part("paused"), &brokers).await?;
    let returning = returning::run(&field.part("returning"), &brokers).await?;
    for (name, count) in [paused, returning, storm(field, &brokers).await?].into_iter().flatten() {
        *counts.entry(name).or_default() += count;
    }
    Ok(counts)
}

async fn storm(field: &Field, brokers: &str) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "rebalances");
    let fleet = Fleet::start(field, SharedLog::new(brokers, "storm"), HOSTS).await?;
    let mut load = Load::start(fleet.addresses());
    let mut storm = Storm { fleet, away: BTreeMap::new(), counts: Counts::new() };
    let began = clock::now_ns();
    while clock::since(began) < field.pick(STORM.0, STORM.1) {
        storm.blow(&mut dice).await?;
        load.goes_on(dice.ms(200, 1_500)).await?;
        storm.fleet.all_run()?;
    }
    let Storm { fleet, counts, .. } = storm.calm().await?;
    load.hears(AFTER).await?;
    let mut all = fleet.judge(field, load).await?;
    all.extend(counts);
    Ok(all)
}

/// Hosts and what is done to them.
struct Storm {
    fleet: Fleet,
    /// Those that do not serve now.
    away: BTreeMap<usize, Away>,
    counts: Counts,
}

/// Why a host does not serve.
enum Away {
    Down,
    Paused { until_ns: u64 },
    Starting(JoinHandle<anyhow::Result<Daemon>>),
}

impl Storm {
    /// One thing happens to one host. One host is left alone at any time, whichever it is: commands can be answered.
    async fn blow(&mut self, dice: &mut Dice) -> anyhow::Result<()> {
        self.settle().await?;
        let at = dice.below(HOSTS as u64) as usize;
        match self.away.remove(&at) {
            Some(Away::Down) => self.start(at),
            Some(Away::Starting(starting)) if dice.percent(30) => {
                // Killed on its way up.
                starting.abort();
                let _ended = starting.await;
                self.note("killed while starting");
                self.away.insert(at, Away::Down);
                Ok(())
            }
            Some(other) => {
                self.away.insert(at, other);
                Ok(())
            }
            None if self.away.len() + 1 < HOSTS => self.take_away(at, dice).await,
            None => Ok(()),
        }
    }

    async fn take_away(&mut self, at: usize, dice: &mut Dice) -> anyhow::Result<()> {
        let away = match dice.below(3) {
            0 => {
                self.fleet.stop(at).await?;
                self.note("hosts stopped");
                Away::Down
            }
            1 => {
                self.fleet.kill(at)?;
                self.note("hosts killed");
                Away::Down
            }
            _ => {
                let serves = |one: &usize| *one != at && !self.away.contains_key(one);
                let instead = (0..HOSTS).find(serves).context("a host serves")?;
                self.fleet.pause(at, instead)?;
                self.note("hosts paused");
                // Some wake up just before they are given up, some just after, some long after.
                let session = SESSION.as_millis() as u64;
                let pause = dice.ms(session / 2, 2 * session);
                Away::Paused { until_ns: clock::now_ns() + pause.as_nanos() as u64 }
            }
        };
        self.away.insert(at, away);
        Ok(())
    }

    fn start(&mut self, at: usize) -> anyhow::Result<()> {
        let launch = self.fleet.launch(at)?.clone();
        self.note("hosts started");
        self.away.insert(at, Away::Starting(tokio::spawn(async move { launch.start().await })));
        Ok(())
    }

    fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Those whose time has come serve again.
    async fn settle(&mut self) -> anyhow::Result<()> {
        for (at, away) in std::mem::take(&mut self.away) {
            match away {
                Away::Paused { until_ns } if clock::now_ns() >= until_ns => self.fleet.resume(at)?,
                Away::Starting(starting) if starting.is_finished() => self.fleet.put(at, starting.await??),
                other => drop(self.away.insert(at, other)),
            }
        }
        Ok(())
    }

    /// Everybody serves again.
    async fn calm(mut self) -> anyhow::Result<Self> {
        for at in 0..HOSTS {
            match self.away.remove(&at) {
                None => {}
                Some(Away::Down) => self.fleet.start_again(at).await?,
                Some(Away::Paused { .. }) => self.fleet.resume(at)?,
                Some(Away::Starting(starting)) => self.fleet.put(at, starting.await??),
            }
        }
        Ok(self)
    }
}
