//! How long lanes are silent when they move from one host to another: after a clean stop, after a kill, and when a host
//! joins; and when a host dies and is back at once, under the same name in the group. Two hosts, a steady load over all lanes, and the longest time between two answers of a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ordain_checker::murmur::partition;
use ordain_tests::client::Client;
use ordain_tests::clock;
use ordain_tests::command::Command;
use ordain_tests::field::Field;
use ordain_tests::figures::Figures;
use ordain_tests::fleet::{Addresses, Fleet, LANES, PARTITIONS, SharedLog};
use serde_json::json;
use tokio::task::JoinSet;

use crate::plan::Plan;

/// Commands per second, over all lanes.
const RATE: u64 = 200;
/// Commands of a lane that wait for their answers at most: a lane that is silent for long is not drowned when it is back.
const WAITING_MAX: u64 = 16;
/// Accounts of a lane.
const ACCOUNTS: u64 = 8;
/// Time of steady load before something happens.
const BEFORE: Duration = Duration::from_secs(2);
/// Time to see what becomes of it, beyond what it takes at most.
const AFTER: Duration = Duration::from_secs(4);
/// `log.session_timeout_ms` as it is unless set.
const SESSION: Duration = Duration::from_secs(10);

/// What happens to the host that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Stop,
    Kill,
}

/// Measures on these brokers.
///
/// # Errors
/// If a host does not start, or lanes do not move.
pub fn run(plan: &Plan, brokers: &str) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(plan, brokers))
}

async fn measure(plan: &Plan, brokers: &str) -> anyhow::Result<Figures> {
    let (ordain, guests, folder) = (plan.ordain.clone(), plan.guests.clone(), plan.folder.join("moves"));
    let field = Field { ordain, guests, folder, seed: 7, thorough: false };
    let log = SharedLog { settings: String::new(), ..SharedLog::new(brokers, "moves") };
    let mut fleet = Fleet::start(&field, log, 2).await?;
    let load = Steady::start(fleet.addresses());
    tokio::time::sleep(2 * BEFORE).await;
    let mut seen = Seen::default();
    for (how, times) in [(Move::Stop, plan.pick(3, 10)), (Move::Kill, plan.pick(1, 5))] {
        for time in 0..times {
            one(&mut fleet, &load, (how, time % 2), &mut seen).await?;
        }
    }
    end(fleet, load).await?;
    let named = SharedLog { settings: "instance = \"{host}\"\n".to_owned(), ..SharedLog::new(brokers, "returns") };
    let mut fleet = Fleet::start(&field, named, 2).await?;
    let load = Steady::start(fleet.addresses());
    tokio::time::sleep(2 * BEFORE).await;
    for time in 0..plan.pick(1, 5) {
        back(&mut fleet, &load, time % 2, &mut seen).await?;
    }
    end(fleet, load).await?;
    seen.figures(&plan.folder)
}

async fn end(mut fleet: Fleet, load: Steady) -> anyhow::Result<()> {
    load.finish().await?;
    for at in 0..fleet.count() {
        fleet.stop(at).await?;
    }
    Ok(())
}

/// A host dies and is started again at once.
async fn back(fleet: &mut Fleet, load: &Steady, at: usize, seen: &mut Seen) -> anyhow::Result<()> {
    let had = lanes(&said(fleet, at)?);
    tokio::time::sleep(BEFORE).await;
    let began = clock::now_ns();
    fleet.kill(at)?;
    fleet.start_again(at).await?;
    tokio::time::sleep(AFTER).await;
    let gaps = load.gaps(began);
    for lane in had {
        let gap = gaps.get(lane as usize).copied().flatten();
        seen.add("return_gap_ms", gap.with_context(|| format!("lane {lane} is silent after a return"))?);
    }
    Ok(())
}

