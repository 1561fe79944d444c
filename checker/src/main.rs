//! `ordain-checker`: judges a data directory, or the topics of a log on Kafka, by the history that clients wrote down.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use ordain_checker::history::read::History;
use ordain_checker::kafka::{self, Broker, Cluster};
use ordain_checker::log::Log;
use ordain_checker::{Options, Report, judge};

/// Judges a log and what clients saw of it. Exit code 0 if every promise was kept, 1 if not, 2 if it cannot be told.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// The host's data directory; its log is in `log/`.
    #[arg(long, required = true)]
    data: Option<PathBuf>,
    /// The folder of `client-*.jsonl` and `nemesis.jsonl`.
    #[arg(long, required = true)]
    history: Option<PathBuf>,
    /// Number of partitions of the log.
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    #[command(flatten)]
    verdict: Verdict,
}

#[derive(Debug, clap::Args)]
struct Verdict {
    /// Violations shown in full.
    #[arg(long, default_value_t = 50)]
    show: usize,
    /// Write the verdict as JSON to this file too.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Judges the topics of a log on Kafka. Everybody who writes to them must have stopped.
    Kafka(Kafka),
}

#[derive(Debug, clap::Args)]
struct Kafka {
    /// Addresses of brokers, `host:port,…`.
    #[arg(long)]
    brokers: String,
    /// What the names of the log's topics begin with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Folders of histories, or single files `client-*.jsonl` and `nemesis.jsonl`. Without any the log is judged alone.
    #[arg(long, num_args = 1..)]
    history: Vec<PathBuf>,
    /// Commands at the end of a partition may be unanswered.
    #[arg(long)]
    pending: bool,
    /// Commands may have come from clients that wrote no history.
    #[arg(long)]
    strangers: bool,
    /// A module whose rules the checker knows, as DIGEST=NAME, such as sha256:…=v1. May be repeated.
    #[arg(long = "rules", value_name = "DIGEST=NAME", value_parser = pair)]
    rules: Vec<(String, String)>,
    /// A property of librdkafka, as KEY=VALUE. May be repeated.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// Seconds to wait for open transactions to end.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    #[command(flatten)]
    verdict: Verdict,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
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
    if let Some(Other::Kafka(arguments)) = &arguments.other {
        return on_kafka(arguments);
    }
    let (Some(data), Some(history)) = (&arguments.data, &arguments.history) else {
        anyhow::bail!("name --data and --history");
    };
    let log = Log::open(&data.join("log"))?;
    let history = History::open(history)?;
    let options = Options { partitions: arguments.partitions, shown_max: arguments.verdict.show };
    tell(&judge(&log, &history, options)?, &arguments.verdict)
}

fn on_kafka(arguments: &Kafka) -> anyhow::Result<bool> {
    let broker = Broker {
        properties: arguments.properties.clone(),
        patience: Duration::from_secs(arguments.patience),
        ..Broker::new(&arguments.brokers, &arguments.prefix)
    };
    let options = kafka::Options {
        shown_max: arguments.verdict.show,
        pending: arguments.pending,
        strangers: arguments.strangers,
        rules: arguments.rules.clone(),
    };
    let history = History::gather(&arguments.history)?;
    tell(&kafka::judge(&mut Cluster::open(&broker)?, &history, &options)?, &arguments.verdict)
}

fn tell(report: &Report, verdict: &Verdict) -> anyhow::Result<bool> {
    print!("{report}");
    println!("checked in {:.2} s", report.seconds);
    if let Some(path) = &verdict.report {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write the verdict to {}", path.display()))?;
    }
    Ok(report.holds())
}
