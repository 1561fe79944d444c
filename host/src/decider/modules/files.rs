//! The store on disk: modules by digest, and the record. Whatever is there is there as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::record::{FORMAT, Record};
use crate::message::Digest;

/// Name of the record.
const RECORD: &str = "active.json";
/// Largest record that is read.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// A folder of `{digest}.wasm` files with `active.json` beside them.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
}

impl Files {
    /// Opens the folder, making it if it is not there.
    pub fn open(dir: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&dir).map_err(|error| {
            format!("the module store {} cannot be made: {error}; check its parent's permissions", dir.display())
        })?;
        Ok(Self { dir })
    }

    /// Where a module is stored.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.hex()))
    }

    /// Stores a module durably.
    pub fn write(&self, digest: Digest, wasm: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        // Content-addressed: what is there and reads right needs no second writing.
        if fs::read(&path).is_ok_and(|there| there == wasm) {
            return Ok(());
        }
        replace(&path, wasm)
    }

    /// Reads a stored module and checks that it is the one.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, String> {
        let path = self.path(digest);
        let wasm = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("the module {digest} is not stored here"),
            _ => format!("the stored module {} is unreadable: {error}", path.display()),
        })?;
        if Digest::of(&wasm) != digest {
            return Err(format!(
                "the stored module {} is damaged: its bytes are not those of its name",
                path.display()
            ));
        }
        Ok(wasm)
    }

    /// Reads the record; an empty one if there never was one.
    pub fn read_record(&self) -> Result<Record, String> {
        let path = self.dir.join(RECORD);
        let unreadable = |what: String| {
            format!(
                "the record of active modules {} is unreadable: {what}; put it back from a backup (the modules beside it \
                 are whole), or remove it and deploy each type's module again",
                path.display()
            )
        };
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(RECORD_BYTES_MAX).read_to_string(&mut text).map_err(|e| unreadable(e.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let record: Record = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if record.format != FORMAT {
            return Err(unreadable(format!("it has the form {}, this host writes {FORMAT}", record.format)));
        }
        Ok(record)
    }

    /// Writes the record durably.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        replace(&self.dir.join(RECORD), &serde_json::to_vec_pretty(record)?)
    }
}

/// Writes a file beside the one it replaces, syncs, renames, syncs the folder: after a crash it is the old one or the
/// new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
