//! `ordain completions`: completions for a shell, to its standard place.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Ended, Exit};

/// Options of `ordain completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints them.
pub fn run(args: CompletionsArgs) -> Ended {
    clap_complete::generate(args.shell, &mut Cli::command(), "ordain", &mut std::io::stdout());
    Ok(Exit::Done)
}
