//! `ordain deploy`: hands a module to a running host.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::ask::{print_line, problem};
use super::{Ended, Exit, Host, Output};

/// Options of `ordain deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    host: Host,
    /// The module, a .wasm file.
    file: PathBuf,
}

#[derive(Deserialize)]
struct Deployed {
    digest: String,
    #[serde(rename = "type")]
    aggregate_type: Option<String>,
}

/// Sends the file; a refusal is exit code 2.
pub(super) async fn run(args: DeployArgs, output: Output) -> Ended {
    let wasm = std::fs::read(&args.file).with_context(|| format!("the file {} cannot be read", args.file.display()))?;
    let headers = [("content-type", "application/wasm")];
    let answer = args.host.client()?.request("POST", "/v1/modules", &headers, wasm).await?;
    if answer.status == 422 {
        problem(&answer, output)?;
        return Ok(Exit::Rejected);
    }
    if answer.status != 200 {
        return problem(&answer, output);
    }
    match output {
        Output::Json => print_line(&answer.body)?,
        Output::Human => {
            let deployed: Deployed = serde_json::from_slice(&answer.body)?;
            let of = deployed.aggregate_type.map(|of| format!(" for {of}")).unwrap_or_default();
            print_line(format!("active{of}: {}", deployed.digest).as_bytes())?;
        }
    }
    Ok(Exit::Done)
}
