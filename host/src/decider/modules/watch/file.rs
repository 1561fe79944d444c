//! Reading one file of the modules folder, whatever it may be.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::because;
use crate::clock::now_ms;
use crate::decider::refused::{Refused, Rule};

/// What tells one content of a file from another without reading it. The time of the last change of the inode is in
/// it, because the time of the content can be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    kind: fs::FileType,
}

impl Stamp {
    /// Of what is there under this name, links not followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }

    /// For how long nothing was changed of it, as far as the clock tells.
    pub fn age(&self) -> Duration {
        let (seconds, nanos) = self.changed;
        let changed_ms = seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000);
        Duration::from_millis(u64::try_from(now_ms().saturating_sub(changed_ms)).unwrap_or(0))
    }

    /// When the content was last written.
    pub fn modified(&self) -> (i64, i64) {
        self.modified
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(about: &fs::Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            length: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
            kind: about.file_type(),
        }
    }
}

/// Why there are no bytes.
pub enum Unfit {
    /// It changed meanwhile: look again.
    Changed,
    /// It will not do until it changes.
    Never(Refused),
}

/// `O_NOFOLLOW`, `O_NONBLOCK`: neither a link nor a pipe can lead or hold us anywhere.
const FLAGS: i32 = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits() as i32;

/// Reads a regular file of at most `bytes_max` bytes that is still the one of the stamp afterwards.
pub fn read(path: &Path, stamp: Stamp, bytes_max: u64) -> Result<Vec<u8>, Unfit> {
    let never = |rule, what: String| Err(Unfit::Never(Refused::new(rule, what)));
    if !stamp.kind.is_file() {
        let what = if stamp.kind.is_symlink() {
            "a symbolic link: copy the file itself"
        } else if stamp.kind.is_dir() {
            "a directory: copy the module itself"
        } else {
            "no regular file: copy the module itself"
        };
        return never(Rule::File, format!("the file is {what}"));
    }
    if stamp.length > bytes_max {
        let length = stamp.length;
        return never(
            Rule::Size,
            format!(
                "the file has {length} bytes and limits.module_bytes_max is {bytes_max}: build it with --release, or raise the limit"
            ),
        );
    }
    let opened = OpenOptions::new().read(true).custom_flags(FLAGS).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::Changed),
        Err(error) => return never(Rule::File, format!("the file cannot be opened: {}", because(&error))),
    };
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.length).unwrap_or(0));
    let read = file.by_ref().take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).and_then(|_| file.metadata());
    let after = match read {
        Ok(after) => after,
        Err(error) => return never(Rule::File, format!("the file cannot be read: {}", because(&error))),
    };
    if Stamp::from(&after) != stamp || bytes.len() as u64 != stamp.length {
        return Err(Unfit::Changed);
    }
    if after.mode() & 0o022 != 0 {
        tracing::warn!(path = %path.display(), "others can write this module: whoever can write it decides by it");
    }
    Ok(bytes)
}
