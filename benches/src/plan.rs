//! Which cases there are, in which order, and how long each may take.

use std::path::PathBuf;
use std::{env, fs, process};

use anyhow::{Context, ensure};
use ordain_tests::figures::{Figure, Figures};

use crate::{cpu, decision, durable, flat, http, large, rebuild};

/// How a run is to be made.
pub struct Plan {
    /// A rough answer soon.
    pub quick: bool,
    /// Folder of the built modules.
    pub guests: PathBuf,
    /// The daemon.
    pub ordain: PathBuf,
    /// An empty folder on the disk to be measured.
    pub folder: PathBuf,
}

impl Plan {
    /// One number for a quick run, another for a thorough one.
    pub fn pick<T>(&self, quick: T, thorough: T) -> T {
        if self.quick { quick } else { thorough }
    }

    /// A module's bytes.
    ///
    /// # Errors
    /// If it was not built.
    pub fn guest(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.guests.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}: run `cargo xtask bench core`", path.display()))
    }
}

type Case = (&'static str, fn(&Plan, &mut Figures) -> anyhow::Result<()>);

const CASES: [Case; 7] = [
    ("decision", decision::run),
    ("durable", durable::run),
    ("http", http::run),
    ("rebuild", rebuild::run),
    ("aggregates", flat::aggregates),
    ("events", flat::events),
    ("large", large::run),
];

/// What is not part of a run, and there for a profiler.
const ALONE: [Case; 3] = [
    ("loop", durable::only_the_loop),
    ("large-loop", durable::only_the_large_loop),
    ("stream-only", http::only_the_stream),
];

/// Runs the cases whose names are in `only`, or all if it is empty, each in a process of its own: none inherits memory or
/// work in the background from the one before. A case that fails is told and does not keep the others from running.
///
/// # Errors
/// If a name is unknown.
pub fn run(plan: &Plan, only: &[String]) -> anyhow::Result<Figures> {
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "there is no case {name}; there are {}", names.join(", "));
    }
    let mut figures = Figures::new(&plan.folder);
    for name in names.into_iter().filter(|name| only.is_empty() || only.iter().any(|one| one == name)) {
        eprintln!("{name} …");
        figures.tell(&format!("load_before_{name}"), cpu::load(), "processes wanting a core, last minute");
        match apart(plan, name) {
            Ok(results) => figures.results.extend(results),
            Err(error) => {
                eprintln!("{error:#}");
                figures.promise(&format!("{name}_measured"), "not measured", "", "measured", false);
            }
        }
    }
    Ok(figures)
}

/// Runs one case in a process of its own.
fn apart(plan: &Plan, name: &str) -> anyhow::Result<Vec<Figure>> {
    let folder = plan.folder.join(name);
    fs::create_dir(&folder)?;
    let report = plan.folder.join(format!("{name}.json"));
    let mut command = process::Command::new(env::current_exe()?);
    command.args(["case", name]);
    for (flag, path) in
        [("--report", &report), ("--guests", &plan.guests), ("--ordain", &plan.ordain), ("--dir", &folder)]
    {
        command.arg(flag).arg(path);
    }
    if plan.quick {
        command.arg("--quick");
    }
    let ended = command.status()?;
    // What it wrote is of no use to the others, and takes room.
    fs::remove_dir_all(&folder)?;
    ensure!(ended.success(), "case {name} ended with {ended}");
    let figures: Figures = serde_json::from_slice(&fs::read(&report)?)?;
    Ok(figures.results)
}

/// Runs one case in this process, in the plan's folder.
///
/// # Errors
/// If the case could not be measured.
pub fn case(plan: &Plan, name: &str) -> anyhow::Result<Figures> {
    let case = CASES.iter().chain(&ALONE).find(|(one, _)| *one == name);
    let (_, case) = case.with_context(|| format!("there is no case {name}"))?;
    let mut figures = Figures::new(&plan.folder);
    case(plan, &mut figures).with_context(|| format!("case {name}"))?;
    Ok(figures)
}
