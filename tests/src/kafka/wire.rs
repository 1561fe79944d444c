//! As much of Kafka's protocol as the proxy needs: the head of a request, whose lane it is about, and what an answer to
//! EndTxn says. Every request begins with its length, its kind, that one's version, a number that its answer repeats, and
//! the client's name; no later version has changed that.

use std::fmt;

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest frame: above what brokers take here.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// What the transactional id of a lane has before the lane's number.
const LANE_MARK: &[u8] = b"-lane-";
/// How long a restore's fetch waits for records (`Host::restore_config`). Other readers wait longer, but for the one that
/// reads the layout when a host starts.
const RESTORE_WAIT_MS: i32 = 10;

/// The kinds of requests that are stopped, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A lane's records.
    Produce,
    /// A restore reads events.
    Restore,
    /// A host wants its share of the lanes.
    JoinGroup,
    /// A lane's producer fences its predecessors.
    InitProducerId,
    /// A lane's transaction says which partitions it writes to.
    AddPartitions,
    /// A lane's transaction ends.
    EndTxn,
}

impl Ask {
    const fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Restore => 1,
            Self::JoinGroup => 11,
            Self::InitProducerId => 22,
            Self::AddPartitions => 24,
            Self::EndTxn => 26,
        }
    }

    /// Whether a request is of this kind. Hosts have producers beside those of lanes, and readers beside restores.
    pub fn is(self, request: &Request) -> bool {
        self.key() == request.key
            && match self {
                Self::Restore => request.fetch_wait_ms() == Some(RESTORE_WAIT_MS),
                Self::JoinGroup => true,
                _ => request.lane().is_some(),
            }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// All of it, the length included.
    pub frame: Bytes,
    /// What its answer begins with.
    pub correlation: i32,
    /// The client's name.
    pub client: String,
    key: i16,
    version: i16,
    /// Where the head ends; later versions have a byte more there.
    body: usize,
}

impl Request {
    /// Reads the head of a frame; `None` if it is none.
    pub fn read(frame: Bytes) -> Option<Self> {
        let i16_at = |at: usize| Some(i16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let (key, version) = (i16_at(4)?, i16_at(6)?);
        let correlation = i32::from_be_bytes(*frame.get(8..)?.first_chunk()?);
        // -1 stands for no name.
        let body = 14 + usize::try_from(i16_at(12)?).unwrap_or(0);
        let client = String::from_utf8_lossy(frame.get(14..body)?).into_owned();
        Some(Self { frame, correlation, client, key, version, body })
    }

    /// The lane that it is about, as the transactional id in it says.
    pub fn lane(&self) -> Option<u32> {
        let at = self.frame.windows(LANE_MARK.len()).position(|bytes| bytes == LANE_MARK)?;
        let digits = self.frame[at + LANE_MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let digits: String = digits.map(|byte| char::from(*byte)).collect();
        digits.parse().ok()
    }

    /// How long a Fetch waits.
    fn fetch_wait_ms(&self) -> Option<i32> {
        // From version 12 on a byte of tags ends the head; up to version 14 the body begins with a replica's id.
        let at = self.body + usize::from(self.version >= 12) + if self.version <= 14 { 4 } else { 0 };
        Some(i32::from_be_bytes(*self.frame.get(at..)?.first_chunk()?))
    }

    /// An EndTxn turned round: what commits would abort. Its last byte says which, up to version 2.
    ///
    /// # Errors
    /// If it is something else.
    pub fn turned(&self) -> anyhow::Result<Self> {
        ensure!(Ask::EndTxn.is(self) && self.version <= 2, "no EndTxn of a version that is understood: {self}");
        let mut frame = self.frame.to_vec();
        let commits = frame.last_mut().context("an empty frame")?;
        *commits = u8::from(*commits == 0);
        Ok(Self { frame: frame.into(), ..self.clone() })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} v{} of {}", self.key, self.version, self.client)?;
        self.lane().map_or(Ok(()), |lane| write!(f, " for lane {lane}"))
    }
}

/// The next frame of a connection, its length included; `None` at its end.
pub async fn frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).await.ok()?;
    let length = usize::try_from(i32::from_be_bytes(*frame.first_chunk()?)).ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame.into())
}

/// The number that an answer begins with.
pub fn correlation(answer: &Bytes) -> Option<i32> {
    Some(i32::from_be_bytes(*answer.get(4..)?.first_chunk()?))
}

/// What the answer to an EndTxn says, up to version 2: behind the length, the number and the time to hold back.
///
/// # Errors
/// If it is too short.
pub fn end_txn_error(answer: &Bytes) -> anyhow::Result<i16> {
    let code = answer.get(12..).and_then(|rest| rest.first_chunk());
    code.map(|code| i16::from_be_bytes(*code)).context("an answer without an error code")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EndTxn version 1 of `host-a` for lane 12, which commits.
    fn end_txn() -> Request {
        let mut frame = [&[0, 0, 0, 0, 0, 26, 0, 1, 0, 0, 0, 7, 0, 6][..], b"host-a", &[0, 9], b"g0-lane-12"].concat();
        frame.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 3, 1]);
        Request::read(frame.into()).unwrap()
    }

    #[test]
    fn a_head_is_understood() {
        let request = end_txn();
        assert_eq!((request.client.as_str(), request.correlation, request.lane()), ("host-a", 7, Some(12)));
        assert!(Ask::EndTxn.is(&request) && !Ask::Produce.is(&request));
        assert_eq!(request.to_string(), "request 26 v1 of host-a for lane 12");
    }

    #[test]
    fn a_commit_is_turned_into_an_abort_and_back() {
        let request = end_txn();
        let turned = request.turned().unwrap();
        assert_eq!((request.frame.last(), turned.frame.last()), (Some(&1), Some(&0)));
        assert_eq!(turned.turned().unwrap().frame, request.frame);
    }
}
