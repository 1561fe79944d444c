//! One answered command in a block: the command as it was taken, and its answer.

use super::Block;

/// An entry as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Byte offset in its block.
    pub offset: u32,
    /// Partition it claims.
    pub partition: u32,
    /// Number of its first record in the partition.
    pub sequence: u64,
    /// Number of its command in the partition.
    pub command_offset: u64,
    /// The aggregate's version after it.
    pub version: u64,
    /// The version the caller expected.
    pub expected: Option<u64>,
    /// Time of the command in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// The host's own hash of the body.
    pub host_hash: u64,
    /// Digest of the module that decided.
    pub module: [u8; 32],
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// The command's id.
    pub command_id: &'a str,
    /// The command as MessagePack.
    pub body: &'a [u8],
    /// The answer.
    pub answer: Answer<'a>,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Events, as frames `[u32 length][MessagePack]`.
    Accepted {
        /// How many there should be.
        count: u32,
        /// The frames.
        frames: &'a [u8],
    },
    /// The rules said no.
    Rejected(&'a [u8]),
    /// The expected version was another one than [`Entry::version`].
    Conflict,
    /// No decision came about.
    Failed {
        /// Why, as clients read it.
        reason: &'static str,
        /// The same for people.
        message: &'a str,
    },
    /// The id is known; the first answer is in the block at this address.
    Repeated(u64),
}

/// Reasons of a failure at their number.
const REASONS: [&str; 8] =
    ["unreadable", "trap", "timeout", "memory", "too_large", "misrouted", "command_id_reused", "quarantined"];

impl<'a> Block<'a> {
    /// The entries, in order. An `Err` is the last item and says what is wrong with the block's inside.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, String>> + use<'a> {
        let (payload, claimed) = (self.payload, self.count);
        let (mut at, mut seen, mut over) = (0, 0, self.kind != super::KIND_ENTRIES);
        std::iter::from_fn(move || {
            if over {
                return None;
            }
            if at >= payload.len() {
                over = true;
                return (seen != claimed)
                    .then(|| Err(format!("the header claims {claimed} entries, there are {seen}")));
            }
            let mut cursor = Cursor { bytes: payload, at };
            let read = cursor.framed().and_then(|bytes| parse(bytes, (super::HEADER_BYTES + at) as u32));
            match read {
                Ok(entry) => {
                    at = cursor.at;
                    seen += 1;
                    Some(Ok(entry))
                }
                Err(what) => {
                    over = true;
                    Some(Err(format!("entry {seen}: {what}")))
                }
            }
        })
    }
}

fn parse(bytes: &[u8], offset: u32) -> Result<Entry<'_>, String> {
    let mut from = Cursor { bytes, at: 0 };
    let [kind, reason, expects, _] = from.fixed::<4>()?;
    let partition = from.word()?;
    let [sequence, command_offset, version, expected, time, host_hash] = from.longs::<6>()?;
    let module = from.fixed::<32>()?;
    let count = from.word()?;
    let mut lengths = [0; 8];
    for length in &mut lengths {
        *length = from.word()? as usize;
    }
    let [aggregate_type, aggregate_id, command_id, _correlation, _trace, _metadata, body, payload] = {
        let mut parts = [&bytes[..0]; 8];
        for (part, length) in parts.iter_mut().zip(lengths) {
            *part = from.take(length)?;
        }
        parts
    };
    if from.at != bytes.len() {
        return Err(format!("{} bytes follow its last part", bytes.len() - from.at));
    }
    let answer = match kind {
        0 => Answer::Accepted { count, frames: payload },
        1 => Answer::Rejected(payload),
        2 => Answer::Conflict,
        3 => Answer::Failed {
            reason: REASONS.get(usize::from(reason)).ok_or(format!("failure reason {reason} is unknown"))?,
            message: text(payload)?,
        },
        4 => Answer::Repeated(u64::from_le_bytes(
            payload.try_into().map_err(|_| format!("a repeat points with {} bytes", payload.len()))?,
        )),
        other => return Err(format!("answer kind {other} is unknown")),
    };
    Ok(Entry {
        offset,
        partition,
        sequence,
        command_offset,
        version,
        expected: (expects != 0).then_some(expected),
        time_ms: time.cast_signed(),
        host_hash,
        module,
        aggregate_type: text(aggregate_type)?,
        aggregate_id: text(aggregate_id)?,
        command_id: text(command_id)?,
        body,
        answer,
    })
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("a text is not UTF-8: {e}"))
}

/// The frames of an accepted answer.
///
/// # Errors
/// If the bytes do not end with a whole frame.
pub fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut from = Cursor { bytes, at: 0 };
    let mut out = Vec::new();
    while from.at < bytes.len() {
        out.push(from.framed()?);
    }
    Ok(out)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| format!("{count} bytes needed, {} left", self.bytes.len() - self.at))?;
        self.at += count;
        Ok(taken)
    }
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(super::number(self.take(N)?, 0))
    }
    fn word(&mut self) -> Result<u32, String> {
        self.fixed().map(u32::from_le_bytes)
    }
    fn longs<const N: usize>(&mut self) -> Result<[u64; N], String> {
        let mut out = [0; N];
        for long in &mut out {
            *long = u64::from_le_bytes(self.fixed()?);
        }
        Ok(out)
    }
    fn framed(&mut self) -> Result<&'a [u8], String> {
        let length = self.word()? as usize;
        self.take(length)
    }
}
