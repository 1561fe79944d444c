//! The log on Apache Kafka.

pub mod records;
