//! Blocks on disk: the format, its writer, its reader and its index. The embedded log is made of it, and so is the
//! local copy that an owner keeps of its lanes on Kafka.

pub mod format;
