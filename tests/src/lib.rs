//! The outside of a daemon: a process to start and kill, clients to drive it, a record of what was seen, and the
//! families of faults it must survive.
//!
//! Used by the end-to-end tests, the demo and the torture runs. Configuration is passed by flags, ports are chosen by
//! the system, processes end with the value that started them.
//!
//! Reading order: [`daemon`] is the process, [`stage`] what is done to it, [`command`], [`client`] and [`hand`] those
//! who ask, [`witness`] what they saw, [`account`] what must be true of it, [`load`] many of them, [`fleet`] several hosts of one log, [`raw`] what else is done to
//! a Kafka cluster, [`kafka`] hosts behind a proxy of Kafka's protocol, [`families`] what is put to the test.

pub mod account;
pub mod client;
pub mod clock;
pub mod command;
pub mod daemon;
pub mod dice;
pub mod families;
pub mod field;
pub mod figures;
pub mod fleet;
pub mod hand;
pub mod kafka;
pub mod load;
pub mod raw;
pub mod rules;
pub mod stage;
pub mod testing;
pub mod witness;
