use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::*;
use crate::decider::Limits;
use crate::decider::modules::tests::{of_type, open, version};
use crate::decider::modules::{Modules, Options};
use crate::decider::seal;
use crate::decider::testing::sandbox;

/// A store and an inbox that is watched.
struct Place {
    dir: tempfile::TempDir,
    modules: Option<Modules>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inbox")).unwrap();
        let mut place = Self { dir, modules: None };
        place.start();
        place
    }

    fn start(&mut self) {
        let modules = open(&self.dir.path().join("store"));
        modules.watch(self.inbox("")).unwrap();
        self.modules = Some(modules);
    }

    fn stop(&mut self) {
        self.modules = None;
    }

    fn modules(&self) -> &Modules {
        self.modules.as_ref().unwrap()
    }

    fn inbox(&self, name: &str) -> PathBuf {
        self.dir.path().join("inbox").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.inbox(name), bytes).unwrap();
    }

    fn active(&self) -> Option<Digest> {
        self.modules().get_active("sum").map(|active| active.module.digest())
    }

    /// Waits until the bytes are active, for at most three seconds.
    fn becomes(&self, bytes: &[u8]) {
        let wanted = Some(Digest::of(bytes));
        eventually(&format!("{wanted:?}"), || self.active() == wanted);
    }

    fn refusal(&self, file: &str) -> Option<String> {
        let listing = self.modules().list();
        let all = listing.types.into_iter().flat_map(|one| one.refused).chain(listing.refused);
        all.into_iter().find(|one| one.origin == file).map(|one| one.reason)
    }

    /// Waits until a file is refused, for at most three seconds.
    fn refuses(&self, file: &str) -> String {
        eventually(file, || self.refusal(file).is_some());
        self.refusal(file).unwrap()
    }

    /// Lets the watcher look often enough to do whatever it would do.
    fn settle(&self) {
        thread::park_timeout(QUIET_UNPROVEN + RESCAN);
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let watch = Stopwatch::start();
    while !holds() {
        assert!(watch.elapsed() < Duration::from_secs(60), "still not: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn the_latest_arrival_of_a_type_is_active() {
    let place = Place::new();
    let (v1, v2, v3) = (version(1).bytes(), version(2).bytes(), version(3).bytes());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    place.put("sum.wasm", &v2);
    place.becomes(&v2);
    fs::write(place.inbox("sum.wasm.part"), &v3).unwrap();
    fs::rename(place.inbox("sum.wasm.part"), place.inbox("sum.wasm")).unwrap();
    place.becomes(&v3);
    place.put("another.wasm", &v1);
    place.becomes(&v1);
    let files: Vec<_> = place.modules().list().types[0].files.iter().map(|one| one.file.clone()).collect();
    assert_eq!(files, ["another.wasm", "sum.wasm"], "both are listed");
    place.put("other.wasm", &of_type("other").bytes());
    eventually("the other type", || place.modules().get_active("other").is_some());
    assert_eq!(place.active(), Some(Digest::of(&v1)));
}

#[test]
fn what_changes_nothing_changes_nothing() {
    let place = Place::new();
    let (v1, v2) = (version(1).bytes(), version(2).bytes());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    place.modules().deploy(v2.clone(), "upload").unwrap();
    place.put("sum.wasm", &v1);
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&v2)), "the same bytes again are no arrival");
    fs::remove_file(place.inbox("sum.wasm")).unwrap();
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&v2)), "a deleted file unloads nothing");
    assert!(place.modules().list().types[0].files.is_empty());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    place.put(".hidden.wasm", &v2);
    place.put("notes.txt", &v2);
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&v1)));
}

#[test]
fn a_restart_is_no_arrival_and_an_arrival_while_stopped_is_one() {
    let mut place = Place::new();
    let (v1, v2, v3) = (version(1).bytes(), version(2).bytes(), version(3).bytes());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    place.modules().deploy(v2.clone(), "upload").unwrap();
    place.stop();
    place.start();
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&v2)), "the file was there before the upload");
    place.stop();
    place.put("sum.wasm", &v3);
    place.start();
    place.becomes(&v3);
}

#[test]
fn a_file_refused_before_the_restart_is_no_latest_arrival() {
    let mut place = Place::new();
    let (large, small) =
        (version(1).tail(&format!("(@custom \"x\" \"{}\")", "x".repeat(4000))).bytes(), version(2).bytes());
    let limits = Limits { module_bytes_max: 4000, ..sandbox().limits().clone() };
    place.stop();
    let strict = crate::decider::testing::sandbox_with(limits);
    let modules = Modules::open(Options { store_dir: place.dir.path().join("store"), sandbox: strict }).unwrap();
    modules.watch(place.inbox("")).unwrap();
    place.modules = Some(modules);
    place.put("sum.wasm", &large);
    assert!(place.refuses("sum.wasm").contains("module_bytes_max"));
    place.modules().deploy(small.clone(), "upload").unwrap();
    place.stop();
    place.start();
    // It was never read, so nothing is known of it: under the new limit it arrives now.
    place.becomes(&large);

    let traps = version(3).body("ordain_decide", "unreachable").bytes();
    place.put("sum.wasm", &traps);
    place.refuses("sum.wasm");
    place.modules().deploy(small.clone(), "upload").unwrap();
    place.stop();
    place.start();
    assert!(place.refuses("sum.wasm").contains("arrived before"), "{:?}", place.refusal("sum.wasm"));
    assert_eq!(place.active(), Some(Digest::of(&small)));
}

