//! A stream of commands over one connection: chunks of lines made before the time is taken, answers counted by line.

use std::cell::RefCell;
use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use ordain_tests::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use super::request::Seen;

/// Lines of one chunk.
const CHUNK_LINES: u64 = 64;

/// A stream's bytes, ready to be sent.
pub struct Lines {
    chunks: Vec<Vec<u8>>,
    count: u64,
}

impl Lines {
    /// Chunks of lines, each made by `line` of its number.
    pub fn new(count: u64, mut line: impl FnMut(u64) -> String) -> Self {
        let chunk = |from: u64| {
            let mut text = String::new();
            for n in from..(from + CHUNK_LINES).min(count) {
                text += &line(n);
                text.push('\n');
            }
            format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
        };
        Self { chunks: (0..count).step_by(CHUNK_LINES as usize).map(chunk).collect(), count }
    }
}

/// Sends the lines with at most `in_flight` unanswered and reads all answers.
///
/// # Errors
/// If a line looked at was not accepted, or the number of answers is wrong.
pub async fn run(to: SocketAddr, lines: Lines, in_flight: u64) -> anyhow::Result<Seen> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (from, to) = stream.into_split();
    let window = Semaphore::new(in_flight as usize);
    let sent = RefCell::new(Vec::with_capacity(lines.chunks.len()));
    let start = clock::now_ns();
    let mut reader = Reader { from, bytes: vec![0; 256 << 10], body: Body::default(), latency: Histogram::new(3)? };
    let count = lines.count;
    tokio::try_join!(write(to, lines, &window, &sent), reader.read(count, &window, &sent))?;
    Ok(Seen { commands: count, took: clock::since(start), latency: reader.latency })
}

async fn write(
    mut to: OwnedWriteHalf,
    lines: Lines,
    window: &Semaphore,
    sent: &RefCell<Vec<u64>>,
) -> anyhow::Result<OwnedWriteHalf> {
    let head = "POST /v1/commands HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n";
    to.write_all(head.as_bytes()).await?;
    for chunk in lines.chunks {
        window.acquire_many(CHUNK_LINES as u32).await?.forget();
        sent.borrow_mut().push(clock::now_ns());
        to.write_all(&chunk).await?;
    }
    to.write_all(b"0\r\n\r\n").await?;
    // Dropped, it would close the connection before the answers are there.
    Ok(to)
}

struct Reader {
    from: OwnedReadHalf,
    bytes: Vec<u8>,
    body: Body,
    latency: Histogram<u64>,
}

impl Reader {
    async fn read(&mut self, count: u64, window: &Semaphore, sent: &RefCell<Vec<u64>>) -> anyhow::Result<()> {
        let mut head = Vec::new();
        let mut answered = 0;
        let mut given_back = 0;
        while answered < count {
            let read = self.from.read(&mut self.bytes).await?;
            ensure!(read > 0, "the daemon closed the stream after {answered} of {count} answers");
            let mut piece = &self.bytes[..read];
            let after_head;
            if !self.body.begun {
                head.extend_from_slice(piece);
                let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                ensure!(head.starts_with(b"HTTP/1.1 200 "), "refused: {}", String::from_utf8_lossy(&head));
                self.body.begun = true;
                after_head = head.split_off(end + 4);
                piece = &after_head;
            }
            let now = clock::now_ns();
            let latency = &mut self.latency;
            answered += self.body.take(piece, |first| {
                let line = line_number(first)?;
                if let Some(at) = sent.borrow().get(((line - 1) / CHUNK_LINES) as usize) {
                    latency.record(now - at)?;
                }
                Ok(())
            })?;
            // The writer asks for whole chunks.
            window.add_permits((answered - given_back) as usize);
            given_back = answered;
        }
        ensure!(answered == count, "{answered} answers to {count} lines");
        Ok(())
    }
}

/// The number in `{"line":N,"outcome":…`, if the answer is that the command was accepted; nothing is known of a line cut off.
fn line_number(answer: &[u8]) -> anyhow::Result<u64> {
    let whole = answer.split(|byte| *byte == b'\n').next().unwrap_or(answer);
    let text = String::from_utf8_lossy(whole);
    let number = text.strip_prefix("{\"line\":").and_then(|rest| rest.split(',').next()?.parse().ok());
    let number = number.with_context(|| format!("not an answer line: {text}"))?;
    if whole.len() < answer.len() && !text.contains("\"outcome\":\"accepted\"") {
        bail!("not accepted: {text}");
    }
    Ok(number)
}

/// A chunked body as it comes in.
#[derive(Default)]
struct Body {
    begun: bool,
    /// Bytes of the chunk that are still to come, the line break behind them included.
    left: usize,
    /// The line with a chunk's size, as far as it is there.
    size: Vec<u8>,
}

impl Body {
    /// Counts the lines that end in a piece; shows the beginning of the data of each chunk.
    fn take(&mut self, mut piece: &[u8], mut shown: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        let mut lines = 0;
        while !piece.is_empty() {
            if self.left == 0 {
                let Some(end) = piece.iter().position(|byte| *byte == b'\n') else {
                    self.size.extend_from_slice(piece);
                    break;
                };
                self.size.extend_from_slice(&piece[..end]);
                piece = &piece[end + 1..];
                let text = String::from_utf8_lossy(&self.size).trim().to_owned();
                let size = usize::from_str_radix(&text, 16).with_context(|| format!("not a chunk size: {text:?}"))?;
                self.size.clear();
                self.left = size + 2;
                let data = &piece[..piece.len().min(size)];
                // What is cut off before its number ends is not looked at.
                if size > 0 && data.len() > 32 {
                    shown(data)?;
                }
                continue;
            }
            let here = piece.len().min(self.left);
            // The break behind the data is no line's end.
            let data = here.min(self.left.saturating_sub(2));
            lines += piece[..data].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.left -= here;
            piece = &piece[here..];
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_whatever_the_pieces() {
        let answer = |n: u64| format!("{{\"line\":{n},\"outcome\":{{\"outcome\":\"accepted\"}}}}\n");
        let chunks = [answer(1) + &answer(2), answer(3), answer(4) + &answer(5) + &answer(6)];
        let text: String = chunks.iter().map(|data| format!("{:x}\r\n{data}\r\n", data.len())).collect();
        for cut in 1..text.len() {
            let mut body = Body::default();
            let mut lines = 0;
            for piece in text.as_bytes().chunks(cut) {
                lines += body.take(piece, |first| line_number(first).map(drop)).unwrap();
            }
            assert_eq!(lines, 6, "pieces of {cut}");
        }
    }

    #[test]
    fn what_was_not_accepted_is_seen() {
        assert!(line_number(b"{\"line\":7,\"error\":{}}\n").is_err());
        assert_eq!(line_number(b"{\"line\":7,\"outcome\":{\"outcome\":\"accepted\"}}\n").unwrap(), 7);
    }
}
