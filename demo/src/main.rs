//! The story of `cargo xtask demo`: a daemon decides a file of commands while its rules are swapped and it is killed,
//! two clients race a `Rename` against a `Close` thousands of times, and the checker has the last word.
//!
//! Reading order: [`script`] makes the commands, [`pairs`] are the clients that race, [`story`] puts them together,
//! [`verdict`] prints what came of it. The daemon and what is done to it is [`ordain_tests::stage`].

mod pairs;
mod script;
mod story;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the story and judges it. Exit code 0 if every promise was kept, 1 if not, 2 if the story could not be told.
#[derive(Debug, Clone, Parser)]
#[command(version)]
struct Arguments {
    /// The `ordain` binary.
    #[arg(long)]
    ordain: PathBuf,
    /// Folder for data, modules, histories and output; emptied first.
    #[arg(long)]
    data: PathBuf,
    /// The bank's first version.
    #[arg(long)]
    modules_v1: PathBuf,
    /// The bank's version with another withdrawal rule.
    #[arg(long)]
    modules_v2: PathBuf,
    /// Name of that rule in the reference model.
    #[arg(long, default_value = "v2-fee", value_parser = ["v2-fee", "v2-no-overdraft"])]
    rules_v2: String,
    /// Where the report is written.
    #[arg(long)]
    report: PathBuf,
    /// Commands in the file.
    #[arg(long, default_value_t = 100_000)]
    commands: u64,
    /// Accounts whose `Rename` follows the answer to their `Close`, and as many whose two commands are in flight together;
    /// one for every fifty commands if it is not given.
    #[arg(long)]
    pairs: Option<u64>,
    /// Commands of the file unanswered at a time.
    #[arg(long, default_value_t = 1_024)]
    in_flight: usize,
    /// Where the randomness of the commands begins.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

impl Arguments {
    fn pairs(&self) -> u64 {
        self.pairs.unwrap_or(self.commands / 50).max(1)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // An interrupted story drops the daemon, which kills it.
    let told = tokio::select! {
        told = story::tell(&arguments) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = asked_to_stop() => Err(anyhow::anyhow!("asked to stop")),
    };
    match told.and_then(|told| verdict::give(&arguments, &told)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("ordain-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Waits for `SIGTERM`; for ever if the system does not let us.
async fn asked_to_stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => drop(asked.recv().await),
        Err(_) => std::future::pending().await,
    }
}
