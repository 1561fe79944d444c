//! What goes wrong with files, as errors that say where and what to do.

use std::fmt::Display;
use std::io;
use std::path::Path;

use super::super::LogError;

/// Whether the operating system said that there is no space (left, or allowed).
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file could not be read or opened.
pub fn unreadable(path: &Path, doing: &str, error: &io::Error) -> LogError {
    LogError::Fatal(format!(
        "cannot {doing} {}: {error}. Check the disk and the permissions of the data folder, then start again",
        path.display()
    ))
}

/// A write or a sync failed. What the disk holds of it is unknown until the log is opened again.
pub fn unwritable(path: &Path, doing: &str, error: &io::Error) -> LogError {
    LogError::Fatal(format!(
        "cannot {doing} {}: {error}. Nothing more is acknowledged: check the disk, then start again; \
         what was acknowledged before is safe",
        path.display()
    ))
}

/// Bytes are not what was committed.
pub fn corrupt(path: &Path, offset: u64, why: impl Display) -> LogError {
    LogError::Corrupt(format!(
        "{} is damaged at byte {offset}: {why}. Acknowledged commands may be gone, so the log is not used: \
         check the disk, and restore the data folder from a backup",
        path.display()
    ))
}
