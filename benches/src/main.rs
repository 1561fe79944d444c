//! `ordain-benches core` and `ordain-benches kafka`: what the system costs, each figure against a yardstick that is taken in the same run.
//!
//! The machine is taken to be shared and noisy. So what is compared is measured in turns, round by round, and the median
//! of the rounds' ratios is what counts; what is bound by the processor is measured in CPU time of its threads.

mod bank;
mod cpu;
mod decision;
mod disk;
mod drive;
mod durable;
mod flat;
mod host;
mod http;
mod kafka;
mod large;
mod moves;
mod plan;
mod rebuild;
mod rounds;
mod rules;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use ordain_tests::figures::Figures;
use plan::Plan;

/// The figures of this system.
#[derive(Debug, Parser)]
#[command(name = "ordain-benches", version)]
enum Command {
    /// Decisions, the loop, HTTP, restarts, memory
    Core {
        /// Only these cases, separated by commas
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        only: Vec<String>,
        #[command(flatten)]
        args: PlanArgs,
    },
    /// Ordain on Kafka beside Kafka Streams
    Kafka(kafka::KafkaArgs),
    /// A copy without rules, until it is killed
    #[command(hide = true)]
    Floor {
        /// The broker
        brokers: String,
        /// What the names of the topics begin with
        prefix: String,
    },
    /// How long lanes are silent when they move between hosts that share a log on Kafka
    Moves {
        /// Brokers to begin with, as `host:port`
        #[arg(long, value_name = "BROKERS")]
        brokers: String,
        #[command(flatten)]
        args: PlanArgs,
    },
    /// One case in this very process
    #[command(hide = true)]
    Case {
        /// Its name
        name: String,
        #[command(flatten)]
        args: PlanArgs,
    },
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// A rough answer in about a minute
    #[arg(long)]
    quick: bool,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Folder of the built modules
    #[arg(long, value_name = "DIR", default_value = "target/guests")]
    guests: PathBuf,
    /// The daemon
    #[arg(long, value_name = "FILE", default_value = "target/release/ordain")]
    ordain: PathBuf,
    /// Folder on the disk to be measured; what is written there is removed again
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
}

impl PlanArgs {
    fn plan(&self, folder: &Path) -> Plan {
        let (guests, ordain) = (self.guests.clone(), self.ordain.clone());
        Plan { quick: self.quick, guests, ordain, folder: folder.to_owned() }
    }
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Core { only, args } => core(&args, &only),
        Command::Kafka(args) => kafka::run(args),
        Command::Floor { brokers, prefix } => kafka::floor(&brokers, &prefix),
        Command::Moves { brokers, args } => moves(&args, &brokers),
        Command::Case { name, args } => case(&args, &name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ordain-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn core(args: &PlanArgs, only: &[String]) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let folder = tempfile::tempdir_in(&args.dir)?;
    tell(args, &plan::run(&args.plan(folder.path()), only)?)
}

fn moves(args: &PlanArgs, brokers: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let folder = tempfile::tempdir_in(&args.dir)?;
    tell(args, &moves::run(&args.plan(folder.path()), brokers)?)
}

fn tell(args: &PlanArgs, figures: &Figures) -> anyhow::Result<()> {
    table::print(figures);
    if let Some(report) = &args.report {
        figures.write(report)?;
        println!("\nwritten to {}", report.display());
    }
    Ok(())
}

/// The hosts of a case are not stopped: their last checkpoints would take longer than the case.
fn case(args: &PlanArgs, name: &str) -> anyhow::Result<()> {
    let figures = plan::case(&args.plan(&args.dir), name)?;
    if let Some(report) = &args.report {
        figures.write(report)?;
    }
    std::process::exit(0)
}
