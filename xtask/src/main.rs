//! The repository's commands. No dependencies: it shells out, so that `cargo xtask` itself builds in a second.

mod bench;
mod planted;
mod reports;
mod tidy;

use std::process::ExitCode;

use xtask::kafka::{Cluster, Spec};
use xtask::run::{self, Failed, cargo, program, program_with};

const HELP: &str = "\
cargo xtask COMMAND

  demo [--commands N]                       build everything, run the story, print the report
  test [FILTER]                             everything that proves a promise
  bench core [--quick]                      the figures, as a table and target/reports/bench-core.json
  bench kafka [--quick]                     beside Kafka Streams, on a broker of its own; target/reports/bench-kafka.json
  bench moves [--quick]                     how long lanes are silent when they move between hosts on Kafka
  torture [--kafka] --minutes N [--seed S]  the fault families of the tests, at any length: those on the embedded log, or
                                            those on Apache Kafka, which start their brokers
  planted [NAME]...                         compiles the rules of Kafka lanes out, one by one: a test must notice each
  kafka up | down | tool                    a real broker without Docker; `cargo xtask kafka` says more
  tidy                                      the repository's own rules
  guests                                    build the modules that demo and tests use
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo", rest @ ..] => demo(rest),
        ["test", rest @ ..] => test(rest),
        ["bench", "core", rest @ ..] => guests(Targets::Programs).and_then(|guests| bench::core(&guests, rest)),
        ["bench", "kafka", rest @ ..] => guests(Targets::Programs).and_then(|_| bench::kafka(rest)),
        ["bench", "moves", rest @ ..] => guests(Targets::Programs).and_then(|_| bench::moves(rest)),
        ["torture", rest @ ..] => torture(rest),
        ["planted", names @ ..] => planted::run(names),
        ["kafka", rest @ ..] => xtask::kafka::command::run(rest),
        ["tidy"] => tidy::run(),
        ["guests"] => guests(Targets::Programs).map(drop),
        ["setup"] => setup(),
        _ => Err(Failed(format!("unknown command: {}\n\n{HELP}", words.join(" ")))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What a fresh machine lacks for a build. Done once; says what it does.
fn setup() -> Result<(), Failed> {
    wasm_target()?;
    openssl()
}

fn wasm_target() -> Result<(), Failed> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let sysroot = run::output("rustc", &["--print", "sysroot"])?;
    if std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return Ok(());
    }
    println!("set-up: adding the Wasm target to the Rust toolchain (rustup target add {TARGET})");
    program("rustup", &["target", "add", TARGET]).map_err(|_| {
        Failed(format!(
            "the target {TARGET} is missing and rustup could not add it: add it by hand (`rustup target add {TARGET}`). \
             Where rustup can download nothing, docs/how-to/write-a-module.md names a way without it"
        ))
    })
}

/// librdkafka speaks TLS and SCRAM through the system's OpenSSL. Who names another one by `OPENSSL_DIR` has it.
fn openssl() -> Result<(), Failed> {
    let found = run::output("pkg-config", &["--exists", "openssl"]).is_ok();
    if found || std::env::var_os("OPENSSL_DIR").is_some() {
        return Ok(());
    }
    println!("set-up: the Kafka client is built against OpenSSL, and its headers are missing");
    run::apt_install(&["libssl-dev", "pkg-config"]).map_err(|Failed(why)| {
        Failed(format!(
            "OpenSSL's headers are missing and could not be installed ({why}): install libssl-dev and pkg-config \
             (Fedora: openssl-devel, pkgconf), or name another OpenSSL by OPENSSL_DIR"
        ))
    })
}

/// Builds every program of the repository. Always all of them: with fewer, the features of shared dependencies differ,
/// and Wasmtime would be compiled once more.
/// The same goes for tests: `Targets::All` builds them too, with the features that they share with the programs.
fn build(targets: Targets) -> Result<(), Failed> {
    let mut args = vec!["build", "--release", "--locked", "--workspace"];
    if targets == Targets::All {
        args.push("--all-targets");
    }
    cargo(&args)
}