/// A host goes, and comes back.
async fn one(fleet: &mut Fleet, load: &Steady, (how, at): (Move, usize), seen: &mut Seen) -> anyhow::Result<()> {
    let name = if how == Move::Stop { "stop" } else { "kill" };
    let (going, staying) = (lanes(&said(fleet, at)?), said(fleet, 1 - at)?.len());
    ensure!(!going.is_empty(), "host {at} has lanes");
    tokio::time::sleep(BEFORE).await;
    let (began, began_at) = (clock::now_ns(), clock::unix_seconds_exact());
    if how == Move::Stop {
        fleet.stop(at).await?;
        seen.add("stop_whole_ms", ms(clock::since(began)));
    } else {
        fleet.kill(at)?;
        tokio::time::sleep(SESSION).await;
    }
    tokio::time::sleep(AFTER).await;
    let gaps = load.gaps(began);
    for lane in 0..LANES {
        let gap = gaps[lane as usize].with_context(|| format!("lane {lane} is silent after a {name}"))?;
        seen.add(&format!("{name}_{}_gap_ms", if going.contains(&lane) { "moved" } else { "kept" }), gap);
    }
    phases(name, &said(fleet, 1 - at)?[staying..], began_at, seen);
    let staying = said(fleet, 1 - at)?.len();
    let began = clock::now_ns();
    fleet.start_again(at).await?;
    seen.add("join_ready_ms", ms(clock::since(began)));
    tokio::time::sleep(AFTER).await;
    let gaps = load.gaps(began);
    let given = taken_from(&said(fleet, 1 - at)?[staying..]);
    for lane in given {
        let gap = gaps.get(lane as usize).copied().flatten();
        seen.add("join_moved_gap_ms", gap.with_context(|| format!("lane {lane} is silent after a start"))?);
    }
    Ok(())
}

fn said(fleet: &mut Fleet, at: usize) -> anyhow::Result<String> {
    Ok(fleet.host(at).context("it runs")?.said())
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Lanes that a line names, as `[1, 2]`.
fn named(line: &str) -> BTreeSet<u32> {
    let list = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    list.split(',').filter_map(|lane| lane.trim().parse().ok()).collect()
}

/// Lanes that the group took from the host which said this.
fn taken_from(said: &str) -> BTreeSet<u32> {
    said.lines().filter(|line| line.contains("the group takes lanes")).flat_map(named).collect()
}

/// Lanes that the host which said this has now.
fn lanes(said: &str) -> BTreeSet<u32> {
    let mut lanes = BTreeSet::new();
    for line in said.lines() {
        if line.contains("the group gives this host lanes") {
            lanes.extend(named(line));
        } else if line.contains("the group takes lanes") {
            lanes.retain(|lane| !named(line).contains(lane));
        }
    }
    lanes
}

/// What the host that takes over says of each part of it.
fn phases(name: &str, said: &str, began_at: f64, seen: &mut Seen) {
    for line in said.lines() {
        if line.contains("the group gives this host lanes") && !named(line).is_empty() {
            seen.add(&format!("{name}_until_given_ms"), since(line, began_at));
        }
        if line.contains("the lane is taken and restored") {
            seen.add(&format!("{name}_until_restored_ms"), since(line, began_at));
        }
        for part in ["fence_ms", "copy_ms", "restore_ms"] {
            let value = line.split_once(&format!("{part}=")).map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
            if let Some(value) = value.and_then(|value| value.trim().parse().ok()) {
                seen.add(&format!("{name}_{part}"), value);
            }
        }
    }
}

/// Milliseconds from a moment to the time of day with which a line begins.
fn since(line: &str, began_at: f64) -> u64 {
    const DAY: f64 = 86_400.0;
    let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).map_or("", |(time, _)| time);
    let parts = time.split(':').filter_map(|part| part.parse::<f64>().ok());
    let second = parts.fold(0.0, |sum, part| sum * 60.0 + part);
    ((second - began_at).rem_euclid(DAY) * 1_000.0) as u64
}

/// Values by name.
#[derive(Default)]
struct Seen(BTreeMap<String, Vec<u64>>);

