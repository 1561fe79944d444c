//! `ordain outcome`: what became of a command.

use clap::Args;

use super::send::one;
use super::{Ended, Host, Output};
use crate::gateway::percent_encoded;

/// Options of `ordain outcome`.
#[derive(Debug, Args)]
pub struct OutcomeArgs {
    #[command(flatten)]
    host: Host,
    /// Aggregate type.
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// Aggregate id.
    #[arg(value_name = "ID")]
    id: String,
    /// Command id.
    #[arg(value_name = "COMMAND_ID")]
    command_id: String,
}

/// Asks and shows; the exit code is that of the outcome.
pub(super) async fn run(args: OutcomeArgs, output: Output) -> Ended {
    let [of, id, command] = [&args.aggregate_type, &args.id, &args.command_id].map(|word| percent_encoded(word));
    let path = format!("/v1/{of}/{id}/commands/{command}");
    let answer = args.host.client()?.request("GET", &path, &[], "").await?;
    one::show(&answer, output)
}
