//! The families of faults. Each runs a real daemon, does things to it, and has what was promised judged afterwards:
//! by the checker where commands flow. The tests run each once, `cargo xtask torture` runs them again and again.

pub mod asking;
pub mod brokers;
pub mod console;
pub mod disk;
pub mod folder;
pub mod holes;
pub mod hostile;
pub mod hosts;
pub mod kafka;
pub mod kills;
pub mod oversized;
pub mod poison;
pub mod promises;
pub mod rebalances;
pub mod restarts;
pub mod secure;
pub mod swaps;
pub mod unruled;

use std::pin::Pin;

use crate::field::{Counts, Field};

/// A family at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Counts>> + Send + 'a>>;

/// A family, or a part of one that stands for itself.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Whether it is about the log on Kafka, and starts brokers.
    pub on_kafka: bool,
    /// Runs it on a field.
    pub run: for<'a> fn(&'a Field) -> Running<'a>,
}

macro_rules! families {
    ($(on_kafka: $on_kafka:literal; $($name:literal => $run:path;)+)+) => {
        /// All of them. Not a constant: who uses one would compile what every family does once more.
        pub static ALL: &[Family] =
            &[$($(Family { name: $name, on_kafka: $on_kafka, run: |field| Box::pin($run(field)) },)+)+];
    };
}

families! {
    on_kafka: false;
    "kills" => kills::run;
    "swaps" => swaps::run;
    "folder" => folder::run;
    "hostile" => hostile::run;
    "restarts" => restarts::run;
    "disk" => disk::run;
    "promises" => promises::run;
    on_kafka: true;
    "hosts" => hosts::run;
    "poison" => poison::run;
    "oversized" => oversized::run;
    "holes" => holes::run;
    "points" => kafka::points::run;
    "zombies" => kafka::zombies::run;
    "endtxn" => kafka::endtxn::run;
    "crossed" => kafka::crossed::run;
    "expired" => kafka::expired::run;
    "foreign" => kafka::foreign::run;
    "console" => console::run;
    "secure" => secure::run;
    "brokers" => brokers::run;
    "rebalances" => rebalances::run;
    "unruled" => unruled::run;
}

/// A family by its name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Family {
    *ALL.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("there is no family {name}"))
}
