//! The judge: reads a log and what clients saw, and says whether the promises were kept.
//!
//! Invariant: nothing here is shared with the host, neither type nor code. The log is read by a decoder written from the
//! description of its bytes, partitions are computed anew, and the bank's rules are written down a second time
//! ([`bank`]). A mistake in the host can therefore not hide behind the same mistake here.
//!
//! Reading order: [`history`] is what clients and the nemesis wrote down, [`log`] is what is on disk,
//! [`kafka`] what is in topics, [`check`] compares the two in one pass each, [`report`] is the verdict.
//! The invariants are numbered as in the history checker of reference/reliability.md; the shape (record operations,
//! check afterwards, show what lies around a violation) is Jepsen's.

pub mod bank;
pub mod canonical;
pub mod check;
pub mod history;
pub mod kafka;
pub mod log;
pub mod murmur;
pub mod report;

pub use check::{Options, judge};
pub use report::{Kind, Report, Violation};
