//! What can happen to the log's bytes: damage in the middle is named, a torn tail is not held against anyone unless
//! something answered was in it.

use ordain_checker::Kind::*;

use super::builder::{Golden, Written, block};

fn story() -> Golden {
    let mut golden = Golden::new();
    golden.open("acc-1");
    for amount in 1..20 {
        golden.deposit("acc-1", amount);
    }
    golden
}

/// The end of the last block.
fn end(written: &Written) -> usize {
    written.bytes.len() - 4096
}

#[test]
fn bad_checksum_in_the_middle() {
    let report = story().judge_damaged(|log| log.bytes[log.blocks[10] + 60] ^= 1);
    // The command in the block is lost, and its numbers are missing behind it.
    assert_eq!(report.found(), [LogDamaged, Lost, VersionGap, SequenceHole, OffsetHole], "{report}");
}

#[test]
fn a_page_of_zeros_in_the_middle() {
    let report = story().judge_damaged(|log| {
        let at = log.blocks[5];
        log.bytes[at..at + 1000].fill(0);
    });
    assert!(report.found().starts_with(&[LogDamaged, Lost]), "{report}");
    assert!(report.lost >= 3, "{report}");
}

#[test]
fn a_block_of_another_place() {
    let report = story().judge_damaged(|log| {
        let (from, to) = (log.blocks[10]..log.blocks[11], log.blocks[11]..log.blocks[12]);
        assert_eq!(from.len(), to.len());
        log.bytes.copy_within(from, to.start);
    });
    assert!(report.found().starts_with(&[LogDamaged, Lost]), "{report}");
}

#[test]
fn cut_off_in_the_middle_of_a_block() {
    let mut golden = story();
    golden.unanswered(19);
    let report = golden.judge_damaged(|log| {
        let at = log.blocks[19];
        let end = end(log);
        log.bytes[at + 100..end].fill(0);
    });
    assert!(report.holds(), "{report}");
    assert!((1..=100).contains(&report.torn_tail_bytes), "{report}");
}

#[test]
fn cut_off_with_something_answered_in_it() {
    let report = story().judge_damaged(|log| {
        let at = log.blocks[19];
        log.bytes.truncate(at + 100);
    });
    assert_eq!(report.found(), [Lost], "{report}");
    assert_eq!(report.lost, 1);
    assert!((1..=100).contains(&report.torn_tail_bytes), "{report}");
}

#[test]
fn a_whole_block_behind_a_torn_one_that_nobody_counted_on() {
    // Two blocks were on their way when the power went: the second reached the disk, the first did not. The second says
    // itself that the first was not durable, so nobody had an answer to either.
    let mut golden = story();
    golden.unanswered(18);
    golden.unanswered(19);
    let report = golden.judge_damaged(|log| {
        let (first, second, end) = (log.blocks[18], log.blocks[19], end(log));
        let last = log.bytes[second..end].to_vec();
        log.bytes[second + 24..second + 32].copy_from_slice(&(first as u64).to_le_bytes());
        let crc = crc32c::crc32c(&log.bytes[second + 12..second + last.len()]);
        log.bytes[second + 8..second + 12].copy_from_slice(&crc.to_le_bytes());
        log.bytes[first..first + 70].fill(0);
    });
    assert!(report.holds(), "{report}");
    assert!(report.torn_tail_bytes > 0);
}

#[test]
fn segments_that_follow_each_other() {
    let golden = story();
    let mut written = golden.encode();
    let second = written.bytes.split_off(written.blocks[7]);
    let base = written.bytes.len() as u64;
    let report = golden.judge_segments(&[(0, &written.bytes), (base, &second)]);
    assert!(report.holds(), "{report}");
    // Made larger than what is in it.
    written.bytes.extend([0; 1000]);
    let report = golden.judge_segments(&[(0, &written.bytes), (base, &second)]);
    assert!(report.holds(), "{report}");
}

#[test]
fn a_segment_is_missing() {
    let golden = story();
    let mut written = golden.encode();
    let mut second = written.bytes.split_off(written.blocks[7]);
    let third = second.split_off(written.blocks[12] - written.blocks[7]);
    let report = golden.judge_segments(&[(0, &written.bytes), ((written.bytes.len() + second.len()) as u64, &third)]);
    assert!(report.found().starts_with(&[LogDamaged, Lost]), "{report}");
    assert_eq!(report.lost, 5);
}

#[test]
fn the_first_segment_is_missing() {
    let golden = story();
    let mut written = golden.encode();
    let second = written.bytes.split_off(written.blocks[7]);
    let report = golden.judge_segments(&[(written.bytes.len() as u64, &second)]);
    assert!(report.found().starts_with(&[LogDamaged, Lost]), "{report}");
}

#[test]
fn a_block_that_is_sound_outside_and_not_inside() {
    let report = story().judge_damaged(|log| {
        log.bytes.truncate(end(log));
        let at = log.bytes.len();
        block(&mut log.bytes, 1, 1, 2, 48 + 5, 3, &[9, 0, 0, 0, 1]);
        assert!(log.bytes.len() > at);
    });
    assert!(report.found().contains(&BlockMalformed), "{report}");
}

#[test]
fn no_flipped_bit_and_no_cut_is_overlooked() {
    let golden = story();
    let length = end(&golden.encode());
    // 211 is prime to 8, so every bit of a byte has its turn.
    for bit in (0..length * 8).step_by(211) {
        let report = golden.judge_damaged(|log| log.bytes[bit / 8] ^= 1 << (bit % 8));
        assert!(!report.holds(), "bit {} of byte {} was flipped unseen", bit % 8, bit / 8);
    }
    for cut in (0..length).step_by(97) {
        let report = golden.judge_damaged(|log| log.bytes.truncate(cut));
        assert!(!report.holds(), "the log was cut at {cut} unseen");
    }
}
