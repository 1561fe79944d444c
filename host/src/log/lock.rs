//! One process per log. The operating system drops the lock when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::LogError;

/// Held as long as the log is open.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a folder and writes this process's id into it.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if another process has it, or the file cannot be made.
    pub fn take(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join("lock");
        let failed = |error: std::io::Error| {
            LogError::Fatal(format!(
                "cannot lock {}: {error}. Check the permissions of the data folder",
                path.display()
            ))
        };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let owner = match file.read_to_string(&mut text) {
                    Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
                    _ => "another process".to_owned(),
                };
                return Err(LogError::Fatal(format!(
                    "{owner} has the log in {} open: stop it first, or use another data folder",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let id = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(id.as_bytes()));
        // The id only helps people: a full disk must not keep the log from opening.
        let _ = written;
        Ok(Self { _file: file })
    }
}
