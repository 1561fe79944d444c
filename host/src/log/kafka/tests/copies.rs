//! The local copy: a disk that is full, and a machine that lost its power.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::super::copy::{NOTE_EVERY, Unsynced};
use super::*;
use crate::log::conformance::owner::{Owner, id_of, records};
use crate::log::segment::disk::{Access, Disk, DiskFile};
use crate::log::{Committed, LogError};

/// A disk that can be full.
#[derive(Debug)]
struct Filling(Arc<AtomicBool>);

#[derive(Debug)]
struct FillingFile(Arc<dyn DiskFile>, Arc<AtomicBool>);

impl FillingFile {
    fn room(&self) -> io::Result<()> {
        if self.1.load(Ordering::Acquire) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Filling {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Unsynced.create_folder(folder)
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        Unsynced.names(folder)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FillingFile(Unsynced.open(path, access)?, Arc::clone(&self.0))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Unsynced.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Unsynced.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Unsynced.sync_folder(folder)
    }
}

impl DiskFile for FillingFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.room()?;
        self.0.write_at(bytes, offset)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_length(bytes)
    }
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.room()?;
        self.0.allocate(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A block of one command of lane 0.
fn block(sequence: u64, text: &str) -> BlockBuilder {
    let mut events = Vec::new();
    let event = rmp_serde::to_vec(&BTreeMap::from([("Said", text)])).expect("a map of texts");
    ordain_sdk::contract::write_frame(&mut events, &event);
    let mut block = BlockBuilder::new();
    let head = EntryHead { sequence, command_offset: sequence, version: sequence + 1, module: Digest([7; 32]) };
    let answer = Answer::Accepted { count: 1, events: &events };
    block.push(&head, &command(&id_of(0), PARTITIONS, text.as_bytes()), &answer);
    block
}

fn told() -> (OnCommitted, Receiver<Committed>) {
    let (to, answers) = sync_channel(16);
    (Box::new(move |committed| drop(to.send(committed))), answers)
}

/// The block was committed on Kafka and did not fit on the host's own disk. The callers were told that nothing had
/// happened, and the lane went on with the same numbers.
#[test]
fn a_commit_that_the_copy_has_no_room_for_is_in_doubt() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let folder = tempfile::tempdir().expect("a folder");
    let full = Arc::<AtomicBool>::default();
    let disk: Arc<dyn Disk> = Arc::new(Filling(Arc::clone(&full)));
    let copy = Copy::open_on(&disk, &folder.path().join("copy"), "full", segment::Options::default()).expect("opens");
    let (tell, answers) = told();
    let mut lane = real.lane_with(copy, 0, tell);
    lane.take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
    lane.submit(block(0, "a")).expect("is accepted");
    answers.recv().expect("is answered").result.expect("is committed");
    full.store(true, Ordering::Release);
    lane.submit(block(1, "b")).expect("is accepted");
    let error = answers.recv().expect("is answered").result.expect_err("it is not here");
    assert!(matches!(&error, LogError::Ambiguous { .. }), "{error}");
    lane.submit(block(1, "instead of b")).expect_err("the lane must be taken anew first");
    full.store(false, Ordering::Release);
    let mut replayed = Vec::new();
    lane.take(Lsn(0), &mut |block| {
        replayed.push(block.clone());
        Ok(())
    })
    .expect("the lane can be had");
    let texts: Vec<_> = records(&replayed).into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["a", "b"], "it happened");
    drop(lane);
    assert_eq!(records(&Owner::taken(&real, 0).replayed).len(), 2);
}

/// What was never synced survives everything but the end of the machine: after that every page is looked at, and a copy
/// with a hole in it was taken for whole once, because only its end was read.
#[test]
fn after_a_power_loss_a_damaged_copy_is_made_anew_and_a_whole_one_is_kept() {
    for damaged in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Copy::open(folder.path(), "power", segment::Options::default()).expect("opens");
        let copy = open();
        let name = copy.id();
        for n in 0..50 {
            copy.append((0, 1, 1), block(n, "some text that is long enough to be damaged"), []).expect("is appended");
        }
        let end = copy.end();
        copy.close();
        drop(copy);
        let notes = folder.path().join("copy.json");
        let text = std::fs::read_to_string(&notes).expect("notes");
        let (before, boot) = text.split_once("\"boot\":\"").expect("the start of the machine is there");
        let (_, behind) = boot.split_once('"').expect("it ends");
        std::fs::write(&notes, format!("{before}\"boot\":\"another start of the machine\"{behind}"))
            .expect("is written");
        if damaged {
            let segment = folder.path().join(format!("{:020}.log", 0));
            let mut bytes = std::fs::read(&segment).expect("a segment");
            bytes[1_000..1_200].fill(0);
            std::fs::write(&segment, bytes).expect("is written");
        }
        let copy = open();
        assert_eq!((copy.id() == name, copy.end() == end), (!damaged, !damaged));
        let stream = command(&id_of(0), PARTITIONS, b"").partition;
        assert_eq!(copy.progress(stream).next_sequence, if damaged { 0 } else { 50 });
    }
}

/// To replace the note of how far the copy is took up to 650 ms now and then, with the lock that commits need.
#[test]
fn commits_do_not_wait_until_it_is_noted_how_far_the_copy_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = Arc::new(Copy::open(folder.path(), "slow", segment::Options::default()).expect("opens"));
    // Whoever opens this to write waits until somebody reads it.
    let beside = folder.path().join("copy.json.new");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &beside, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let (tell, told) = sync_channel(16);
    let commits = Arc::clone(&copy);
    let committing = std::thread::spawn(move || {
        for n in 0..3 {
            commits.append((0, 1, 1), block(n, "a"), []).expect("is appended");
            tell.send(n).expect("somebody counts");
            // Longer than from one note to the next.
            std::thread::park_timeout(NOTE_EVERY + Duration::from_millis(100));
        }
    });
    let appended: Vec<u64> = std::iter::from_fn(|| told.recv_timeout(NOTE_EVERY * 3).ok()).collect();
    let noted: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&beside).expect("is read")).expect("is a note");
    committing.join().expect("ends");
    assert_eq!(appended, [0, 1, 2], "a commit waited for the note");
    assert!(noted["end"].as_u64().is_some_and(|end| end > 0), "{noted}");
    copy.close();
}
