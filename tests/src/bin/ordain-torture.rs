//! The fault families of the end-to-end tests, again and again, each time with other random numbers.
//!
//! Every run's seed is told before it begins; `--family NAME --seed S --minutes 0` does exactly that run again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ordain_tests::clock;
use ordain_tests::dice::Dice;
use ordain_tests::families::{ALL, Family};
use ordain_tests::field::{Counts, Field};
use ordain_tests::figures::Figures;

/// Runs the fault families until time is up. Exit code 0 if every promise was kept, 1 if not.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The `ordain` binary.
    #[arg(long, value_name = "PATH")]
    ordain: PathBuf,
    /// Folder of the modules that `cargo xtask guests` builds.
    #[arg(long, value_name = "DIR")]
    guests: PathBuf,
    /// How long; what was begun is finished. 0: each family once.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Where randomness begins; the time if it is not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The families on Apache Kafka, which start their brokers, instead of those on the embedded log.
    #[arg(long)]
    kafka: bool,
    /// Only these families.
    #[arg(long, value_name = "NAME", value_parser = ALL.iter().map(|family| family.name).collect::<Vec<_>>())]
    family: Vec<String>,
    /// Folder for data; what failed stays in it.
    #[arg(long, value_name = "DIR", default_value = "target/torture")]
    folder: PathBuf,
    /// Where the counts are written.
    #[arg(long, value_name = "FILE", default_value = "target/reports/torture.json")]
    report: PathBuf,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // An interrupted run drops its daemons, which kills them.
    let done = tokio::select! {
        done = torture(&arguments) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ordain-torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn torture(arguments: &Arguments) -> anyhow::Result<()> {
    let (start, limit) = (clock::now_ns(), Duration::from_secs(60 * arguments.minutes));
    let first = arguments.seed.unwrap_or_else(|| clock::unix_seconds().unsigned_abs());
    let chosen = |family: &&Family| match arguments.family.as_slice() {
        [] => family.on_kafka == arguments.kafka,
        names => names.iter().any(|name| name == family.name),
    };
    let families: Vec<&Family> = ALL.iter().filter(chosen).collect();
    ensure!(!families.is_empty(), "no family to run");
    let mut sums = BTreeMap::new();
    let mut seeds = Dice::new(first, "torture");
    for round in 0_u64.. {
        // The first round runs under the seed as it was given, so that one run can be done again.
        let seed = if round == 0 { first } else { seeds.below(1 << 32) };
        for family in &families {
            if clock::since(start) >= limit && round > 0 {
                return tell(arguments, first, &sums);
            }
            println!("{} --seed {seed}", family.name);
            let counts = run(arguments, family, seed).await;
            if counts.is_err() {
                tell(arguments, first, &sums)?;
            }
            add(&mut sums, family.name, &counts?);
        }
        if clock::since(start) >= limit {
            return tell(arguments, first, &sums);
        }
    }
    Ok(())
}

async fn run(arguments: &Arguments, family: &Family, seed: u64) -> anyhow::Result<Counts> {
    let Arguments { ordain, guests, folder, .. } = arguments;
    let folder = folder.join(family.name);
    let field = Field { ordain: ordain.clone(), guests: guests.clone(), folder, seed, thorough: true };
    let began = clock::now_ns();
    let failed = || format!("{} --seed {seed} failed; its data is in {}", family.name, arguments.folder.display());
    let mut counts = (family.run)(&field).await.with_context(failed)?;
    field.clear();
    counts.insert("runs", 1);
    println!("    {:.0} s: {counts:?}", clock::since(began).as_secs_f64());
    Ok(counts)
}

/// Times are not summed: the slowest counts.
fn add(sums: &mut BTreeMap<String, u64>, family: &str, counts: &Counts) {
    for (name, count) in counts {
        let sum = sums.entry(format!("{family}.{name}")).or_default();
        let is_time = name.ends_with("_ms") || name.ends_with("_us");
        *sum = if is_time { (*sum).max(*count) } else { *sum + count };
    }
}

fn tell(arguments: &Arguments, seed: u64, sums: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let mut figures = Figures::new(&arguments.folder);
    figures.tell("seed", seed, "");
    for (name, sum) in sums {
        let unit = if name.ends_with("_ms") {
            "ms"
        } else if name.ends_with("_us") {
            "us"
        } else {
            ""
        };
        figures.tell(name, *sum, unit);
        println!("{name:<48} {sum:>12} {unit}");
    }
    figures.write(&arguments.report)
}
