//! A disk that says no: once is enough for ever, unless it is only full (T-24, T-25).

use super::super::super::test_kit::{Dice, push};
use super::super::super::{Block, BlockBuilder, LogError};
use super::super::disk::simulated::{Kind, SimulatedDisk};
use super::{Finished, Options, Versions, bytes, fill, group, open, options, read_all};

/// Appends until an error, which is returned with the group it hit.
fn until_error(
    writer: &mut super::Writer,
    dice: &mut Dice,
    history: &mut Vec<Block>,
    again: impl Fn(),
) -> (LogError, Vec<Block>) {
    loop {
        again();
        let mut versions = Versions::of(history);
        let builders = (0..=dice.below(3)).map(|_| versions.block(dice)).collect();
        let (blocks, finished) = match group(writer, builders) {
            Ok(group) => group,
            Err(error) => return (error, Vec::new()),
        };
        finished.into_iter().for_each(Finished::seal);
        let appended = writer.append(&blocks);
        let blocks: Vec<Block> = blocks.into_iter().map(|(block, _)| block).collect();
        match appended {
            Ok(()) => history.extend(blocks),
            Err(error) => return (error, blocks),
        }
    }
}

#[test]
fn after_one_failed_write_or_sync_nothing_is_acknowledged_any_more() {
    for (kind, n) in (1..60).flat_map(|n| [(Kind::Sync, n), (Kind::Write, n)]) {
        let mut dice = Dice(n);
        let disk = SimulatedDisk::new(dice.draw());
        let mut writer = open(&disk, options(&mut dice)).expect("opens");
        let mut history = Vec::new();
        disk.fail_at(kind, n);
        // A failure that only hits an index file harms nobody: the next operation gets it.
        let again = || {
            if !disk.failure_is_due() {
                disk.fail_at(kind, 1)
            }
        };
        let (error, doubt) = until_error(&mut writer, &mut dice, &mut history, again);
        assert!(matches!(error, LogError::Fatal(_)), "{kind:?} {n}: {error}");
        // The disk works again, but this writer must not believe it.
        assert!(group(&mut writer, vec![Versions::default().block(&mut dice)]).is_err() || writer.append(&[]).is_err());
        assert_eq!(bytes(&read_all(&writer.reader()).expect("reads go on")), bytes(&history));
        drop(writer);
        // The process starts again and shows what the cache holds; then the power goes.
        disk.restart_process();
        let shown = {
            let writer = open(&disk, options(&mut dice)).expect("opens again");
            read_all(&writer.reader()).expect("can be read")
        };
        assert_eq!(bytes(&shown[..history.len()]), bytes(&history), "{kind:?} {n}");
        assert_eq!(bytes(&shown[history.len()..]), bytes(&doubt[..shown.len() - history.len()]), "{kind:?} {n}");
        disk.restart();
        let writer = open(&disk, options(&mut dice)).expect("opens after the power loss");
        assert_eq!(bytes(&read_all(&writer.reader()).expect("can be read")), bytes(&shown), "{kind:?} {n}");
    }
}

#[test]
fn an_error_while_opening_is_an_error_and_the_next_try_succeeds() {
    let mut failed = 0;
    for (kind, n) in (1..12).flat_map(|n| [(Kind::Read, n), (Kind::Sync, n), (Kind::Write, n)]) {
        let mut dice = Dice(n);
        let disk = SimulatedDisk::new(dice.draw());
        let options = options(&mut dice);
        let mut writer = open(&disk, options).expect("opens");
        let history = fill(&mut writer, &mut Versions::default(), &mut dice, 20).concat();
        disk.fail_at(kind, n);
        if let Err(error) = open(&disk, options) {
            failed += 1;
            assert!(matches!(error, LogError::Fatal(_)), "{kind:?} {n}: {error}");
        }
        disk.restart_process();
        let writer = open(&disk, options).expect("opens");
        assert_eq!(bytes(&read_all(&writer.reader()).expect("can be read")), bytes(&history), "{kind:?} {n}");
    }
    assert!(failed >= 10, "{failed}");
}

