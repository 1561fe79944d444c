//! `ordain completions`: completions for a shell, to its standard place.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::ask::print_line;
use super::{Cli, Ended, Exit};

/// Options of `ordain completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints them.
pub fn run(args: CompletionsArgs) -> Ended {
    // Into memory first: it panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ordain", &mut script);
    print_line(script.trim_ascii_end())?;
    Ok(Exit::Done)
}
