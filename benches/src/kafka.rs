//! `ordain-benches kafka`: Ordain on Kafka beside Kafka Streams, on one broker, with one load and one reader.
//!
//! The systems are measured one after the other, round by round, each on topics of its own that the same tool made. Every
//! answer is read and counted: a system that loses or doubles one is shown as such.

mod commands;
mod floor;
mod goals;
mod load;
mod rates;
mod reader;
mod restart;
mod saturation;
mod stale;
mod system;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;
use ordain_tests::figures::Figures;

use crate::{cpu, table};
use commands::ACCOUNTS;
use rates::Rated;
use saturation::Saturated;
use system::{Place, Running, System};

/// Partitions of every topic.
const PARTITIONS: u32 = 8;
/// Lanes of Ordain, and threads of Kafka Streams.
const LANES: u32 = 2;

/// What `cargo xtask bench kafka` says.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// A rough answer in about a minute
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; 3, or 1 if quick
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Only these systems, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Folder of the built modules
    #[arg(long, value_name = "DIR", default_value = "target/guests")]
    guests: PathBuf,
    /// The daemon
    #[arg(long, value_name = "FILE", default_value = "target/release/ordain")]
    ordain: PathBuf,
    /// Folder with the jars of the peer on Kafka Streams
    #[arg(long, value_name = "DIR", default_value = "target/kafka-streams-peer")]
    peer: PathBuf,
    /// Folder for what the systems keep; removed again
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// The broker, as host:port
    #[arg(long)]
    brokers: String,
    /// Process of the broker
    #[arg(long, value_name = "PID")]
    broker_pid: u32,
}

/// How and where is measured.
pub struct Setting {
    quick: bool,
    rounds: u32,
    brokers: String,
    broker: u32,
    ordain: PathBuf,
    guests: PathBuf,
    peer: PathBuf,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Setting {
    /// One number for a quick run, another for a thorough one.
    fn pick<T>(&self, quick: T, thorough: T) -> T {
        if self.quick { quick } else { thorough }
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// This program as the floor.
    fn floor(&self, prefix: &str) -> Command {
        // Without its own path there is no such program, and starting it says so.
        let mut command = Command::new(std::env::current_exe().unwrap_or_default());
        command.args(["floor", &self.brokers, prefix]);
        command
    }
}

/// Copies without rules until it is killed.
///
/// # Errors
/// What Kafka says.
pub fn floor(brokers: &str, prefix: &str) -> anyhow::Result<()> {
    floor::run(brokers, prefix)
}

/// Measures everything and prints the table.
///
/// # Errors
/// If the stage cannot be set; a system that fails is told in the figures.
pub fn run(args: KafkaArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let folder = tempfile::tempdir_in(&args.dir)?;
    let setting = Setting {
        quick: args.quick,
        rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 3 }),
        brokers: args.brokers,
        broker: args.broker_pid,
        ordain: args.ordain,
        guests: args.guests,
        peer: args.peer,
        folder: folder.path().to_owned(),
        runtime: tokio::runtime::Runtime::new()?,
    };
    let mut bench = Bench { setting: &setting, measured: Measured::default(), failed: Vec::new() };
    let mut figures = Figures::new(&setting.folder);
    figures.tell("load_before", cpu::load(), "processes wanting a core, last minute");
    bench.all(&args.only);
    figures.tell("load_after", cpu::load(), "processes wanting a core, last minute");
    goals::write(&bench.measured, &bench.failed, &mut figures);
    table::print(&figures);
    if let Some(report) = &args.report {
        figures.write(report)?;
        println!("\nwritten to {}", report.display());
    }
    Ok(())
}

