//! Report files: what was measured, against what goal, on which machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What was measured.
    pub measured: Value,
    /// In what unit.
    pub unit: String,
    /// What it should be, for people; `null` if it is only told.
    pub goal: Option<String>,
    /// Whether it is; `null` without a goal.
    pub holds: Option<bool>,
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// File system and device of the data.
    pub disk: String,
}

/// A report file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// The commit that was measured.
    pub revision: String,
    /// Where.
    pub machine: Machine,
    /// What.
    pub results: Vec<Figure>,
}

impl Figures {
    /// An empty report about this checkout and this machine; `data` is on the disk that matters.
    pub fn new(data: &Path) -> Self {
        Self { revision: revision(), machine: Machine::of(data), results: Vec::new() }
    }

    /// Adds a figure without a goal.
    pub fn tell(&mut self, name: &str, measured: impl Into<Value>, unit: &str) {
        let (measured, unit) = (measured.into(), unit.to_owned());
        self.results.push(Figure { name: name.to_owned(), measured, unit, goal: None, holds: None });
    }

    /// Adds a figure with a goal.
    pub fn promise(&mut self, name: &str, measured: impl Into<Value>, unit: &str, goal: &str, holds: bool) {
        let (measured, unit, goal) = (measured.into(), unit.to_owned(), Some(goal.to_owned()));
        self.results.push(Figure { name: name.to_owned(), measured, unit, goal, holds: Some(holds) });
    }

    /// Whether every goal was reached.
    pub fn hold(&self) -> bool {
        self.results.iter().all(|figure| figure.holds != Some(false))
    }

    /// Writes the file, making its folder if needed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Machine {
    /// This machine, with the disk that `data` is on.
    pub fn of(data: &Path) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            disk: disk(data).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// File system and device of the longest mount point above `data`.
fn disk(data: &Path) -> Option<String> {
    let data = fs::canonicalize(data).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(_, point, _)| data.starts_with(point));
    let (device, _, kind) = above.max_by_key(|(_, point, _)| point.len())?;
    Some(format!("{kind} on {device}"))
}

fn revision() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=40"]).output();
    let text = git.ok().filter(|git| git.status.success()).map(|git| String::from_utf8_lossy(&git.stdout).into_owned());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
