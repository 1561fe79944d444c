//! Damage to the store's files. Whatever is damaged: the right value, an honest error, or a wiped store. Never a wrong
//! value, and the process survives (the trials run in it).

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

/// Trials of damage.
const TRIALS: usize = 400;
const AGGREGATES: u64 = 1_500;

/// A number below `limit`.
fn below(rng: &mut TestRng, limit: usize) -> usize {
    (rng.next_u64() % limit.max(1) as u64) as usize
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if path.is_dir() { copy(&path, &to.join(name)) } else { assert!(fs::copy(&path, to.join(name)).is_ok()) }
    }
}

/// A store with merged and unmerged tables; returns each aggregate's version.
fn build(dir: &Path) -> Vec<u64> {
    let store = open(dir);
    let mut versions = vec![0; AGGREGATES as usize];
    for version in 1..=13 {
        let touched = (0..AGGREGATES).filter(|n| version == 1 || (n * 31 + version) % 5 == 0);
        touched.clone().for_each(|n| versions[n as usize] = version);
        put(&store, touched, version, vec![mark(0, version * 100), mark(3, version * 50)]);
        store.flush().unwrap();
    }
    versions
}

fn damage(path: &Path, rng: &mut TestRng) -> &'static str {
    let mut bytes = fs::read(path).unwrap();
    let at = below(rng, bytes.len());
    let what = match below(rng, 10) {
        0 => {
            fs::remove_file(path).unwrap();
            return "deleted";
        }
        1 => {
            bytes.truncate(at);
            "cut"
        }
        2 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            "zeroed"
        }
        3 => {
            let from = below(rng, bytes.len());
            let length = 64.min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + length, at);
            "copied within"
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << below(rng, 8);
            }
            "flipped"
        }
    };
    fs::write(path, bytes).unwrap();
    what
}

/// What a trial showed.
fn judge(dir: &Path, versions: &[u64]) -> &'static str {
    let store = open(dir);
    let whole = *store.found() == Found::Whole;
    let marks = store.marks();
    if whole {
        assert_eq!((marks[0], marks[3]), (mark(0, 1_300), mark(3, 650)));
    } else {
        assert!(marks.iter().all(|mark| mark.position == Lsn(0)));
    }
    let mut corrupt = 0;
    for (number, version) in (0..).zip(versions) {
        match store.get("account", &id(number)) {
            Ok(found) => assert_eq!(found, whole.then(|| stored(number, *version)), "aggregate {number}"),
            Err(StoreError::Corrupt(_)) => corrupt += 1,
            Err(e) => panic!("{e}"),
        }
    }
    match store.list("account", None, LIST_MAX) {
        Ok(listed) => {
            let all = (0..).zip(versions).map(|(number, version)| (id(number), *version));
            assert!(listed == if whole { all.collect() } else { vec![] }, "the list lies");
        }
        Err(_) => corrupt += 1,
    }
    // Going on works, or stops honestly; and the next start is sound again.
    put(&store, 0..AGGREGATES, 20, vec![mark(0, 2_000)]);
    let written = store.flush().is_ok();
    drop(store);
    let store = open(dir);
    match store.found() {
        Found::Whole => {
            assert!(written && corrupt == 0, "a store that was caught is rebuilt");
            (0..AGGREGATES).for_each(|n| assert_eq!(store.get("account", &id(n)).unwrap(), Some(stored(n, 20))));
        }
        // Caught by one of the reads above, by the write, or by merging after it; never by counting starts.
        Found::Wiped(reason) => assert!(!reason.contains("starts"), "{reason}"),
        Found::Nothing => panic!("the tree is there"),
    }
    match (whole, corrupt) {
        (false, _) => "wiped",
        (true, 0) => "unharmed",
        (true, _) => "caught",
    }
}

#[test]
fn damage_is_noticed_or_harmless() {
    let origin = tempfile::tempdir().unwrap();
    let versions = build(origin.path());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut seen = BTreeMap::new();
    for trial in 0..TRIALS {
        let dir = tempfile::tempdir().unwrap();
        copy(origin.path(), dir.path());
        let mut paths = Vec::new();
        files(dir.path(), &mut paths);
        paths.sort();
        let path = paths[below(&mut rng, paths.len())].clone();
        let what = damage(&path, &mut rng);
        let verdict = std::panic::catch_unwind(|| judge(dir.path(), &versions));
        let verdict = verdict.unwrap_or_else(|_| panic!("trial {trial}: {} {what}", path.display()));
        *seen.entry((what, verdict)).or_insert(0) += 1;
    }
    println!("{seen:?}");
    for verdict in ["wiped", "caught", "unharmed"] {
        assert!(seen.keys().any(|(_, v)| *v == verdict), "the trials reached {verdict}: {seen:?}");
    }
}

/// The library does not check its own list of tables when it opens. Without a check of ours, flips in it brought old
/// states back as if they were new, and lost aggregates without a word.
#[test]
fn the_list_of_tables_is_checked() {
    let origin = tempfile::tempdir().unwrap();
    let versions = build(origin.path());
    let current = fs::read(origin.path().join("tree/current")).unwrap();
    let list = format!("tree/v{}", current[0]);
    for name in ["tree/current", &list] {
        let whole = fs::read(origin.path().join(name)).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let dir = tempfile::tempdir().unwrap();
            copy(origin.path(), dir.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at / 3 % 8);
            fs::write(dir.path().join(name), bytes).unwrap();
            let verdict = std::panic::catch_unwind(|| judge(dir.path(), &versions));
            assert!(verdict.is_ok_and(|verdict| verdict == "wiped"), "{name}, byte {at}");
        }
    }
}
