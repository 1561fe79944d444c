//! Commands over HTTP to a real daemon, as a process of its own with its defaults: one command a request, and the stream.
//! The stream is measured in turns with the loop, which is given the same commands in this process.

pub mod request;
pub mod stream;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use ordain_tests::clock;
use ordain_tests::daemon::{Daemon, Launch, eventually};
use ordain_tests::figures::Figures;
use tokio::runtime::Runtime;

use crate::bank::Bank;
use crate::cpu;
use crate::drive::drive;
use crate::host::{Host, settings};
use crate::plan::Plan;
use crate::rounds::{median, ratio, rounded};
use crate::rules;
use request::Seen;
use stream::Lines;

/// Accounts the commands go to.
const ACCOUNTS: u64 = 1_000;
/// Lines a streaming client has in flight.
pub const WINDOW: u64 = 1_024;
/// Commands in a block of the fastest loop of the durable case.
const LOOP_BATCH: usize = 256;

/// Measures.
pub fn run(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    // One thread for all clients: they must not take the cores from what they measure.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let daemon = runtime.block_on(daemon(plan, "http", &[]))?;
    let to = daemon.http();
    let mut numbers = 0;
    open(&runtime, to, 0, ACCOUNTS)?;
    requests(plan, figures, &runtime, to)?;
    streams(plan, figures, &runtime, &daemon, &mut numbers)?;
    runtime.block_on(daemon.stop(Duration::from_secs(30)))?;
    Ok(())
}

/// Nothing but the stream, for a profiler to look at.
pub fn only_the_stream(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let daemon = runtime.block_on(daemon(plan, "http", &[]))?;
    let mut numbers = 0;
    open(&runtime, daemon.http(), 0, ACCOUNTS)?;
    let (mut rates, mut client) = (Vec::new(), Duration::ZERO);
    let (count, before) = (200_000, cpu::of_process(daemon.addresses().pid));
    for _ in 0..plan.pick(10, 40) {
        let lines = deposits(&mut numbers, ACCOUNTS, count);
        let mine = cpu::of_this_thread();
        let seen = runtime.block_on(stream::run(daemon.http(), lines, WINDOW))?;
        client += cpu::of_this_thread() - mine;
        rates.push(count as f64 / seen.took.as_secs_f64());
    }
    let each = |spent: Duration| rounded(spent.as_secs_f64() * 1e6 / numbers as f64, 3);
    figures.tell("stream", rounded(median(&rates), 3), "commands/s");
    figures.tell("stream_daemon_cpu", each(cpu::of_process(daemon.addresses().pid) - before), "µs a command");
    figures.tell("stream_client_cpu", each(client), "µs a command");
    Ok(())
}

fn requests(plan: &Plan, figures: &mut Figures, runtime: &Runtime, to: SocketAddr) -> anyhow::Result<()> {
    let time = Duration::from_millis(plan.pick(800, 5_000));
    for clients in [1, 16, 256] {
        runtime.block_on(request::run(to, clients, ACCOUNTS, time / 4))?;
        let seen = runtime.block_on(request::run(to, clients, ACCOUNTS, time))?;
        tell(figures, &format!("http_{clients}_clients"), &seen);
    }
    Ok(())
}

fn tell(figures: &mut Figures, name: &str, seen: &Seen) {
    let rate = seen.commands as f64 / seen.took.as_secs_f64();
    figures.tell(name, rounded(rate, 3), "commands/s");
    for quantile in [50.0, 99.0] {
        let ms = seen.latency.value_at_percentile(quantile) as f64 / 1e6;
        figures.tell(&format!("{name}_p{quantile}"), rounded(ms, 3), "ms");
    }
}

