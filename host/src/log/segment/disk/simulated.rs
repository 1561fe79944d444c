//! A disk that can lose power, fail and fill up. It knows for every file what is in the cache and what was synced, and
//! after a power loss any part of the difference survives: whole operations or pieces of them, in any order, lengths
//! and names apart from bytes. Harsher than any filesystem in use, so that nothing depends on which one it is.

#![allow(missing_docs, reason = "only tests see it")]

mod inode;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::super::test_kit::Dice;
use super::{Access, Disk, DiskFile};
use inode::{Change, Inode};

/// What can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Sync,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: Dice,
    inodes: Vec<Inode>,
    /// Names as a running process sees them, as they were synced, and what happened between.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    /// Operations until the power goes, or the failure comes.
    power: Option<u64>,
    failure: Option<(Kind, u64)>,
    /// Bytes that fit on the disk.
    capacity: Option<u64>,
    operations: u64,
}

#[derive(Debug, Clone)]
struct NameChange {
    gone: Option<PathBuf>,
    come: Option<(PathBuf, usize)>,
}

fn lost() -> io::Error {
    io::Error::other("the power is gone")
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            pending_names: Vec::new(),
            power: None,
            failure: None,
            capacity: None,
            operations: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics inside the disk")
    }

    /// The power goes in the middle of the `n`-th changing operation from now.
    pub fn lose_power_at(&self, n: u64) {
        self.state().power = Some(n);
    }

    /// The `n`-th operation of a kind from now fails, and only that one.
    pub fn fail_at(&self, kind: Kind, n: u64) {
        self.state().failure = Some((kind, n));
    }

    /// Whether the failure that was ordered has not come yet.
    pub fn failure_is_due(&self) -> bool {
        self.state().failure.is_some()
    }

    /// Files have room for so many bytes together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes that all files have together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The machine starts again after its power was lost: whatever was not synced is there in part, or not.
    pub fn restart(&self) {
        let state = &mut *self.state();
        state.power = None;
        state.failure = None;
        for inode in &mut state.inodes {
            inode.settle(&mut state.dice);
            inode.cached.clone_from(&inode.synced);
        }
        let survive = state.dice.one_of(&[0, 50, 100]);
        for change in std::mem::take(&mut state.pending_names) {
            if state.dice.chance(survive) {
                change.apply(&mut state.synced_names);
            }
        }
        state.names.clone_from(&state.synced_names);
    }

    /// The process starts again on a machine that went on: all it wrote is there.
    pub fn restart_process(&self) {
        let mut state = self.state();
        state.power = None;
        state.failure = None;
    }

    /// Bytes of a file as a process sees them.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].cached.clone()
    }

    /// Replaces a file's bytes behind everybody's back, durably; `None` removes it.
    pub fn replace(&self, path: &Path, bytes: Option<Vec<u8>>) {
        let state = &mut *self.state();
        let Some(bytes) = bytes else {
            state.names.remove(path);
            state.synced_names.remove(path);
            return;
        };
        let inode = Inode { cached: bytes.clone(), synced: bytes, pending: Vec::new() };
        state.inodes.push(inode);
        for names in [&mut state.names, &mut state.synced_names] {
            names.insert(path.to_owned(), state.inodes.len() - 1);
        }
    }

    /// An independent disk with the same content.
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = Self::new(state.dice.0);
        {
            let mut to = copy.state();
            to.inodes.clone_from(&state.inodes);
            to.names.clone_from(&state.names);
            to.synced_names.clone_from(&state.synced_names);
            to.pending_names.clone_from(&state.pending_names);
        }
        copy
    }

    /// Paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((path, inode)) = &self.come {
            names.insert(path.clone(), *inode);
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].cached.len() as u64).sum()
    }

    /// Counts an operation; says whether the power goes in its middle.
    fn operation(&mut self) -> io::Result<bool> {
        self.operations += 1;
        match &mut self.power {
            Some(0) => return Err(lost()),
            Some(left) => {
                *left -= 1;
                return Ok(*left == 0);
            }
            None => {}
        }
        Ok(false)
    }

    fn fails(&mut self, kind: Kind) -> bool {
        match &mut self.failure {
            Some((failing, left)) if *failing == kind => {
                *left -= 1;
                if *left == 0 {
                    self.failure = None;
                    return true;
                }
            }
            _ => {}
        }
        false
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let dies = self.operation()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if dies { Err(lost()) } else { Ok(()) }
    }

    /// How many of `wanted` more bytes than a file of `length` has there is room for.
    fn room(&self, length: usize, wanted: usize) -> usize {
        let Some(capacity) = self.capacity else { return wanted };
        let free = capacity.saturating_sub(self.used()) as usize;
        wanted.min(length + free)
    }
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = |inode| Arc::new(SimulatedFile { disk: self.clone(), inode });
        let mut state = self.state();
        match (state.names.get(path).copied(), access) {
            (Some(inode), Access::Create) => {
                drop(state);
                let file = file(inode);
                file.set_length(0)?;
                Ok(file)
            }
            (Some(inode), _) => Ok(file(inode)),
            (None, Access::Create) => {
                if state.capacity.is_some_and(|capacity| state.used() >= capacity) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.change_name(NameChange { gone: None, come: Some((path.to_owned(), inode)) })?;
                Ok(file(inode))
            }
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_name(NameChange { gone: Some(from.to_owned()), come: Some((to.to_owned(), inode)) })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().change_name(NameChange { gone: Some(path.to_owned()), come: None })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        if state.operation()? {
            return Err(lost());
        }
        if state.fails(Kind::Sync) {
            state.pending_names.clear();
            return Err(broken());
        }
        for change in state.pending_names.drain(..) {
            change.apply(&mut state.synced_names);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.fails(Kind::Read) {
            return Err(broken());
        }
        let bytes = state.inodes[self.inode].cached.get(offset as usize..).unwrap_or_default();
        let n = bytes.len().min(into.len());
        into[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let dies = state.operation()?;
        let fails = state.fails(Kind::Write);
        let offset = offset as usize;
        let length = state.inodes[self.inode].cached.len();
        let end = state.room(length, offset + bytes.len());
        let mut written = end.saturating_sub(offset).min(bytes.len());
        if dies {
            written = state.dice.below(written as u64 + 1) as usize;
        } else if fails {
            written = state.dice.below(written as u64) as usize;
        }
        let inode = &mut state.inodes[self.inode];
        if inode.cached.len() < offset + written {
            inode.cached.resize(offset + written, 0);
        }
        inode.cached[offset..offset + written].copy_from_slice(&bytes[..written]);
        inode.pending.push(Change::Write { offset, bytes: bytes[..written].to_vec() });
        match (dies, fails) {
            (true, _) => Err(lost()),
            (_, true) => Err(broken()),
            _ if written < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].cached.len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let dies = state.operation()?;
        let inode = &mut state.inodes[self.inode];
        inode.cached.resize(bytes as usize, 0);
        inode.pending.push(Change::Length(bytes as usize));
        if dies { Err(lost()) } else { Ok(()) }
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let length = {
            let state = self.disk.state();
            let length = state.inodes[self.inode].cached.len();
            let wanted = (offset + bytes) as usize;
            if state.room(length, wanted) < wanted {
                return Err(io::ErrorKind::StorageFull.into());
            }
            wanted.max(length)
        };
        self.set_length(length as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        if state.operation()? {
            return Err(lost());
        }
        let inode = &mut state.inodes[self.inode];
        if state.failure.is_some_and(|(kind, left)| kind == Kind::Sync && left == 1) {
            state.failure = None;
            // What was dirty is clean now, on the disk or not: this is what Linux filesystems do.
            inode.settle(&mut state.dice);
            return Err(broken());
        }
        if let Some((Kind::Sync, left)) = &mut state.failure {
            *left -= 1;
        }
        inode.sync();
        Ok(())
    }
}
