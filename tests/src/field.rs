//! What a family of faults is given: the programs, the modules, a folder, and a seed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use ordain_checker::Report;

use crate::rules::Rules;
use crate::stage::Stage;

/// Where a family finds what it needs.
#[derive(Debug, Clone)]
pub struct Field {
    /// The `ordain` binary.
    pub ordain: PathBuf,
    /// Folder of the modules that `cargo xtask guests` builds.
    pub guests: PathBuf,
    /// Folder for data; emptied first, removed when all went well.
    pub folder: PathBuf,
    /// Where randomness begins.
    pub seed: u64,
    /// There is time: every fault longer or more often.
    pub thorough: bool,
}

/// What was done and seen, by name.
pub type Counts = BTreeMap<&'static str, u64>;

impl Field {
    /// What lies beside a program of this workspace: `ordain`, and the modules in `target/guests`.
    ///
    /// # Errors
    /// If something is missing; the error says how to build it.
    pub fn beside(program: &Path, name: &str, seed: u64) -> anyhow::Result<Self> {
        let release = program.ancestors().find(|folder| folder.join("ordain").is_file());
        let Some(release) = release else {
            bail!(
                "the daemon is not built: run `cargo build --release --workspace`, or `cargo xtask test` for everything"
            );
        };
        let target = release.parent().unwrap_or(release);
        let folder = target.join("e2e").join(name);
        let field =
            Self { ordain: release.join("ordain"), guests: target.join("guests"), folder, seed, thorough: false };
        field.rules("v1")?;
        Ok(field)
    }

    /// One number for a test, another where there is time.
    pub fn pick<T>(&self, quick: T, thorough: T) -> T {
        if self.thorough { thorough } else { quick }
    }

    /// A version of the bank: `v1`, `v2-fee`, `v2-no-overdraft`, `v3`, `v4`, `trap`, `loop`.
    ///
    /// # Errors
    /// If it is not built; the error says how to.
    pub fn rules(&self, version: &str) -> anyhow::Result<Rules> {
        let rules = self.module(&format!("bank-{version}.wasm"), version)?;
        // Those that fall over decide as the first version does when they do not; the fourth writes other events.
        Ok(match version {
            "trap" | "loop" => rules.judged_as(Some("v1")),
            "v4" => rules.judged_as(None),
            _ => rules,
        })
    }

    /// A module by its file's name.
    ///
    /// # Errors
    /// If it is not built; the error says how to.
    pub fn module(&self, file: &str, name: &str) -> anyhow::Result<Rules> {
        let path = self.guests.join(file);
        ensure!(path.is_file(), "the module {} is not built: run `cargo xtask guests`", path.display());
        Rules::read(&path, name)
    }

    /// A stage in the folder, with a daemon that decides by the first version.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn stage(&self) -> anyhow::Result<Stage> {
        Stage::set(&self.ordain, &self.folder, &self.rules("v1")?).await
    }

    /// A stage in the folder, without a daemon yet.
    ///
    /// # Errors
    /// If the folder is another one's.
    pub fn empty_stage(&self) -> anyhow::Result<Stage> {
        Stage::empty(&self.ordain, &self.folder)
    }

    /// The same field for a part of a family, in a folder of its own.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        let folder = self.folder.with_file_name(format!(
            "{}-{name}",
            self.folder.file_name().map(|n| n.to_string_lossy()).unwrap_or_default()
        ));
        Self { folder, ..self.clone() }
    }

    /// Says that something was not tested here, past whatever captures a test's output.
    pub fn skip(&self, why: &str) {
        // If nobody can read it, nobody is told.
        let _unheard = writeln!(std::io::stderr(), "\nSKIPPED: {why}\n");
    }

    /// Removes the folder.
    pub fn clear(&self) {
        // What stays is emptied by the next run.
        let _stays = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether calls to the system can be made to fail here.
pub fn has_strace() -> bool {
    std::process::Command::new("strace").arg("-V").output().is_ok()
}

/// Fails unless every promise was kept and every command has an answer.
///
/// # Errors
/// The whole report.
pub fn kept(report: &Report) -> anyhow::Result<()> {
    ensure!(report.holds() && report.unresolved == 0, "promises were broken:\n{report}");
    Ok(())
}
