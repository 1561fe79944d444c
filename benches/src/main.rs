//! `ordain-benches core`: what the system costs, each figure against a yardstick that is taken in the same run.
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
mod large;
mod plan;
mod rebuild;
mod rounds;
mod rules;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use plan::Plan;

/// The figures of this system.
#[derive(Debug, Parser)]
#[command(name = "ordain-benches", version)]
enum Command {
    /// Decisions, the loop, HTTP, restarts, memory.
    Core(CoreArgs),
}

#[derive(Debug, Args)]
struct CoreArgs {
    /// A rough answer in less than a minute
    #[arg(long)]
    quick: bool,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only these cases, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
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

fn main() -> ExitCode {
    let Command::Core(args) = Command::parse();
    match core(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ordain-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn core(args: CoreArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let folder = tempfile::tempdir_in(&args.dir)?;
    let plan = Plan { quick: args.quick, guests: args.guests, ordain: args.ordain, folder: folder.path().to_owned() };
    let figures = plan::run(&plan, &args.only)?;
    table::print(&figures);
    if let Some(report) = &args.report {
        figures.write(report)?;
        println!("\nwritten to {}", report.display());
    }
    Ok(())
}
