//! What a log was made with and keeps for ever: one small file of JSON, written once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::LogError;
use super::super::segment::disk::{Access, Disk, read_full};

const FORMAT: u32 = 1;
/// More than any layout has; a longer file is not one.
const FILE_BYTES_MAX: usize = 4096;

/// A log's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The log's name.
    pub log: u128,
    /// Number of partitions.
    pub partitions: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    log: String,
    partitions: u32,
    /// CRC32C of the three fields, each followed by a newline, as 8 hex digits.
    checksum: String,
}

impl Written {
    fn checksum(&self) -> String {
        format!("{:08x}", crc32c::crc32c(format!("{}\n{}\n{}\n", self.format, self.log, self.partitions).as_bytes()))
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("layout")
}

impl Layout {
    /// Reads the layout; `None` if there is none.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is damaged; [`LogError::Fatal`] if it is of a newer format, has another number of
    /// partitions than `partitions`, or cannot be read.
    pub fn read(disk: &dyn Disk, folder: &Path, partitions: u32) -> Result<Option<Self>, LogError> {
        let path = path(folder);
        let broken = |error: std::io::Error| {
            LogError::Fatal(format!("cannot read {}: {error}. Check the disk and its permissions", path.display()))
        };
        let file = match disk.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        let mut bytes = vec![0; FILE_BYTES_MAX];
        let n = read_full(&*file, &mut bytes, 0).map_err(broken)?;
        bytes.truncate(n);
        let layout = Self::parse(&bytes).map_err(|why| {
            LogError::Corrupt(format!(
                "{} is damaged at byte 0: {why}. Restore this one file from a backup of the same log",
                path.display()
            ))
        })?;
        if layout.partitions != partitions {
            return Err(LogError::Fatal(format!(
                "the log in {} was made with {} partitions, but {partitions} are configured. The number is fixed for \
                 ever, because it decides where an aggregate lives: configure {}, or begin with another data folder",
                folder.display(),
                layout.partitions,
                layout.partitions
            )));
        }
        Ok(Some(layout))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if written.checksum != written.checksum() {
            return Err("its checksum does not match".to_owned());
        }
        if written.format != FORMAT {
            return Err(format!("it is of format {}, and this version reads {FORMAT}", written.format));
        }
        let log = u128::from_str_radix(&written.log, 16).map_err(|error| error.to_string())?;
        Ok(Self { log, partitions: written.partitions })
    }

    /// The layout of a new log, with a name that no other has.
    pub fn new(partitions: u32) -> Self {
        Self { log: uuid::Uuid::now_v7().as_u128(), partitions }
    }

    /// Writes the layout, durably and as a whole.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it cannot be written.
    pub fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), LogError> {
        let (log, partitions) = (format!("{:032x}", self.log), self.partitions);
        let mut written = Written { format: FORMAT, log, partitions, checksum: String::new() };
        written.checksum = written.checksum();
        let text = serde_json::to_vec_pretty(&written).expect("text and numbers are JSON");
        let (path, draft) = (path(folder), folder.join("layout.tmp"));
        let done = disk.open(&draft, Access::Create).and_then(|file| {
            file.write_at(&text, 0)?;
            file.sync()
        });
        let done = done.and_then(|()| disk.rename(&draft, &path)).and_then(|()| disk.sync_folder(folder));
        done.map_err(|error| {
            LogError::Fatal(format!("cannot write {}: {error}. Check the disk and its permissions", path.display()))
        })
    }
}

/// The error for a log that has blocks but no layout.
pub fn missing(folder: &Path) -> LogError {
    LogError::Corrupt(format!(
        "{} is missing, but the log beside it has blocks: restore this one file from a backup of the same log",
        path(folder).display()
    ))
}
