//! How long nothing is decided: after a kill under load, and when a system has lost what it kept on its disk.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, ensure};
use ordain_tests::clock;

use super::Setting;
use super::load::Sender;
use super::rates::Answered;
use super::reader::{Ends, Reader};
use super::system::{Place, Running};

/// Commands a second meanwhile.
const RATE: u64 = 1_000;
/// How long a system may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kills the system under load and starts it again at once. Returns the seconds until the first decision of the new
/// process is readable, the process, and the number of the next command.
///
/// # Errors
/// If it does not come back, or a command is lost or doubled.
pub fn killed(setting: &Setting, place: &Place, running: Running, first: u64) -> anyhow::Result<(f64, Running, u64)> {
    let brokers = &setting.brokers;
    let ends = Ends::of(brokers, &place.prefix)?.now()?;
    let mut reader = Reader::from(brokers, &place.prefix, &ends)?;
    let sent: Vec<AtomicU64> = (0..RATE * setting.pick(6, 12)).map(|_| AtomicU64::new(0)).collect();
    let mut sender = Sender::new(brokers, &place.prefix, 5)?;
    let mut answered = Answered::new(first, sent.len());
    let (mut old, mut new) = (Some(running), None);
    let (mut began, mut came) = ((0, 0), None);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.at_rate(first, RATE, &sent));
        let start = clock::now_ns();
        while answered.lost() > 0 && clock::since(start) < PATIENCE {
            reader.poll(Duration::from_millis(20), |answer| {
                answered.note(answer.n);
                // Appended after the new process began: it is its own.
                if new.is_some() && came.is_none() && answer.stamp_ms > began.1 {
                    came = Some(clock::since(began.0));
                }
            })?;
            if answered.count > 2 * RATE
                && let Some(old) = old.take()
            {
                old.kill()?;
                began = (clock::now_ns(), ordain::clock::now_ms());
                new = Some(place.begin(setting)?);
            }
        }
        sending.join().map_err(|_| anyhow::anyhow!("the load generator panicked"))?
    })?;
    let (lost, doubled) = (answered.lost(), answered.doubled);
    ensure!(lost + doubled == 0, "{}: {lost} commands lost, {doubled} answered twice", place.system.name());
    let took = came.context("the new process decided nothing")?;
    Ok((took.as_secs_f64(), new.context("it was started")?, first + sent.len() as u64))
}

/// Starts a system that has the topics alone and sends it a command. Returns the seconds until its decision is readable.
///
/// # Errors
/// If it does not come back.
pub fn wiped(setting: &Setting, place: &Place, n: u64) -> anyhow::Result<(f64, Running)> {
    place.wipe()?;
    let brokers = &setting.brokers;
    let ends = Ends::of(brokers, &place.prefix)?.now()?;
    let mut reader = Reader::from(brokers, &place.prefix, &ends)?;
    let mut sender = Sender::new(brokers, &place.prefix, 0)?;
    sender.all(n..n + 1)?;
    let start = clock::now_ns();
    let running = place.begin(setting)?;
    let mut took = None;
    while took.is_none() && clock::since(start) < PATIENCE {
        reader.poll(Duration::from_millis(20), |answer| {
            if answer.n == n {
                took = Some(clock::since(start));
            }
        })?;
    }
    Ok((took.context("it decided nothing")?.as_secs_f64(), running))
}