/// For each system and what was measured of it: the value of each round.
#[derive(Debug, Default)]
pub struct Measured(BTreeMap<(&'static str, String), Vec<f64>>);

impl Measured {
    fn add(&mut self, system: System, what: impl Into<String>, value: f64) {
        self.0.entry((system.name(), what.into())).or_default().push(value);
    }

    /// The rounds' values; empty if it was not measured.
    fn of(&self, system: System, what: &str) -> &[f64] {
        self.0.get(&(system.name(), what.to_owned())).map_or(&[], Vec::as_slice)
    }

    fn saturated(&mut self, system: System, it: &Saturated) {
        self.add(system, "saturation", it.rate);
        self.add(system, "saturation_from_start", it.rate_from_start);
        self.add(system, "cpu_at_saturation", it.system_cpu);
        self.add(system, "broker_cpu_at_saturation", it.broker_cpu);
        self.add(system, "memory_after_saturation", it.memory as f64);
        self.add(system, "lost", it.lost as f64);
        self.add(system, "doubled", it.doubled as f64);
    }

    fn rated(&mut self, system: System, rate: u64, it: &Rated) {
        self.add(system, format!("p50_at_{rate}"), it.p50_ms);
        self.add(system, format!("p99_at_{rate}"), it.p99_ms);
        self.add(system, format!("p999_at_{rate}"), it.p999_ms);
        self.add(system, format!("cpu_at_{rate}"), it.system_cpu);
        self.add(system, format!("broker_cpu_at_{rate}"), it.broker_cpu);
        self.add(system, format!("memory_at_{rate}"), it.memory as f64);
        self.add(system, "lost", it.lost as f64);
        self.add(system, "doubled", it.doubled as f64);
    }
}

/// What is measured of which system.
struct Case {
    system: System,
    saturation: bool,
    rates: bool,
    restart: bool,
}

const CASES: [Case; 6] = [
    Case { system: System::Ordain, saturation: true, rates: true, restart: true },
    Case { system: System::Defaults, saturation: true, rates: true, restart: true },
    Case { system: System::Fast, saturation: false, rates: true, restart: false },
    Case { system: System::Calm, saturation: false, rates: true, restart: false },
    Case { system: System::Memory, saturation: true, rates: false, restart: false },
    Case { system: System::Floor, saturation: true, rates: false, restart: false },
];

struct Bench<'a> {
    setting: &'a Setting,
    measured: Measured,
    failed: Vec<String>,
}

impl Bench<'_> {
    fn all(&mut self, only: &[String]) {
        let wanted = |system: System| only.is_empty() || only.iter().any(|one| one == system.name());
        let quick = self.setting.quick;
        if !quick {
            self.tell("warm-up", Self::warm_up);
        }
        for round in 1..=self.setting.rounds {
            for case in CASES.iter().filter(|case| wanted(case.system)) {
                let rough = matches!(case.system, System::Fast | System::Calm | System::Memory);
                if !(quick && rough && only.is_empty()) {
                    let name = format!("{} round {round}", case.system.name());
                    self.tell(&name, |bench| bench.case(case, round));
                }
            }
        }
        for system in [System::Naive, System::Defaults, System::Ordain] {
            if !quick && wanted(system) {
                self.tell(&format!("{} after a close", system.name()), |bench| {
                    let stale = stale::run(bench.setting, system)?;
                    bench.measured.add(system, "renames_accepted_after_close", stale as f64);
                    Ok(())
                });
            }
        }
    }

    /// Runs a part; one that fails is told and does not keep the others from running.
    fn tell(&mut self, name: &str, part: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        eprintln!("{name} …");
        if let Err(error) = part(self) {
            eprintln!("{name}: {error:#}");
            self.failed.push(name.to_owned());
        }
    }

    /// A broker that was just started is slow for half a minute, whoever uses it.
    fn warm_up(&mut self) -> anyhow::Result<()> {
        let place = Place::make(self.setting, System::Ordain, "warm")?;
        let count = 500_000;
        let (_, running) = saturation::run(self.setting, &place, 0, count)?;
        rates::run(self.setting, &place, &running, count, (10_000, 0, 30))?;
        running.stop(self.setting)
    }

    fn case(&mut self, case: &Case, round: u32) -> anyhow::Result<()> {
        let setting = self.setting;
        let system = case.system;
        let place = Place::make(setting, system, &format!("round-{round}"))?;
        let backlog = if case.saturation { setting.pick(400_000, 1_500_000) } else { ACCOUNTS + 200_000 };
        let (saturated, mut running) = saturation::run(setting, &place, 0, backlog)?;
        if case.saturation {
            self.measured.saturated(system, &saturated);
        }
        let mut next = backlog;
        let rates = if setting.quick { &[(1_000, 1, 4)][..] } else { &[(10_000, 5, 15), (1_000, 3, 20), (100, 3, 30)] };
        for &(rate, skipped_s, seconds) in rates.iter().filter(|_| case.rates) {
            let rated = rates::run(setting, &place, &running, next, (rate, skipped_s, seconds))?;
            self.measured.rated(system, rate, &rated);
            next += rate * seconds;
        }
        if case.restart {
            running = self.restarts(&place, running, next)?;
        }
        running.stop(setting)?;
        let folder = place.folder();
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn restarts(&mut self, place: &Place, running: Running, next: u64) -> anyhow::Result<Running> {
        let (took, running, next) = restart::killed(self.setting, place, running, next)?;
        self.measured.add(place.system, "restart", took);
        running.stop(self.setting)?;
        let (took, running) = restart::wiped(self.setting, place, next)?;
        self.measured.add(place.system, "restore", took / (next as f64 / 1e6));
        Ok(running)
    }
}
