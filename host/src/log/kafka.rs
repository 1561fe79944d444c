//! The log on Apache Kafka: topics that hosts share, one transactional producer per lane.

pub mod ffi;
pub mod options;
pub mod records;
pub mod topics;
