//! Files that were tampered with: all acknowledged data comes back, or a refusal names file and byte (T-23).

use std::path::{Path, PathBuf};

use super::super::super::test_kit::Dice;
use super::super::super::{Block, LogError};
use super::super::disk::simulated::SimulatedDisk;
use super::{Options, Versions, bytes, check_index, fill, open, read_all};

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Damage {
    Flip { byte: usize, bit: u8 },
    Cut { to: usize },
    ZeroPage { from: usize },
    ZeroTail { from: usize },
    Deleted,
    Swapped { with: PathBuf },
    Copied { from: PathBuf },
    Longer,
}

fn draw(disk: &SimulatedDisk, path: &Path, dice: &mut Dice) -> Damage {
    let length = disk.bytes(path).len() as u64;
    let byte = dice.below(length.max(1)) as usize;
    let others: Vec<PathBuf> = disk.paths().into_iter().filter(|other| other != path).collect();
    let other = others[dice.below(others.len() as u64) as usize].clone();
    match dice.below(9) {
        0..=1 => Damage::Flip { byte, bit: dice.below(8) as u8 },
        2 => Damage::Cut { to: byte },
        3 => Damage::ZeroPage { from: byte / 4096 * 4096 },
        4 => Damage::ZeroTail { from: byte },
        5 => Damage::Deleted,
        6 => Damage::Swapped { with: other },
        7 => Damage::Copied { from: other },
        _ => Damage::Longer,
    }
}

fn inflict(disk: &SimulatedDisk, path: &Path, damage: &Damage) {
    let mut bytes = disk.bytes(path);
    match damage {
        Damage::Flip { byte, bit } => bytes.iter_mut().skip(*byte).take(1).for_each(|b| *b ^= 1 << bit),
        Damage::Cut { to } => bytes.truncate(*to),
        Damage::ZeroPage { from } => bytes.iter_mut().skip(*from).take(4096).for_each(|b| *b = 0),
        Damage::ZeroTail { from } => bytes.iter_mut().skip(*from).for_each(|b| *b = 0),
        Damage::Deleted => return disk.replace(path, None),
        Damage::Swapped { with } => {
            let other = disk.bytes(with);
            disk.replace(with, Some(bytes));
            return disk.replace(path, Some(other));
        }
        Damage::Copied { from } => bytes = disk.bytes(from),
        Damage::Longer => bytes.extend_from_slice(&[0; 100]),
    }
    disk.replace(path, Some(bytes));
}

/// A log of several segments, with the blocks in it by group. `clean`: its end was written down.
fn log(dice: &mut Dice, clean: bool) -> (SimulatedDisk, Vec<Vec<Block>>) {
    let disk = SimulatedDisk::new(dice.draw());
    let options = Options { segment_bytes: 20_000, allocate_bytes: 8000 };
    let mut writer = open(&disk, options).expect("opens");
    let groups = 20 + dice.below(20);
    let written = fill(&mut writer, &mut Versions::default(), dice, groups);
    if clean {
        writer.note_end().expect("is written");
    }
    (disk, written)
}

/// Opens, reads everything, asks the index: the blocks found, or the refusal.
fn look(disk: &SimulatedDisk) -> Result<Vec<Block>, LogError> {
    let reader = open(disk, Options { segment_bytes: 20_000, allocate_bytes: 8000 })?.reader();
    let blocks = read_all(&reader)?;
    check_index(&reader, &blocks)?;
    Ok(blocks)
}

fn refusal_is_clear(error: &LogError) -> bool {
    let text = error.to_string();
    matches!(error, LogError::Corrupt(_))
        && text.contains("/log/")
        && text.contains("at byte")
        && text.contains("backup")
}

#[test]
fn damage_to_a_log_that_was_closed_is_never_silent() {
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let (disk, written) = log(&mut dice, true);
        let paths = disk.paths();
        let path = &paths[dice.below(paths.len() as u64) as usize];
        let damage = draw(&disk, path, &mut dice);
        inflict(&disk, path, &damage);
        match look(&disk) {
            Ok(found) => {
                whole += 1;
                assert!(bytes(&found) == bytes(&written.concat()), "seed {seed}: {damage:?} of {}", path.display());
            }
            Err(error) => {
                refused += 1;
                assert!(refusal_is_clear(&error), "seed {seed}: {damage:?} of {}: {error}", path.display());
            }
        }
    }
    assert!(whole >= 300 && refused >= 300, "{whole} whole, {refused} refused");
}

/// After a crash without a note of the end, damage is silent only if no good block of a later group is left to tell.
#[test]
fn damage_after_a_crash_is_silent_only_if_it_reaches_the_end() {
    let (mut whole, mut refused, mut shorter) = (0, 0, 0);
    for seed in 0..1500 {
        let mut dice = Dice(1_000_000 + seed);
        let (disk, written) = log(&mut dice, false);
        let paths: Vec<PathBuf> =
            disk.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
        let path = &paths[dice.below(paths.len() as u64) as usize];
        let damage = draw(&disk, path, &mut dice);
        inflict(&disk, path, &damage);
        match look(&disk) {
            Ok(found) if found.len() == written.concat().len() => {
                whole += 1;
                assert!(bytes(&found) == bytes(&written.concat()), "seed {seed}: {damage:?} of {}", path.display());
            }
            Ok(found) => {
                shorter += 1;
                assert_eq!(bytes(&found), bytes(&written.concat()[..found.len()]), "seed {seed}");
                assert_eq!(path, paths.last().expect("a segment"), "seed {seed}: only the last segment can be shorter");
                // Which groups are damaged: those that hold the first missing block and all that follow.
                let first_missing = found.len();
                let group = written
                    .iter()
                    .scan(0, |n, g| {
                        *n += g.len();
                        Some(*n)
                    })
                    .position(|n| n > first_missing);
                let later = written.len() - 1 - group.expect("it is missing");
                let reaches_end = match &damage {
                    Damage::Flip { .. } => later == 0,
                    Damage::Cut { .. } | Damage::ZeroTail { .. } | Damage::Longer => true,
                    // What was a witness must be in the page or overwritten.
                    Damage::ZeroPage { .. } | Damage::Swapped { .. } | Damage::Copied { .. } => true,
                    Damage::Deleted => false,
                };
                assert!(reaches_end, "seed {seed}: {damage:?} lost {} later groups", later);
            }
            Err(error) => {
                refused += 1;
                assert!(refusal_is_clear(&error), "seed {seed}: {damage:?} of {}: {error}", path.display());
            }
        }
    }
    assert!(whole >= 30 && refused >= 300 && shorter >= 10, "{whole} whole, {refused} refused, {shorter} shorter");
}