fn streams(
    plan: &Plan,
    figures: &mut Figures,
    runtime: &Runtime,
    daemon: &Daemon,
    numbers: &mut u64,
) -> anyhow::Result<()> {
    let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
    let lanes = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let loops = [("loop_of_defaults", lanes, 1_024, WINDOW as usize), ("loop_of_256", 1, LOOP_BATCH, 2 * LOOP_BATCH)];
    let mut hosts = Vec::new();
    for (name, lanes, batch, in_flight) in loops {
        let host = Host::start(&plan.folder.join(name), settings(lanes, batch), &rules::book(&wasm))?;
        let mut bank = Bank::new(77)?;
        drive(&host, bank.opens(0, ACCOUNTS), in_flight)?;
        hosts.push((host, bank, in_flight));
    }
    let count = plan.pick(50_000, 300_000);
    let mut rates = [Vec::new(), Vec::new()];
    let (mut streamed, mut client, mut server) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for round in 0..plan.pick(4, 10) {
        for ((host, bank, in_flight), rates) in hosts.iter_mut().zip(&mut rates) {
            let took = drive(host, bank.deposits(ACCOUNTS, count), *in_flight)?;
            rates.push(count as f64 / took.as_secs_f64());
        }
        let lines = deposits(numbers, ACCOUNTS, count);
        let (mine, its) = (cpu::of_this_thread(), cpu::of_process(daemon.addresses().pid));
        let seen = runtime.block_on(stream::run(daemon.http(), lines, WINDOW))?;
        // The first round warms both.
        if round > 0 {
            let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
            streamed.push(count as f64 / seen.took.as_secs_f64());
            client.push(each(cpu::of_this_thread() - mine));
            server.push(each(cpu::of_process(daemon.addresses().pid) - its));
        }
        last = Some(seen);
    }
    for rates in &mut rates {
        rates.remove(0);
    }
    tell(figures, "stream", &last.context("no round")?);
    figures.tell("stream_median", rounded(median(&streamed), 3), "commands/s");
    figures.tell("stream_client_cpu", rounded(median(&client), 3), "µs a command");
    figures.tell("stream_daemon_cpu", rounded(median(&server), 3), "µs a command");
    for ((name, ..), rates) in loops.iter().zip(&rates) {
        figures.tell(name, rounded(median(rates), 3), "commands/s");
        let share = rounded(100.0 * ratio(&streamed, rates), 3);
        figures.promise(&format!("stream_of_{name}"), share, "%", ">= 60", share >= 60.0);
    }
    hosts.into_iter().for_each(|(host, ..)| host.stop());
    Ok(())
}

/// Starts a daemon with the bank's module and waits until it decides.
///
/// # Errors
/// If it does not.
pub async fn daemon(plan: &Plan, name: &str, flags: &[&str]) -> anyhow::Result<Daemon> {
    let folder = plan.folder.join(name);
    std::fs::create_dir_all(folder.join("modules"))?;
    std::fs::write(folder.join("modules/bank.wasm"), plan.guest("bank-v1.wasm")?)?;
    let mut launch = Launch::below(&plan.ordain, &folder);
    launch.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    let daemon = launch.start().await?;
    let to = daemon.http();
    let line = |_| line("warm-up", 0, OPEN);
    let refused = RefCell::new(String::new());
    let active = eventually("the module's activation", Duration::from_secs(30), || async {
        let seen = stream::run(to, Lines::new(1, line), WINDOW).await;
        seen.map_err(|why| *refused.borrow_mut() = why.to_string()).ok()
    });
    active.await.with_context(|| format!("the last answer was: {}", refused.borrow()))?;
    Ok(daemon)
}

/// The body of an opening command.
pub const OPEN: &str = r#"{"Open":{"owner":"Ada Lovelace","overdraft_limit":10000}}"#;
const DEPOSIT: &str = r#"{"Deposit":{"amount":500}}"#;

/// One line of a stream; the command id is as long as the UUIDs that the host would make.
pub fn line(account: &str, number: u64, command: &str) -> String {
    format!(r#"{{"type":"account","id":"{account}","command":{command},"command_id":"{number:036x}"}}"#)
}

fn deposits(numbers: &mut u64, accounts: u64, count: u64) -> Lines {
    let from = *numbers + 1;
    *numbers += count;
    // A step that is prime to the accounts visits all of them, far from each other.
    Lines::new(count, |n| line(&format!("acc-{:07}", (from + n) * 613 % accounts), from + n, DEPOSIT))
}

/// Opens accounts `from..to_account`.
///
/// # Errors
/// If one is not opened.
pub fn open(runtime: &Runtime, to: SocketAddr, from: u64, to_account: u64) -> anyhow::Result<Duration> {
    let start = clock::now_ns();
    // In pieces, so that the bytes made ahead stay few.
    let mut next = from;
    while next < to_account {
        let end = (next + 200_000).min(to_account);
        let lines = Lines::new(end - next, |n| line(&format!("acc-{:07}", next + n), (1 << 60) + next + n, OPEN));
        runtime.block_on(stream::run(to, lines, WINDOW))?;
        next = end;
    }
    Ok(clock::since(start))
}
