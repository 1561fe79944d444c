use tokio::sync::oneshot;

use super::*;
use crate::log::BlockBuilder;

/// A block of about so many bytes at a place.
fn block_at(lsn: u64, bytes: usize) -> Answered {
    let block = BlockBuilder::owner(&"x".repeat(bytes)).seal(2, 0, 1, Lsn(lsn), Lsn(lsn), 0);
    Answered { block, offset: 0, repeated: true }
}

fn kept(awaited: &Awaited, stream: u32, offset: u64) -> bool {
    let (reply, mut answer) = oneshot::channel();
    awaited.expect(stream, offset, Reply::Once(reply), None);
    answer.try_recv().is_ok()
}

#[test]
fn who_asks_late_and_who_waits_both_hear() {
    let awaited = Awaited::default();
    let (reply, mut answer) = oneshot::channel();
    awaited.expect(1, 7, Reply::Once(reply), None);
    awaited.answered([(1, 6, block_at(0, 10)), (1, 7, block_at(0, 10)), (2, 7, block_at(0, 10))]);
    assert!(answer.try_recv().is_ok());
    assert!(kept(&awaited, 1, 6) && kept(&awaited, 1, 7) && kept(&awaited, 2, 7));
    assert!(!kept(&awaited, 2, 6) && !kept(&awaited, 1, 8));
    // Taken anew, the stream answers from 7 on again.
    awaited.answered([(1, 7, block_at(500, 10)), (1, 8, block_at(500, 10))]);
    assert!(kept(&awaited, 1, 6) && kept(&awaited, 1, 7) && kept(&awaited, 1, 8));
}

/// Repeated commands brought their first answers along, each in a block of its own: four thousand of them kept gigabytes.
#[test]
fn what_is_kept_is_bounded_by_count_and_by_the_bytes_of_its_blocks() {
    let awaited = Awaited::default();
    let many = KEPT_MAX as u64 + 10;
    awaited.answered((0..many).map(|offset| (1, offset, block_at(0, 1_000))));
    assert!(!kept(&awaited, 1, 9) && kept(&awaited, 1, 10) && kept(&awaited, 1, many - 1));
    let large = KEPT_BYTES_MAX / 4;
    awaited.answered((0..10).map(|n| (2, n, block_at(n * 10_000_000, large))));
    assert!(!kept(&awaited, 2, 6) && kept(&awaited, 2, 7) && kept(&awaited, 2, 9));
    awaited.answered([(3, 1, block_at(0, 2 * KEPT_BYTES_MAX))]);
    assert!(kept(&awaited, 3, 1), "the newest is kept however large it is");
    let inner = awaited.0.lock().unwrap();
    for kept in inner.answered.values() {
        let mut blocks: Vec<_> =
            kept.answers.iter().map(|(_, answer)| (answer.block.lsn(), answer.block.bytes().len())).collect();
        blocks.dedup();
        assert_eq!(kept.bytes, blocks.iter().map(|(_, bytes)| bytes).sum::<usize>());
    }
}
