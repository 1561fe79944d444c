//! The families on Apache Kafka: several hosts on a real broker, whose requests a proxy stops, loses and doubles. Each
//! starts a broker of its own and is judged at the end: by its clients, who know which version comes next, and by the
//! checker, which reads the whole log.

pub mod crossed;
pub mod endtxn;
pub mod expired;
pub mod foreign;
pub mod points;
pub mod zombies;

use crate::dice::Dice;
use crate::kafka::proxy::Way;
use crate::kafka::wire::Ask;

/// A named point: what is asked for, and which way.
type Point = (Ask, Way);

/// Every point of a lane's transaction while it runs.
const RUNNING: [Point; 6] = [
    (Ask::AddPartitions, Way::There),
    (Ask::AddPartitions, Way::Back),
    (Ask::Produce, Way::There),
    (Ask::Produce, Way::Back),
    (Ask::EndTxn, Way::There),
    (Ask::EndTxn, Way::Back),
];

/// Every point on the way to a lane: joining the group, init, barrier, restore.
const TAKING: [Point; 12] = [
    (Ask::JoinGroup, Way::There),
    (Ask::JoinGroup, Way::Back),
    (Ask::InitProducerId, Way::There),
    (Ask::InitProducerId, Way::Back),
    (Ask::AddPartitions, Way::There),
    (Ask::AddPartitions, Way::Back),
    (Ask::Produce, Way::There),
    (Ask::Produce, Way::Back),
    (Ask::EndTxn, Way::There),
    (Ask::EndTxn, Way::Back),
    (Ask::Restore, Way::There),
    (Ask::Restore, Way::Back),
];

/// What there is to do, in an order of the dice.
fn shuffled<T, const N: usize>(mut all: [T; N], dice: &mut Dice) -> [T; N] {
    for end in (1..N).rev() {
        all.swap(end, dice.below(end as u64 + 1) as usize);
    }
    all
}
