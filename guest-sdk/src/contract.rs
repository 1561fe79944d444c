//! The contract between host and module, shared by both sides: export names, status bytes, the layout of the context.
//!
//! Core WebAssembly, exports only, no imports. All integers are little endian. A result is a packed `u64`,
//! `pointer << 32 | length`, of bytes in the module's memory that stay valid until the next call.
//! Byte 0 of a result is its status (below); what follows depends on the call.
//!
//! | export | takes | gives |
//! |---|---|---|
//! | `memory` | | the only memory |
//! | `ordain_init()` | | called once after instantiation, before anything else |
//! | `ordain_describe() -> u64` | | status, then a [`Manifest`] as named MessagePack |
//! | `ordain_buf(n: u32) -> u32` | bytes needed | address of an input buffer of at least `n` bytes, valid until the next `ordain_buf` |
//! | `ordain_load(slot, n) -> u64` | `n` bytes of snapshot in the buffer; 0 = the default state | status |
//! | `ordain_decide(slot, context, command) -> u64` | `context` bytes of [`Context`], then `command` bytes of MessagePack | accepted: frames of events, already folded into the slot · rejected: the rejection as MessagePack |
//! | `ordain_fold(slot, n) -> u64` | `n` bytes of frames of events | status |
//! | `ordain_snapshot(slot, form) -> u64` | [`FORM_COMPACT`] or [`FORM_NAMED`] | status, then the state as MessagePack |
//! | `ordain_drop(slot)` | | forgets the slot |
//! | `ordain_log() -> u64` | | the lines logged since the last look, each ended by `\n`, without a status byte; then empties the buffer |
//! | `ordain_panic() -> u64` | | text of the last panic, without a status byte; readable after a trap |
//! | `ordain_schemas() -> u64` | only in a build with the SDK's `schemas` feature | status, then the [`SECTION_SCHEMAS`] JSON |
//!
//! Slots are small integers chosen by the host. A frame is `[u32 length][bytes]`.

use serde::{Deserialize, Serialize};

/// The version of this contract. The host runs modules of this one and, once there is one, of the one before.
pub const CONTRACT_VERSION: u32 = 1;
/// Custom section: `u32` contract version, then the SDK version as UTF-8. Readable without compiling the module.
pub const SECTION_CONTRACT: &str = "ordain.contract";
/// Custom section: JSON object `{"command","event","rejection","state"}` of JSON Schemas, attached by `ordain build`.
pub const SECTION_SCHEMAS: &str = "ordain.schemas";

/// Done; for a decision: accepted.
pub const STATUS_OK: u8 = 0;
/// The rules said no; a MessagePack rejection follows.
pub const STATUS_REJECTED: u8 = 1;
/// The command or snapshot does not decode; UTF-8 text follows. The slot is unchanged.
pub const STATUS_BAD_INPUT: u8 = 2;
/// An event does not decode; UTF-8 text follows. The slot may have folded a part of the frames: drop it.
pub const STATUS_BAD_EVENT: u8 = 3;
/// The slot was never loaded; UTF-8 text follows.
pub const STATUS_NO_SLOT: u8 = 4;
/// Set in the status byte when lines were logged during the call: `ordain_log` has them.
pub const STATUS_LOGGED: u8 = 0x80;

/// Snapshot for the host: a compact MessagePack array, readable only under the same state version.
pub const FORM_COMPACT: u32 = 0;
/// Snapshot for people: MessagePack with field names.
pub const FORM_NAMED: u32 = 1;

/// Bytes of log text a module may hold between two looks; what exceeds them is dropped and counted.
pub const LOG_BYTES_MAX: usize = 16 * 1024;
/// Bytes of panic text kept.
pub const PANIC_BYTES_MAX: usize = 1024;

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Contract version the module was built for.
    pub contract: u32,
    /// Version of the SDK it was built with.
    pub sdk: String,
    /// The aggregate type its rules are for.
    pub aggregate_type: String,
    /// Version of the state's layout and of what `evolve` does.
    pub state_version: u32,
    /// The author's sample commands, each as named MessagePack, for the self-check before activation.
    pub samples: Vec<Vec<u8>>,
}

/// Everything a decision may know beside state and command.
///
/// On the wire: `time_ms: i64, version: u64, id_len: u32, command_id_len: u32, correlation_len: u32,
/// metadata_len: u32`, then the four byte strings in that order. Bytes after them are ignored, so that later hosts can add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// Time of the command in milliseconds since 1970-01-01 UTC, as recorded in the log: never the clock.
    pub time_ms: i64,
    /// Version of the aggregate the command meets; 0 = never existed.
    pub version: u64,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// The command's id.
    pub command_id: &'a str,
    /// What the caller correlates this command with; empty if nothing.
    pub correlation_id: &'a str,
    /// The caller's free metadata as a MessagePack map; empty if none.
    pub metadata: &'a [u8],
}

impl<'a> Context<'a> {
    /// Bytes of the fixed part.
    pub const HEAD: usize = 32;

    /// Appends the wire form to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        let parts =
            [self.aggregate_id.as_bytes(), self.command_id.as_bytes(), self.correlation_id.as_bytes(), self.metadata];
        for part in parts {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        }
        for part in parts {
            out.extend_from_slice(part);
        }
    }

    /// Reads the wire form; `None` if it is cut short or not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(Self::HEAD)?;
        let length = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let mut take = |n: usize| {
            let (part, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(part)
        };
        let (id, command, correlation, metadata) =
            (take(length(16))?, take(length(20))?, take(length(24))?, take(length(28))?);
        Some(Self {
            time_ms: i64::from_le_bytes(head[..8].try_into().ok()?),
            version: u64::from_le_bytes(head[8..16].try_into().ok()?),
            aggregate_id: std::str::from_utf8(id).ok()?,
            command_id: std::str::from_utf8(command).ok()?,
            correlation_id: std::str::from_utf8(correlation).ok()?,
            metadata,
        })
    }
}

/// Appends one frame to `out`.
pub fn write_frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The frames of a byte string, in order; the last item is `Err` if the bytes are cut short.
#[derive(Debug, Clone)]
pub struct Frames<'a>(pub &'a [u8]);

/// A byte string that does not end with a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornFrame;

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], TornFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((head, rest)) = self.0.split_first_chunk::<4>() else {
            self.0 = &[];
            return Some(Err(TornFrame));
        };
        let Some((frame, rest)) = rest.split_at_checked(u32::from_le_bytes(*head) as usize) else {
            self.0 = &[];
            return Some(Err(TornFrame));
        };
        self.0 = rest;
        Some(Ok(frame))
    }
}
