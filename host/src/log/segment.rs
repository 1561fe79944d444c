//! Blocks on disk: the format, its writer, its reader and its index. The embedded log is made of it, and so is the
//! local copy that an owner keeps of its lanes on Kafka.
//!
//! A log is a folder of segment files. A segment is named by the address of its first byte (20 digits and `.log`), holds
//! whole blocks only, and joins its successor exactly; the last one is being written and may have zeros behind its end.
//! docs/log-format.md spells out the bytes; docs/adr/0003-one-log-file-for-all-lanes.md says why it is like this.
//!
//! Invariants:
//! - Nothing below the end that [`Reader::end`] shows ever changes, and all of it was synced before it showed.
//! - A failed write or sync ends the writing for this process: what a page cache holds after it is anybody's guess
//!   (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Only a full disk is forgiven,
//!   and only after what was written of the group has been taken back.
//! - Bytes that were cut off at the tail are gone from the disk before anything is written in their place.

pub mod disk;
mod error;
mod files;
pub mod format;
mod index;
mod mark;
mod reader;
mod recovery;
#[cfg(test)]
mod tests;
mod window;
mod writer;

pub use reader::{Blocks, Reader};
pub use writer::{Finished, Options, Writer};
