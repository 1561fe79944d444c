//! One command a request, over connections that stay open. The client is as cheap as it can be, since it shares the
//! machine with what it measures: request bytes are made before, answers are looked at no more than needed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use ordain_tests::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests a connection sends in turns.
const REQUESTS: u64 = 64;

/// What clients saw.
pub struct Seen {
    /// Commands answered.
    pub commands: u64,
    /// How long all of it took.
    pub took: Duration,
    /// Nanoseconds from a request's first byte to its answer's last.
    pub latency: Histogram<u64>,
}

/// Lets `clients` connections send deposits for accounts below `accounts`, each one after the other's answer, for `time`.
///
/// # Errors
/// If a request is not answered with 200.
pub async fn run(to: SocketAddr, clients: u64, accounts: u64, time: Duration) -> anyhow::Result<Seen> {
    let mut connections = Vec::new();
    for client in 0..clients {
        connections.push(Connection::open(to, client, accounts).await?);
    }
    let start = clock::now_ns();
    let tasks: Vec<_> = connections.into_iter().map(|one| tokio::spawn(one.work(start, time))).collect();
    let mut latency = Histogram::new(3)?;
    for task in tasks {
        latency.add(task.await??)?;
    }
    Ok(Seen { commands: latency.len(), took: clock::since(start), latency })
}

struct Connection {
    stream: TcpStream,
    requests: Vec<Vec<u8>>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr, client: u64, accounts: u64) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let requests = (0..REQUESTS).map(|n| request((client * REQUESTS + n) % accounts)).collect();
        Ok(Self { stream, requests, answer: vec![0; 16 << 10] })
    }

    async fn work(mut self, start: u64, time: Duration) -> anyhow::Result<Histogram<u64>> {
        let mut latency = Histogram::new(3)?;
        for turn in (0..self.requests.len()).cycle() {
            let sent = clock::now_ns();
            if clock::since(start) > time {
                break;
            }
            self.stream.write_all(&self.requests[turn]).await?;
            self.read_answer().await?;
            latency.record(clock::now_ns() - sent)?;
        }
        Ok(latency)
    }

    async fn read_answer(&mut self) -> anyhow::Result<()> {
        let mut filled = 0;
        let whole = loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            ensure!(read > 0, "the daemon closed the connection");
            filled += read;
            if let Some(length) = length_of(&self.answer[..filled])? {
                break length;
            }
        };
        while filled < whole {
            ensure!(whole <= self.answer.len(), "an answer of {whole} bytes");
            let read = self.stream.read(&mut self.answer[filled..whole]).await?;
            ensure!(read > 0, "the daemon closed the connection within an answer");
            filled += read;
        }
        ensure!(filled == whole, "more than one answer to one request");
        Ok(())
    }
}

fn request(account: u64) -> Vec<u8> {
    let body = r#"{"Deposit":{"amount":500}}"#;
    let length = body.len();
    format!(
        "POST /v1/account/acc-{account:07}/commands HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Bytes of a whole answer, once its head is there.
fn length_of(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).context("an answer's head is not text")?;
    if !text.starts_with("HTTP/1.1 200 ") {
        bail!("a command was not accepted: {}", String::from_utf8_lossy(answer));
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(head + 4 + length.context("an answer without its length")?))
}
