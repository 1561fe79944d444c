//! What the store's folder remembers about its own health, outside the library that may be the one at fault.
//!
//! Two small files beside the tree: `unproven` grows by a byte at each start and goes away once a start has proved
//! itself; `suspect` holds why the store must not be opened again. A library that brings the whole process down cannot
//! do so for ever: after [`STARTS_MAX`] starts that proved nothing the store is wiped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::StoreError;

/// Starts in a row that may end before the store proved itself.
const STARTS_MAX: u64 = 3;

/// The folder of the store.
#[derive(Debug)]
pub struct Guard {
    dir: PathBuf,
    verdict: Option<String>,
    proved: AtomicBool,
    suspected: AtomicBool,
}

impl Guard {
    /// Creates the folder if it is missing and counts this start.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the folder cannot be read or written.
    pub fn enter(dir: &Path) -> Result<Self, StoreError> {
        let refuse = |what: &str, e: std::io::Error| {
            StoreError::Folder(format!(
                "the state store's folder {} cannot be {what}: {e}. Check its owner, permissions and free space",
                dir.display()
            ))
        };
        fs::create_dir_all(dir).map_err(|e| refuse("created", e))?;
        let unproven = dir.join("unproven");
        let starts = fs::metadata(&unproven).map_or(0, |file| file.len());
        let mut verdict = fs::read(dir.join("suspect")).ok().map(|why| String::from_utf8_lossy(&why).into_owned());
        if starts >= STARTS_MAX && verdict.is_none() {
            verdict = Some(format!("the last {starts} starts ended before the store proved itself"));
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&unproven)
            .and_then(|mut file| file.write_all(b"."))
            .map_err(|e| refuse("written", e))?;
        Ok(Self { dir: dir.to_owned(), verdict, proved: AtomicBool::new(false), suspected: AtomicBool::new(false) })
    }

    /// Why what is on disk must not be opened, if so.
    pub fn verdict(&self) -> Option<String> {
        self.verdict.clone()
    }

    /// Where the tree is.
    pub fn tree_dir(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// Removes the tree, and then the reason for it.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if it cannot be removed.
    pub fn wipe(&self) -> Result<(), StoreError> {
        let tree = self.tree_dir();
        let gone = |result: std::io::Result<()>| match result {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Folder(format!(
                "the state store in {} must be wiped and cannot be: {e}. Delete the folder and start again",
                self.dir.display()
            ))),
            _ => Ok(()),
        };
        if tree.is_dir() {
            gone(fs::remove_dir_all(&tree))?;
        } else {
            gone(fs::remove_file(&tree))?;
        }
        gone(fs::remove_file(self.dir.join("suspect")))
    }

    /// This start has opened, read and written, or lived long enough: it does not count against the store.
    pub fn proved(&self) {
        if !self.proved.swap(true, Ordering::Relaxed) {
            // If it stays, a later start rebuilds the store for nothing: slow, not wrong.
            let _ = fs::remove_file(self.dir.join("unproven"));
        }
    }

    /// The store was caught lying or cannot be written: says so, and makes the next start rebuild it.
    pub fn suspect(&self, reason: &str) {
        if self.suspected.swap(true, Ordering::Relaxed) {
            tracing::debug!(reason, "the state store cannot be trusted");
            return;
        }
        tracing::error!(reason, "the state store cannot be trusted; the next start rebuilds it from the log");
        if let Err(e) = fs::write(self.dir.join("suspect"), reason) {
            tracing::error!(error = %e, "the state store could not be marked for a rebuild: delete its folder before the next start");
        }
    }
}
