//! What the repository's commands share with its tests and benches: running other programs, and Apache Kafka.
//!
//! No dependencies: it shells out, so that `cargo xtask` itself builds in a second.

pub mod clock;
pub mod kafka;
pub mod run;
