//! `ordain-checker`: judges a data directory by the history that clients wrote down.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ordain_checker::history::read::History;
use ordain_checker::log::Log;
use ordain_checker::{Options, judge};

/// Judges a log and what clients saw of it. Exit code 0 if every promise was kept, 1 if not, 2 if it cannot be told.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The host's data directory; its log is in `log/`.
    #[arg(long)]
    data: PathBuf,
    /// The folder of `client-*.jsonl` and `nemesis.jsonl`.
    #[arg(long)]
    history: PathBuf,
    /// Number of partitions of the log.
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    /// Violations shown in full.
    #[arg(long, default_value_t = 50)]
    show: usize,
    /// Write the verdict as JSON to this file too.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("ordain-checker: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let log = Log::open(&arguments.data.join("log"))?;
    let history = History::open(&arguments.history)?;
    let options = Options { partitions: arguments.partitions, shown_max: arguments.show };
    let report = judge(&log, &history, options)?;
    print!("{report}");
    println!("checked in {:.2} s", report.seconds);
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write the verdict to {}", path.display()))?;
    }
    Ok(report.holds())
}
