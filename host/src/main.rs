//! The ordain daemon and its command line.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ordain::cli::run(ordain::cli::Cli::parse())
}
