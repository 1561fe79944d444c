//! The files of a log: their names, and a bounded number of open ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::super::{LogError, Lsn};
use super::disk::{Access, Disk, DiskFile};
use super::error::unreadable;

/// Files kept open for reading; a log of a terabyte has more segments than a process may have files.
const OPEN_FILES_MAX: usize = 128;

/// The folder of a log.
#[derive(Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<PathBuf, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.to_owned(), open: Mutex::default() }
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn segment(&self, base: Lsn) -> PathBuf {
        self.folder.join(format!("{:020}.log", base.0))
    }

    pub fn sidecar(&self, base: Lsn) -> PathBuf {
        self.folder.join(format!("{:020}.idx", base.0))
    }

    /// Addresses at which the segments in the folder begin, in order.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if the folder cannot be read.
    pub fn bases(&self) -> Result<Vec<Lsn>, LogError> {
        let names = self.disk.names(&self.folder).map_err(|e| unreadable(&self.folder, "list", &e))?;
        let mut bases: Vec<Lsn> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// Makes a file with these bytes, durably with its name, and as a whole or not at all. It takes the place of one
    /// that has the name, so that the name is written even if an earlier sync of it failed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn make_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let draft = path.with_extension("tmp");
        let file = self.disk.open(&draft, Access::Create)?;
        if !bytes.is_empty() {
            file.write_at(bytes, 0)?;
        }
        file.sync()?;
        self.disk.rename(&draft, path)?;
        self.forget(path);
        self.disk.sync_folder(&self.folder)?;
        Ok(file)
    }

    /// A file opened for reading, from the open ones if it is among them.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn reading(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        if let Some((file, used)) = open.files.get_mut(path) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(path, Access::Read)?;
        if open.files.len() >= OPEN_FILES_MAX {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| open.files.remove(&path));
        }
        open.files.insert(path.to_owned(), (Arc::clone(&file), now));
        Ok(file)
    }

    /// Forgets an open file that is about to be replaced.
    pub fn forget(&self, path: &Path) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(path);
    }
}

/// The address in a segment's file name; `None` for every other name.
fn base_of(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|c| c.is_ascii_digit())).then(|| digits.parse().ok().map(Lsn))?
}