#[test]
fn a_torn_file_is_refused_at_once_and_taken_when_it_is_whole() {
    let place = Place::new();
    let (v1, v2) = (version(1).bytes(), version(2).bytes());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    let watch = Stopwatch::start();
    let mut file = File::create(place.inbox("sum.wasm")).unwrap();
    file.write_all(&v2[..v2.len() / 2]).unwrap();
    place.refuses("sum.wasm");
    assert!(watch.elapsed() < Duration::from_secs(10), "said after {:?}", watch.elapsed());
    assert_eq!(place.active(), Some(Digest::of(&v1)));
    file.write_all(&v2[v2.len() / 2..]).unwrap();
    drop(file);
    let watch = Stopwatch::start();
    place.becomes(&v2);
    assert!(watch.elapsed() < Duration::from_secs(10), "taken after {:?}", watch.elapsed());
    assert_eq!(place.refusal("sum.wasm"), None, "what was wrong is not any more");
}

#[test]
fn no_part_of_a_file_is_ever_active() {
    let place = Place::new();
    let good = version(1).bytes();
    place.put("good.wasm", &good);
    place.becomes(&good);
    let sealed = seal::attach(&version(2).bytes());
    let mut file = File::create(place.inbox("sum.wasm")).unwrap();
    for (number, part) in sealed.chunks(sealed.len() / 20).enumerate() {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        if number % 4 == 3 {
            // Closed and opened again, as a copy that goes on later does: only the seal tells.
            drop(file);
            file = OpenOptions::new().append(true).open(place.inbox("sum.wasm")).unwrap();
            thread::park_timeout(Duration::from_millis(300));
        }
        assert!([Digest::of(&good), Digest::of(&sealed)].contains(&place.active().unwrap()), "after part {number}");
    }
    drop(file);
    place.becomes(&sealed);
    assert_eq!(place.modules().get_active("sum").unwrap().generation, 2);

    // Cut between two sections it is a valid module; without a seal the open file tells.
    let unsealed = version(3).bytes();
    let cut = (0..unsealed.len()).rev().find(|&cut| gate::check(&unsealed[..cut], sandbox().limits()).is_ok()).unwrap();
    let mut file = File::create(place.inbox("plain.wasm")).unwrap();
    file.write_all(&unsealed[..cut]).unwrap();
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&sealed)));
    file.write_all(&unsealed[cut..]).unwrap();
    drop(file);
    place.becomes(&unsealed);
    assert_eq!(place.modules().get_active("sum").unwrap().generation, 3);
}

#[test]
fn what_is_no_file_is_named_and_harms_nobody() {
    let place = Place::new();
    let v1 = version(1).bytes();
    place.put("elsewhere", &v1);
    std::os::unix::fs::symlink(place.inbox("elsewhere"), place.inbox("link.wasm")).unwrap();
    let inbox = File::open(place.inbox("")).unwrap();
    rustix::fs::mknodat(&inbox, "pipe.wasm", rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    fs::create_dir(place.inbox("dir.wasm")).unwrap();
    File::create(place.inbox("sparse.wasm")).unwrap().set_len(2 << 30).unwrap();
    place.put("empty.wasm", &[]);
    place.put("text.wasm", b"hello");
    place.put("good.wasm", &v1);
    place.becomes(&v1);
    assert!(place.refuses("link.wasm").contains("symbolic link"));
    assert!(place.refuses("pipe.wasm").contains("no regular file"));
    assert!(place.refuses("dir.wasm").contains("directory"));
    assert!(place.refuses("sparse.wasm").contains("module_bytes_max"));
    assert!(place.refuses("empty.wasm").contains("not valid"));
    assert!(place.refuses("text.wasm").contains("not valid"));
    let named: Vec<_> = place.modules().list().refused.iter().map(|one| one.at_ms).collect();
    place.settle();
    let again: Vec<_> = place.modules().list().refused.iter().map(|one| one.at_ms).collect();
    assert_eq!(named, again, "what does not change is not looked at again");
    fs::remove_dir(place.inbox("dir.wasm")).unwrap();
    fs::remove_file(place.inbox("text.wasm")).unwrap();
    place.put("empty.wasm", &version(2).bytes());
    place.becomes(&version(2).bytes());
}

#[test]
fn content_that_changes_under_an_old_time_is_seen() {
    let place = Place::new();
    let (v1, v2) = (version(1).bytes(), version(2).bytes());
    assert_eq!(v1.len(), v2.len());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    let time = fs::metadata(place.inbox("sum.wasm")).unwrap().modified().unwrap();
    place.put("sum.wasm", &v2);
    File::options().write(true).open(place.inbox("sum.wasm")).unwrap().set_modified(time).unwrap();
    place.becomes(&v2);
}

#[test]
fn a_folder_that_goes_away_and_comes_back_is_watched_again() {
    let place = Place::new();
    let (v1, v2) = (version(1).bytes(), version(2).bytes());
    place.put("sum.wasm", &v1);
    place.becomes(&v1);
    fs::remove_dir_all(place.inbox("")).unwrap();
    place.settle();
    assert_eq!(place.active(), Some(Digest::of(&v1)));
    fs::create_dir(place.inbox("")).unwrap();
    place.put("sum.wasm", &v2);
    place.becomes(&v2);
}

#[test]
fn names_are_shown_and_never_act() {
    let place = Place::new();
    place.put("\u{1b}[2Jbad.wasm", b"x");
    assert!(!place.refuses(r"\u{1b}[2Jbad.wasm").is_empty());
    assert!(is_module_name(Path::new("a.wasm").as_os_str()));
}

#[test]
fn what_is_there_at_the_start_is_looked_at_at_once() {
    for is_busy in [false, true] {
        assert_eq!(until_look(true, is_busy), Duration::ZERO);
    }
    assert!(Duration::ZERO < until_look(false, true) && until_look(false, true) < until_look(false, false));
}
