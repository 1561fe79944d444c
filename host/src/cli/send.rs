//! `ordain send`: one command, or a file of them through the stream.

pub mod bulk;
pub(super) mod one;
mod report;

use std::path::PathBuf;

use clap::Args;

use super::{Ended, Host, Output};
pub use report::Report;

/// Options of `ordain send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    #[command(flatten)]
    host: Host,
    /// Aggregate type.
    #[arg(value_name = "TYPE", required_unless_present = "file", conflicts_with = "file")]
    aggregate_type: Option<String>,
    /// Aggregate id.
    #[arg(value_name = "ID", required_unless_present = "file", conflicts_with = "file")]
    id: Option<String>,
    /// The command as JSON, for example '{"Deposit":{"amount":500}}'.
    #[arg(value_name = "JSON", required_unless_present = "file", conflicts_with = "file")]
    command: Option<String>,
    /// Version the aggregate must have; 0 = must not exist.
    #[arg(long, value_name = "N", conflicts_with = "file")]
    expect: Option<u64>,
    /// The command's own id: the same one again gives the same outcome, for a day and 1,024 commands of the aggregate.
    /// Made if not given.
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    command_id: Option<String>,
    /// What the command belongs to.
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    correlation_id: Option<String>,
    /// File with one command per line; - = standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Commands of the file that are on their way at once.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "file", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// Write each answer to this file, under the line number of its command.
    #[arg(long, value_name = "FILE", requires = "file")]
    answers: Option<PathBuf>,
    /// Times a broken connection is opened again without an answer in between.
    #[arg(long, value_name = "N", default_value_t = 30, requires = "file")]
    retries: u32,
}

/// Sends what was asked for.
pub(super) async fn run(args: SendArgs, output: Output) -> Ended {
    match &args.file {
        Some(file) => bulk::send_file(file, &args, output).await,
        None => one::send(&args, output).await,
    }
}