/// A lost group's second block reached the disk. Its removal fails, but the cache says that it is gone; the next process
/// writes a first block of the same length, and the power goes. The second one must not come back behind it.
#[test]
fn what_was_cut_off_never_comes_back_even_if_the_cutting_failed_once() {
    let mut failed = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let disk = SimulatedDisk::new(dice.draw());
        let options = Options { segment_bytes: 1 << 20, allocate_bytes: dice.one_of(&[0, 4096]) };
        let mut writer = open(&disk, options).expect("opens");
        let mut history = fill(&mut writer, &mut Versions::default(), &mut dice, 3).concat();
        let builder = |body: &[u8]| next_of_a(&history, body);
        let (lost, _) = group(&mut writer, vec![builder(b"first"), builder(b"second")]).expect("there is room");
        let next = builder(b"third");
        let path =
            disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "log")).expect("a segment");
        let mut bytes_now = disk.bytes(&path);
        bytes_now.resize(lost[1].0.end().0 as usize, 0);
        bytes_now[lost[1].0.lsn().0 as usize..].copy_from_slice(lost[1].0.bytes());
        drop(writer);
        disk.replace(&path, Some(bytes_now));

        disk.fail_at(Kind::Sync, 1 + dice.below(4));
        failed += u64::from(open(&disk, options).is_err());
        disk.restart_process();
        let mut writer = open(&disk, options).expect("opens");
        let (blocks, _) = group(&mut writer, vec![next]).expect("there is room");
        writer.append(&blocks).expect("is written");
        history.push(blocks[0].0.clone());
        assert_eq!(history.last().expect("a block").end(), lost[1].0.lsn());
        drop(writer);
        disk.restart();
        let found = read_all(&open(&disk, options).expect("opens").reader()).expect("can be read");
        assert!(bytes(&found) == bytes(&history), "seed {seed}: {} blocks, not {}", found.len(), history.len());
    }
    assert!(failed >= 100, "{failed}");
}

fn next_of_a(history: &[Block], body: &[u8]) -> BlockBuilder {
    let mut builder = BlockBuilder::new();
    push(&mut builder, "a", Versions::of(history).0.get("a").unwrap_or(&0) + 1, body);
    builder
}

/// Two blocks of a group fit on the disk, the third does not. The next group is one block as long as the first: the
/// second one must not come back behind it.
#[test]
fn what_did_not_fit_on_the_disk_never_comes_back() {
    let disk = SimulatedDisk::new(1);
    let options = Options { segment_bytes: 1 << 20, allocate_bytes: 0 };
    let mut writer = open(&disk, options).expect("opens");
    let mut history = fill(&mut writer, &mut Versions::default(), &mut Dice(1), 3).concat();
    let builder = |body: &[u8]| next_of_a(&history, body);
    let (lost, _) = group(&mut writer, vec![builder(b"one"), builder(b"two"), builder(b"six")]).expect("there is room");
    let next = builder(b"ten");
    disk.set_capacity(Some(disk.used() + lost[1].0.end().0 - lost[0].0.lsn().0 + 20));
    assert!(matches!(writer.append(&lost), Err(LogError::DiskFull { .. })));
    disk.set_capacity(None);
    let (blocks, _) = group(&mut writer, vec![next]).expect("there is room");
    writer.append(&blocks).expect("is written");
    history.push(blocks[0].0.clone());
    drop(writer);
    let found = read_all(&open(&disk, options).expect("opens").reader()).expect("can be read");
    assert!(bytes(&found) == bytes(&history), "{} blocks, not {}", found.len(), history.len());
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let mut partial = 0;
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let disk = SimulatedDisk::new(dice.draw());
        // Without reserving, a write can run out of space in its middle.
        let allocate_bytes = dice.one_of(&[0, 4096]);
        let options = Options { segment_bytes: 10_000, allocate_bytes };
        let mut writer = open(&disk, options).expect("opens");
        let mut history = fill(&mut writer, &mut Versions::default(), &mut dice, 5).concat();
        for _ in 0..3 {
            disk.set_capacity(Some(disk.used() + dice.below(12_000)));
            let before = disk.operations();
            let (error, _) = until_error(&mut writer, &mut dice, &mut history, || ());
            assert!(matches!(error, LogError::DiskFull { .. }), "seed {seed}: {error}");
            partial += u64::from(allocate_bytes == 0 && disk.operations() > before);
            let (again, _) = until_error(&mut writer, &mut dice, &mut history, || ());
            assert!(matches!(again, LogError::DiskFull { .. }), "seed {seed}: {again}");
            disk.set_capacity(None);
            let mut versions = Versions::of(&history);
            history.extend(fill(&mut writer, &mut versions, &mut dice, 3).concat());
        }
        assert_eq!(bytes(&read_all(&writer.reader()).expect("can be read")), bytes(&history), "seed {seed}");
        drop(writer);
        disk.restart();
        let writer = open(&disk, options).expect("opens again");
        assert_eq!(bytes(&read_all(&writer.reader()).expect("can be read")), bytes(&history), "seed {seed}");
    }
    assert!(partial >= 50, "{partial}");
}