impl Seen {
    fn add(&mut self, name: &str, value: u64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn figures(mut self, folder: &Path) -> anyhow::Result<Figures> {
        let mut figures = Figures::new(folder);
        for (name, values) in &mut self.0 {
            values.sort_unstable();
            let (least, middle, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
            let shown = format!("{least} / {middle} / {most}");
            let unit = format!("ms, min/median/max of {}", values.len());
            let goal = match name.as_str() {
                "stop_moved_gap_ms" => Some(1_000),
                "kill_moved_gap_ms" => Some(ms(SESSION) + 2_000),
                _ => None,
            };
            match goal {
                Some(goal) => figures.promise(name, shown, &unit, &format!("≤ {goal}"), most <= goal),
                None => figures.tell(name, shown, &unit),
            }
        }
        Ok(figures)
    }
}

/// A load that does not wait for slow lanes: each lane is asked at its rate, whatever the others do.
struct Steady {
    /// When each lane answered.
    answered: Arc<Vec<Mutex<Vec<u64>>>>,
    enough: Arc<AtomicBool>,
    lanes: JoinSet<anyhow::Result<()>>,
}

impl Steady {
    fn start(to: &Addresses) -> Self {
        let answered: Arc<Vec<Mutex<Vec<u64>>>> = Arc::new((0..LANES).map(|_| Mutex::default()).collect());
        let enough = Arc::<AtomicBool>::default();
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            lanes.spawn(ask(lane, Arc::clone(to), Arc::clone(&answered), Arc::clone(&enough)));
        }
        Self { answered, enough, lanes }
    }

    /// The longest time without an answer of each lane since `from`; none if it did not answer at all.
    fn gaps(&self, from: u64) -> Vec<Option<u64>> {
        let gap = |times: &Mutex<Vec<u64>>| {
            let times = times.lock().expect("no panic while held");
            // From the last answer before, so that one that was on its way does not shorten it.
            let first = times.partition_point(|time| *time < from).saturating_sub(1);
            let longest = times[first..].windows(2).map(|two| two[1] - two[0]).max();
            longest.filter(|_| times.last() > Some(&from)).map(|gap| gap / 1_000_000)
        };
        self.answered.iter().map(gap).collect()
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.enough.store(true, Ordering::Release);
        while let Some(lane) = self.lanes.join_next().await {
            lane??;
        }
        Ok(())
    }
}

async fn ask(
    lane: u32,
    to: Addresses,
    answered: Arc<Vec<Mutex<Vec<u64>>>>,
    enough: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let of_lane = |id: &String| partition(id, PARTITIONS) % LANES == lane;
    let accounts: Vec<String> = (0..).map(|n| format!("m-{n}")).filter(of_lane).take(ACCOUNTS as usize).collect();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 * u64::from(LANES) / RATE));
    let waiting = Arc::<AtomicU64>::default();
    let mut asked = JoinSet::new();
    for n in 0_u64.. {
        tick.tick().await;
        while asked.try_join_next().is_some() {}
        if enough.load(Ordering::Acquire) {
            break;
        }
        if waiting.load(Ordering::Acquire) >= WAITING_MAX {
            continue;
        }
        let account = &accounts[(n % ACCOUNTS) as usize];
        // Any outcome will do: an account that is not open yet rejects, and answers all the same.
        let body = if n < ACCOUNTS {
            json!({"Open": {"owner": "ada", "overdraft_limit": 0}})
        } else {
            json!({"Deposit": {"amount": 1}})
        };
        let command = Command::new("account", account, &format!("{account}-{n}"), &body);
        let (to, answered, waiting) = (Arc::clone(&to), Arc::clone(&answered), Arc::clone(&waiting));
        waiting.fetch_add(1, Ordering::AcqRel);
        asked.spawn(async move {
            until_answered(n as usize, &to, &command).await;
            answered[lane as usize].lock().expect("no panic while held").push(clock::now_ns());
            waiting.fetch_sub(1, Ordering::AcqRel);
        });
    }
    while asked.join_next().await.is_some() {}
    Ok(())
}

/// Sends a command to one host after the other until it has an outcome.
async fn until_answered(n: usize, to: &Addresses, command: &Command) {
    for attempt in 0.. {
        let host = {
            let hosts = to.lock().expect("no panic while held");
            hosts[(n + attempt) % hosts.len()]
        };
        match Client::new(host).send(command).await {
            Ok(answer) if matches!(answer.status, 200 | 422) => return,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
