//! The process that writes until it is killed, and what it writes.

use std::io::Write;

use super::*;

/// Where the child writes; the test of this name does nothing without it.
pub const DIR: &str = "ORDAIN_TEST_STORE_DIR";
/// Aggregates the child writes to.
pub const AGGREGATES: u64 = 4_000;

/// The aggregates that a round touches.
pub fn touched(round: u64) -> impl Iterator<Item = u64> {
    (0..AGGREGATES).filter(move |n| (n.wrapping_mul(0x9e37_79b9).rotate_left(9) ^ round.wrapping_mul(31)) % 7 == 0)
}

/// The last round before `end` that touches an aggregate; rounds begin at 1.
pub fn last_touched(number: u64, end: u64) -> Option<u64> {
    (1..end).rev().find(|round| (number.wrapping_mul(0x9e37_79b9).rotate_left(9) ^ round.wrapping_mul(31)) % 7 == 0)
}

/// The mark after the rounds before `end`: their states are in blocks below it.
pub fn mark_at(end: u64) -> Mark {
    mark(1, end * 100)
}

#[test]
fn writes_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = open(Path::new(&dir));
    let first = (store.marks()[1].position.0 / 100).max(1);
    for round in first.. {
        put(&store, touched(round), round, vec![mark_at(round + 1)]);
        if round % 4 == 0 {
            store.flush().unwrap();
            println!("durable {}", store.marks()[1].position.0 / 100);
            std::io::stdout().flush().unwrap();
        }
    }
}