/// What to build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Targets {
    Programs,
    All,
}

/// A module built from source, with the cargo features that make it a version of its own.
struct Guest {
    package: &'static str,
    features: &'static str,
    file: &'static str,
}

const fn guest(package: &'static str, features: &'static str, file: &'static str) -> Guest {
    Guest { package, features, file }
}

const GUESTS: [Guest; 8] = [
    guest("counter", "", "counter.wasm"),
    guest("bank-account", "", "bank-v1.wasm"),
    guest("bank-account", "v2-fee", "bank-v2-fee.wasm"),
    guest("bank-account", "v2-no-overdraft", "bank-v2-no-overdraft.wasm"),
    guest("bank-account", "v3", "bank-v3.wasm"),
    guest("bank-account", "v4", "bank-v4.wasm"),
    guest("bank-account", "trap", "bank-trap.wasm"),
    guest("bank-account", "loop", "bank-loop.wasm"),
];

/// Builds the modules of demo and tests into target/guests.
fn guests(targets: Targets) -> Result<String, Failed> {
    setup()?;
    build(targets)?;
    let folder = "target/guests";
    std::fs::create_dir_all(folder).map_err(|error| Failed(format!("cannot make {folder}: {error}")))?;
    for Guest { package, features, file } in GUESTS {
        let out = format!("{folder}/{file}");
        let path = format!("examples/{package}");
        let mut args = vec!["build", "--path", &path, "--out", &out];
        if !features.is_empty() {
            args.extend(["--features", features]);
        }
        program("target/release/ordain", &args)?;
    }
    Ok(folder.to_owned())
}

fn demo(rest: &[&str]) -> Result<(), Failed> {
    println!("building the daemon and the demo; the first time this takes a few minutes");
    let guests = guests(Targets::Programs)?;
    std::fs::create_dir_all("target/reports")
        .map_err(|error| Failed(format!("cannot make target/reports: {error}")))?;
    let (v1, v2) = (format!("{guests}/bank-v1.wasm"), format!("{guests}/bank-v2-fee.wasm"));
    let mut args = vec!["--ordain", "target/release/ordain", "--data", "target/demo"];
    args.extend(["--modules-v1", &v1, "--modules-v2", &v2, "--report", "target/reports/demo.json"]);
    args.extend(rest);
    program("target/release/ordain-demo", &args)
}

/// What some tests need beyond Rust: strace makes syncs fail and kills at chosen calls. Without it they say so and skip.
fn setup_for_tests() -> Result<(), Failed> {
    setup()?;
    if run::output("strace", &["-V"]).is_ok() {
        return Ok(());
    }
    if run::apt_install(&["strace"]).is_err() {
        println!(
            "strace could not be installed: the tests that make syncs fail will skip. Install it by hand for them"
        );
    }
    Ok(())
}

fn test(rest: &[&str]) -> Result<(), Failed> {
    setup_for_tests()?;
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run()?;
    cargo(&["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    guests(Targets::All)?;
    let mut args = vec!["test", "--release", "--locked", "--workspace", "--no-fail-fast"];
    args.extend(rest);
    // Tests of the log on Kafka want a real broker; it ends with this process.
    let broker = Cluster::private(&Spec::named("tests"))?;
    reports::test(&args, &[("ORDAIN_TEST_KAFKA", &broker.bootstrap())])
}

fn torture(rest: &[&str]) -> Result<(), Failed> {
    guests(Targets::Programs)?;
    let mut args = vec!["--ordain", "target/release/ordain", "--guests", "target/guests"];
    args.extend(rest);
    if !rest.contains(&"--kafka") {
        return program("target/release/ordain-torture", &args);
    }
    // For the families that do nothing to their broker; the others start one each. It ends with this process.
    let broker = Cluster::private(&Spec::named("torture"))?;
    program_with("target/release/ordain-torture", &args, &[("ORDAIN_TEST_KAFKA", &broker.bootstrap())])
}
