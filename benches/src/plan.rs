//! Which cases there are, in which order, and how long each may take.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use ordain_tests::figures::Figures;

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
        std::fs::read(&path).with_context(|| format!("cannot read {}: run `cargo xtask bench core`", path.display()))
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

/// Runs the cases whose names are in `only`, or all if it is empty.
///
/// # Errors
/// If a name is unknown, or a case could not be measured.
pub fn run(plan: &Plan, only: &[String]) -> anyhow::Result<Figures> {
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "there is no case {name}; there are {}", names.join(", "));
    }
    let mut figures = Figures::new(&plan.folder);
    figures.tell("load_before", cpu::load(), "processes wanting a core, last minute");
    for (name, case) in CASES {
        if only.is_empty() || only.iter().any(|one| one == name) {
            eprintln!("{name} …");
            case(plan, &mut figures).with_context(|| format!("case {name}"))?;
        }
    }
    figures.tell("load_after", cpu::load(), "processes wanting a core, last minute");
    Ok(figures)
}
