//! Power loss at any moment, also while recovering from one (T-21).

use super::super::super::test_kit::Dice;
use super::super::super::{Block, LogError};
use super::super::disk::simulated::{Kind, SimulatedDisk};
use super::{Finished, Versions, bytes, check_index, group, open, options, read_all};

/// What one life of the process did before it ended.
struct Life {
    /// Blocks of the group that was being written when it ended: each may be there or not, in order.
    doubt: Vec<Block>,
    /// Whether it came so far as to open the log.
    opened: bool,
}

/// What the images of all runs had in common, so that the test can tell whether it tested anything.
#[derive(Debug, Default)]
struct Seen {
    images: u64,
    in_recovery: u64,
    failed_in_recovery: u64,
    survived_in_doubt: u64,
    lost_in_doubt: u64,
    segments: u64,
}

/// Opens the log, judges what is there, writes on until the power goes.
fn live(disk: &SimulatedDisk, dice: &mut Dice, history: &mut Vec<Block>, before: &Life, seen: &mut Seen) -> Life {
    let mut life = Life { doubt: Vec::new(), opened: false };
    let mut writer = match open(disk, options(dice)) {
        Ok(writer) => writer,
        Err(LogError::Fatal(error)) if error.contains("the power is gone") => {
            seen.in_recovery += 1;
            return life;
        }
        Err(LogError::Fatal(error)) if error.contains("os error 5") => {
            seen.failed_in_recovery += 1;
            return life;
        }
        Err(error) => panic!("a power loss must never be refused: {error}"),
    };
    life.opened = true;
    // Mostly short lives, so that what one left behind is not overwritten at once.
    let operations = dice.one_of(&[3, 3, 10, 60]);
    disk.lose_power_at(1 + dice.below(operations));
    judge(&writer.reader(), history, &before.doubt, seen);
    let uniform = dice.chance(50);
    let mut versions = Versions::of(history);
    loop {
        let small = |versions: &mut Versions, dice: &mut Dice| {
            if uniform { versions.small_block(dice) } else { versions.block(dice) }
        };
        let builders = (0..=dice.below(3)).map(|_| small(&mut versions, dice)).collect();
        let Ok((blocks, finished)) = group(&mut writer, builders) else { return life };
        // The thread that seals may come to it, or not.
        finished.into_iter().filter(|_| dice.chance(70)).for_each(|finished| {
            seen.segments += 1;
            Finished::seal(finished);
        });
        let appended = writer.append(&blocks);
        let blocks: Vec<Block> = blocks.into_iter().map(|(block, _)| block).collect();
        if appended.is_err() {
            assert!(writer.append(&[]).is_err(), "a writer that failed once must not go on");
            life.doubt = blocks;
            return life;
        }
        history.extend(blocks);
        versions = Versions::of(history);
        if dice.chance(5) && writer.note_end().is_err() {
            return life;
        }
    }
}

/// The log holds what was acknowledged, then possibly the first blocks of the group in doubt, and nothing else.
fn judge(reader: &super::Reader, history: &mut Vec<Block>, doubt: &[Block], seen: &mut Seen) {
    let found = read_all(reader).expect("what is there can be read");
    assert!(found.len() >= history.len(), "{} of {} acknowledged blocks are left", found.len(), history.len());
    let (acknowledged, more) = found.split_at(history.len());
    assert!(bytes(acknowledged) == bytes(history), "an acknowledged block is another one now");
    assert!(more.len() <= doubt.len(), "{} blocks came from nowhere", more.len() - doubt.len());
    assert!(bytes(more) == bytes(&doubt[..more.len()]), "a block is there that was not handed over");
    seen.survived_in_doubt += more.len() as u64;
    seen.lost_in_doubt += (doubt.len() - more.len()) as u64;
    history.extend_from_slice(more);
    check_index(reader, history).expect("the index can be asked");
}

fn run(seed: u64, seen: &mut Seen) {
    let mut dice = Dice(seed);
    let disk = SimulatedDisk::new(dice.draw());
    let mut history = Vec::new();
    let mut last = Life { doubt: Vec::new(), opened: true };
    for _ in 0..4 {
        // A quarter of the images is taken while the log is opened, which takes about ten operations.
        disk.lose_power_at(if dice.chance(25) { 1 + dice.below(14) } else { u64::MAX });
        if dice.chance(25) {
            // A write or a sync may fail before that.
            disk.fail_at(dice.one_of(&[Kind::Sync, Kind::Sync, Kind::Write]), 1 + dice.below(30));
        }
        let life = live(&disk, &mut dice, &mut history, &last, seen);
        if life.opened {
            last = life;
        }
        if dice.chance(80) {
            disk.restart();
        } else {
            disk.restart_process();
        }
        seen.images += 1;
    }
    let writer = open(&disk, options(&mut dice)).expect("a power loss must never be refused");
    judge(&writer.reader(), &mut history, &last.doubt, seen);
}

#[test]
fn a_power_loss_at_any_moment_loses_nothing_acknowledged() {
    let mut seen = Seen::default();
    let runs: u64 = std::env::var("ORDAIN_CRASH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let first: u64 = std::env::var("ORDAIN_CRASH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + runs {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(result.is_ok(), "seed {seed} failed: ORDAIN_CRASH_SEED={seed} ORDAIN_CRASH_RUNS=1 runs it again");
    }
    println!("{seen:?}");
    assert!(runs < 10_000 || seen.images >= 40_000);
    let each = runs / 10;
    assert!(
        seen.in_recovery >= each
            && seen.failed_in_recovery >= each / 2
            && seen.survived_in_doubt >= each
            && seen.lost_in_doubt >= each,
        "{seen:?}"
    );
    assert!(seen.segments >= each, "{seen:?}");
}
