//! `ordain check`: what a host would say of a module, without a host.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::ask::print_line;
use super::{Ended, Exit, Output};
use crate::decider::{Limits, Refused, Sandbox, self_check};
use crate::message::Digest;

/// Options of `ordain check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The module, a .wasm file.
    file: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    digest: Digest,
    bytes: usize,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Good(Good),
    Refused { refused: Refused },
}

#[derive(Debug, Serialize)]
struct Good {
    #[serde(rename = "type")]
    aggregate_type: String,
    state_version: u32,
    sdk: String,
    schemas: bool,
    sample_commands: usize,
    warnings: Vec<String>,
}

/// Gate, compiler, and self-check under the default limits; a refusal is exit code 2.
pub(super) fn run(args: CheckArgs, output: Output) -> Ended {
    let bytes =
        std::fs::read(&args.file).with_context(|| format!("the file {} cannot be read", args.file.display()))?;
    let sandbox = Sandbox::new(Limits::default(), None)?;
    let found = match check(&sandbox, &bytes) {
        Ok(good) => Found::Good(good),
        Err(refused) => Found::Refused { refused },
    };
    let exit = if matches!(found, Found::Good(_)) { Exit::Done } else { Exit::Rejected };
    let checked = Checked { file: args.file, digest: Digest::of(&bytes), bytes: bytes.len(), found };
    match output {
        Output::Json => print_line(&serde_json::to_vec(&checked)?)?,
        Output::Human => print_line(text(&checked).as_bytes())?,
    }
    Ok(exit)
}

fn check(sandbox: &Sandbox, bytes: &[u8]) -> Result<Good, Refused> {
    let module = sandbox.compile(bytes)?;
    let report = self_check::check(&module, None, &[])?;
    let manifest = module.manifest();
    Ok(Good {
        aggregate_type: manifest.aggregate_type.clone(),
        state_version: manifest.state_version,
        sdk: manifest.sdk.clone(),
        schemas: module.schemas().is_some(),
        sample_commands: report.commands,
        warnings: module.warnings().iter().chain(&report.warnings).cloned().collect(),
    })
}

fn text(checked: &Checked) -> String {
    let head = format!("{}\n{}, {} bytes", checked.file.display(), checked.digest, checked.bytes);
    match &checked.found {
        Found::Refused { refused } => format!("{head}\nrefused: {refused}"),
        Found::Good(good) => {
            let schemas = if good.schemas { "with schemas" } else { "without schemas: build it with `ordain build`" };
            let warnings: String = good.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
            format!(
                "{head}\ngood: rules for {}, state version {}, SDK {}, {schemas}; {} sample commands decided alike by two instances{warnings}",
                good.aggregate_type, good.state_version, good.sdk, good.sample_commands
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused_with_a_reason() {
        let sandbox = Sandbox::new(Limits::default(), None).unwrap();
        let refused = check(&sandbox, b"not wasm").unwrap_err();
        let found = Found::Refused { refused };
        let checked = Checked { file: "x.wasm".into(), digest: Digest::of(b"not wasm"), bytes: 8, found };
        assert!(text(&checked).contains("refused: "));
        assert!(serde_json::to_value(&checked).unwrap()["refused"]["message"].is_string());
    }
}
