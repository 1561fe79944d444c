//! The command line: one file per command. docs/cli.md describes it for its users.

mod ask;
pub mod build;
mod check;
mod completions;
mod deploy;
mod dev;
mod get;
mod history;
mod modules;
pub mod new;
mod outcome;
mod run;
pub mod send;
mod topics;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use ask::print_line;

/// Business rules as WebAssembly modules, and the event-sourcing loop around them.
#[derive(Debug, Parser)]
#[command(name = "ordain", version, propagate_version = true)]
pub struct Cli {
    /// How results are shown.
    #[arg(long, global = true, value_enum, default_value = "human", env = "ORDAIN_OUTPUT")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Human,
    /// One JSON value per result.
    Json,
}

/// The host that is asked.
#[derive(Debug, Clone, Args)]
struct Host {
    /// Where the host is.
    #[arg(long, env = "ORDAIN_URL", default_value = "http://127.0.0.1:7400")]
    url: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the crate of a new module.
    New(new::NewArgs),
    /// Build a module from its source.
    Build(build::BuildArgs),
    /// Check a module as a host would, without one.
    Check(check::CheckArgs),
    /// Build a module, run it, and swap it whenever its source is saved.
    Dev(dev::DevArgs),
    /// Run the daemon.
    Run(run::RunArgs),
    /// Send one command, or a file of commands.
    Send(send::SendArgs),
    /// Show the state of an aggregate, or list the aggregates of a type.
    Get(get::GetArgs),
    /// Show the events of an aggregate.
    History(history::HistoryArgs),
    /// Show what became of a command.
    Outcome(outcome::OutcomeArgs),
    /// Show which modules decide, did, and were refused.
    Modules(modules::ModulesArgs),
    /// Hand a module to a running host.
    Deploy(deploy::DeployArgs),
    /// Make and check the topics of a log on Kafka.
    Topics(topics::TopicsArgs),
    /// Print shell completions.
    Completions(completions::CompletionsArgs),
}

/// How a command of the command line ended; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// Done; for a command: accepted.
    Done = 0,
    /// Wrong usage, or something could not be read, written or reached.
    Usage = 1,
    /// The rules said no.
    Rejected = 2,
    /// The expected version was not the aggregate's.
    Conflict = 3,
    /// No decision came about.
    Failed = 4,
    /// It is not known whether the command was decided, or there is no such thing.
    Unknown = 5,
}

/// What every command returns: how it ended, or a sentence that says what to do.
type Ended = anyhow::Result<Exit>;

/// Runs what the arguments ask for and gives its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(shown) => {
            // If nobody reads it, there is nobody to tell.
            let _ = shown.print();
            return ExitCode::from(usage(&shown) as u8);
        }
    };
    let output = cli.output;
    let ended = match cli.command {
        Command::New(args) => new::run(&args).and_then(|folder| {
            let folder = folder.display();
            print_line(format!("made {folder}: try `cd {folder} && cargo test && ordain dev`").as_bytes())?;
            Ok(Exit::Done)
        }),
        Command::Build(args) => build::run(args, &crate::decider::describe::describe).and_then(|built| {
            match output {
                Output::Human => print_line(built.to_string().as_bytes())?,
                Output::Json => print_line(&serde_json::to_vec(&built)?)?,
            }
            Ok(Exit::Done)
        }),
        Command::Check(args) => check::run(args, output),
        Command::Dev(args) => dev::run(args),
        Command::Run(args) => run::run(args),
        Command::Send(args) => block_on(send::run(args, output)),
        Command::Get(args) => block_on(get::run(args, output)),
        Command::History(args) => block_on(history::run(args, output)),
        Command::Outcome(args) => block_on(outcome::run(args, output)),
        Command::Modules(args) => block_on(modules::run(args, output)),
        Command::Deploy(args) => block_on(deploy::run(args, output)),
        Command::Topics(args) => topics::run(args, output),
        Command::Completions(args) => completions::run(args),
    };
    match ended {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            say(format_args!("ordain: {error:#}"));
            ExitCode::from(Exit::Usage as u8)
        }
    }
}

/// Help and version were asked for; everything else is wrong usage, whatever clap's own number for it is.
fn usage(shown: &clap::Error) -> Exit {
    if shown.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Says something on standard error, where nobody has to listen: neither a full disk nor a closed pipe ends a daemon.
fn say(what: impl std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("{what}\n").as_bytes());
}

/// Runs a command that talks to a host. Two threads: one for the connection, one for the rest.
fn block_on(command: impl Future<Output = Ended>) -> Ended {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 is clap's number for it, and says here that the rules rejected a command.
    #[test]
    fn wrong_usage_is_exit_code_1_and_help_is_none() {
        let code = |words: &str| match Cli::try_parse_from(words.split(' ')) {
            Ok(_) => panic!("{words} is right"),
            Err(shown) => usage(&shown),
        };
        for wrong in [
            "ordain",
            "ordain sned",
            "ordain send account",
            "ordain run --listen localhost:0",
            "ordain get",
            "ordain history account a --limit 0",
        ] {
            assert_eq!(code(wrong), Exit::Usage, "{wrong}");
        }
        for help in ["ordain --help", "ordain help run", "ordain send --help", "ordain --version"] {
            assert_eq!(code(help), Exit::Done, "{help}");
        }
    }

    /// 5 says that the command may have been decided: nobody was there to decide it.
    #[test]
    fn a_host_that_is_not_there_is_exit_code_1() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for words in ["send account a {}", "get account a", "outcome account a c-1", "modules"] {
            let url = format!("--url=http://{free}");
            let arguments = ["ordain"].into_iter().chain(words.split(' ')).chain([url.as_str()]);
            assert_eq!(run(arguments.map(OsString::from)), ExitCode::from(1), "{words}");
        }
    }

    #[test]
    fn an_address_that_is_none_says_what_to_write() {
        let shown = Cli::try_parse_from(["ordain", "run", "--listen", "localhost:7400"]).unwrap_err().to_string();
        assert!(shown.contains("127.0.0.1:7400"), "{shown}");
    }
}
