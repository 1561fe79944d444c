use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::test_kit::Dice;
use super::super::disk::simulated::SimulatedDisk;
use super::*;

const RANGE: (Lsn, Lsn) = (Lsn(0), Lsn(1 << 30));
const HOT: u64 = 1 << 63;

/// Postings of many pages: keys of all sizes, one of them on several pages.
fn memory() -> Memory {
    let mut dice = Dice(1);
    let mut memory = Memory::default();
    for block in 0..5000u64 {
        let hot = dice.chance(30);
        let mut entries: Vec<IndexEntry> = (0..dice.below(10))
            .map(|_| IndexEntry { key: dice.below(2000) << 53 | 7, version_before: block })
            .chain(hot.then_some(IndexEntry { key: HOT, version_before: block }))
            .collect();
        entries.sort_unstable();
        entries.dedup_by_key(|entry| entry.key);
        memory.add(Lsn(block * 1000), &entries);
    }
    memory
}

fn ask(part: &Part, files: &Files, key: u64, scans: &AtomicU64) -> Vec<(Lsn, u64)> {
    let mut out = Vec::new();
    let scan = || {
        scans.fetch_add(1, Ordering::Relaxed);
        Ok(memory())
    };
    part.newest_first(files, RANGE, key, &mut out, scan).expect("can be asked");
    out
}

#[test]
fn a_sidecar_answers_as_the_memory_did_and_is_made_anew_when_any_page_is_damaged() {
    let disk = SimulatedDisk::new(1);
    let files = Files::new(Arc::new(disk.clone()), Path::new("/log"));
    let (reference, scans) = (memory(), AtomicU64::new(0));
    let keys: Vec<u64> = (0..2000).map(|n| n << 53 | 7).chain([HOT, 0, 1, HOT + 1, u64::MAX]).collect();
    let all = |part: &Part| {
        for key in &keys {
            let wanted: Vec<_> = reference.newest_first(*key).collect();
            assert_eq!(ask(part, &files, *key, &scans), wanted, "key {key}");
        }
    };
    assert!(reference.newest_first(HOT).count() > 1000);

    let part = Part::memory(memory());
    all(&part);
    part.seal(&files, RANGE.0, RANGE.1);
    all(&part);
    all(&Part::unread());
    assert_eq!(scans.load(Ordering::Relaxed), 0, "the sidecar is enough");

    let path = files.sidecar(Lsn(0));
    let whole = disk.bytes(&path);
    assert!(whole.len() > 100 * 4096);
    let mut dice = Dice(2);
    for n in 1..=30 {
        let mut damaged = whole.clone();
        damaged[dice.below(whole.len() as u64) as usize] ^= 1 << dice.below(8);
        disk.replace(&path, Some(damaged));
        files.forget(&path);
        all(&Part::unread());
        assert_eq!(scans.load(Ordering::Relaxed), n, "it is made anew once");
        assert!(disk.bytes(&path) == whole, "and written again");
    }
}

#[test]
fn a_sidecar_that_cannot_be_written_stays_in_memory() {
    let disk = SimulatedDisk::new(1);
    let files = Files::new(Arc::new(disk.clone()), Path::new("/log"));
    disk.set_capacity(Some(10_000));
    let part = Part::memory(memory());
    part.seal(&files, RANGE.0, RANGE.1);
    let scans = AtomicU64::new(0);
    assert_eq!(ask(&part, &files, HOT, &scans), memory().newest_first(HOT).collect::<Vec<_>>());
    assert_eq!(scans.load(Ordering::Relaxed), 0);
}
