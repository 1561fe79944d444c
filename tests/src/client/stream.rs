//! `POST /v1/commands`: many commands over one connection, with a bounded number of them unanswered at a time.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::{Broken, Chunks, begin, broken};
use crate::clock;
use crate::command::Command;
use crate::witness::{Heard, Known, Sent, Witness};

/// Bytes of lines sent at once, about.
const CHUNK_BYTES: usize = 32 * 1024;
/// How often a stream that may not go faster looks whether it is time for more.
const PACE: Duration = Duration::from_millis(2);
/// How long the host may say nothing while it owes answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer line longer than this is not believed.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Commands to send: first those that were sent before and have no answer, in their order, then the rest.
pub struct Feed {
    again: VecDeque<Command>,
    rest: Box<dyn Iterator<Item = Command> + Send>,
    /// How many of the rest were taken, and how many may be.
    taken: u64,
    allowed: watch::Receiver<u64>,
}

impl Feed {
    /// A feed of commands.
    pub fn new(commands: impl Iterator<Item = Command> + Send + 'static) -> Self {
        Self::held(commands, watch::Sender::new(u64::MAX).subscribe())
    }

    /// A feed that gives only as many commands as are allowed, until more are.
    pub fn held(commands: impl Iterator<Item = Command> + Send + 'static, allowed: watch::Receiver<u64>) -> Self {
        Self { again: VecDeque::new(), rest: Box::new(commands), taken: 0, allowed }
    }

    /// Commands that wait to be sent again.
    pub fn again(&self) -> usize {
        self.again.len()
    }

    fn next(&mut self) -> Option<Command> {
        if self.again.is_empty() && !self.is_held() {
            self.taken += 1;
            return self.rest.next();
        }
        self.again.pop_front()
    }

    fn is_held(&self) -> bool {
        self.taken >= *self.allowed.borrow()
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("again", &self.again.len()).finish_non_exhaustive()
    }
}

/// How commands are streamed.
#[derive(Debug, Clone, Copy)]
pub struct Streaming {
    /// Where the daemon is.
    pub address: SocketAddr,
    /// The connection's number in the client's record.
    pub stream: u64,
    /// Commands unanswered at a time, at most.
    pub in_flight: usize,
    /// Commands sent per second, at most; `None` for as many as the host takes.
    pub per_second: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct AnswerLine<'a> {
    line: u64,
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
    error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl Streaming {
    /// Sends what the feed has until everything has an outcome, or the connection breaks. Either way the witness knows
    /// what became of each attempt, and what has no answer is in the feed again. `heard` is called for each outcome.
    ///
    /// # Errors
    /// [`Broken`] if the connection did; call again, with another stream number, when the daemon is back.
    pub async fn run(
        self,
        feed: &mut Feed,
        witness: &mut Witness,
        heard: &mut (dyn FnMut(&Command, &Known) + Send),
    ) -> Result<(), Broken> {
        let (lines, body) = mpsc::channel(4);
        let head = Request::builder()
            .method(Method::POST)
            .uri("/v1/commands")
            .header("host", self.address.to_string())
            .header("content-type", "application/x-ndjson");
        let response = begin(self.address, head, Chunks::of(body)).await?;
        if response.status() != 200 {
            let status = response.status();
            let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            return Err(Broken(format!("the stream was refused with {status}: {}", String::from_utf8_lossy(&text))));
        }
        let (waiting, began_ns) = (HashMap::new(), clock::now_ns());
        let mut exchange = Exchange {
            streaming: self,
            feed,
            witness,
            heard,
            waiting,
            sent: 0,
            began_ns,
            latest_ns: began_ns,
            dry: false,
        };
        let ended = exchange.pump(lines, response.into_body()).await;
        exchange.give_up(&ended);
        ended
    }
}

struct Exchange<'a> {
    streaming: Streaming,
    feed: &'a mut Feed,
    witness: &'a mut Witness,
    heard: &'a mut (dyn FnMut(&Command, &Known) + Send),
    waiting: HashMap<u64, (Command, u64)>,
    /// Lines sent; the first is line 1.
    sent: u64,
    began_ns: u64,
    /// When something was heard last.
    latest_ns: u64,
    /// The feed had nothing when it was asked last.
    dry: bool,
}

impl Exchange<'_> {
    async fn pump(&mut self, lines: mpsc::Sender<Bytes>, mut answers: Incoming) -> Result<(), Broken> {
        let tick = if self.streaming.per_second.is_some() { PACE } else { PATIENCE };
        let mut lines = Some(lines);
        let mut text = BytesMut::new();
        let mut chunk = self.chunk();
        loop {
            let held = chunk.is_none() && self.feed.is_held();
            if chunk.is_none() && self.waiting.is_empty() && self.dry {
                // Nothing is left to send or to wait for: the body ends, and with it the answers.
                lines = None;
            }
            tokio::select! {
                // Cancel-safe: a frame is taken when the future returns it.
                frame = answers.frame() => {
                    let Some(frame) = frame else { break };
                    let frame = frame.map_err(|e| broken("reading answers", e))?;
                    self.latest_ns = clock::now_ns();
                    text.extend_from_slice(&frame.into_data().unwrap_or_default());
                    self.take_lines(&mut text)?;
                }
                // Cancel-safe: a permit that was not returned was not taken.
                permit = permit(lines.as_ref()), if chunk.is_some() => {
                    let permit = permit.ok_or_else(|| Broken("the host stopped reading".to_owned()))?;
                    permit.send(chunk.take().unwrap_or_default());
                }
                // Cancel-safe: the value is read anew when the next chunk is made. Whoever holds the feed outlives it.
                _ = self.feed.allowed.changed(), if held => {}
                // Cancel-safe: only time passes.
                () = tokio::time::sleep(tick) => self.is_patient(lines.is_some())?,
            }
            if chunk.is_none() {
                chunk = self.chunk();
            }
        }
        match self.waiting.len() {
            0 if self.dry && self.feed.again.is_empty() => Ok(()),
            0 => Err(Broken("the host ended the answers, and there is more to ask".to_owned())),
            n => Err(Broken(format!("the answers ended {n} lines early"))),
        }
    }

    /// The next lines, if the window has room and there are any.
    fn chunk(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        let due = self.due();
        while self.waiting.len() < self.streaming.in_flight && out.len() < CHUNK_BYTES && self.sent < due {
            let Some(command) = self.feed.next() else {
                self.dry = !self.feed.is_held();
                break;
            };
            self.dry = false;
            command.write_line(&mut out);
            self.sent += 1;
            self.waiting.insert(self.sent, (command, clock::now_ns()));
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// Fails if the host said nothing for too long while it owes answers, or the end of them.
    fn is_patient(&mut self, goes_on: bool) -> Result<(), Broken> {
        if goes_on && self.waiting.is_empty() {
            self.latest_ns = clock::now_ns();
        }
        if clock::since(self.latest_ns) >= PATIENCE {
            return Err(Broken(format!("nothing was answered within {} s", PATIENCE.as_secs())));
        }
        Ok(())
    }

    /// How many lines may have been sent by now.
    fn due(&self) -> u64 {
        let elapsed_ms = clock::since(self.began_ns).as_millis() as u64;
        self.streaming.per_second.map_or(u64::MAX, |rate| 1 + rate.saturating_mul(elapsed_ms) / 1_000)
    }

    fn take_lines(&mut self, text: &mut BytesMut) -> Result<(), Broken> {
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line = text.split_to(end);
            text.advance(1);
            if !line.is_empty() {
                self.answer(&line)?;
            }
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(Broken("an answer line without end".to_owned()));
        }
        Ok(())
    }

    fn answer(&mut self, line: &[u8]) -> Result<(), Broken> {
        let unreadable = |cause: String| Broken(format!("{cause}: {}", String::from_utf8_lossy(line)));
        let answer: AnswerLine<'_> = serde_json::from_slice(line).map_err(|e| unreadable(e.to_string()))?;
        let Some((command, invoke)) = self.waiting.remove(&answer.line) else {
            return Err(unreadable("an answer to no line of this stream".to_owned()));
        };
        let sent = Sent { at_ns: invoke, line: Some((self.streaming.stream, answer.line)) };
        match (answer.outcome, answer.error) {
            (Some(outcome), _) => match self.witness.note(&command, sent, &Heard::Outcome(outcome)) {
                Some(known) => (self.heard)(&command, &known),
                None => return Err(unreadable("an outcome that is none".to_owned())),
            },
            (None, Some(problem)) => {
                let text = format!("{} {} {}", problem.status, problem.title, problem.detail);
                self.witness.note(&command, sent, &Heard::problem(problem.status, &text));
                self.feed.again.push_back(command);
            }
            (None, None) => return Err(unreadable("neither outcome nor error".to_owned())),
        }
        Ok(())
    }

    /// What has no answer is sent again, before anything else and in the same order.
    fn give_up(&mut self, ended: &Result<(), Broken>) {
        let Err(Broken(why)) = ended else { return };
        let mut unanswered: Vec<_> = self.waiting.drain().collect();
        unanswered.sort_unstable_by_key(|&(line, _)| std::cmp::Reverse(line));
        for (line, (command, at_ns)) in unanswered {
            let sent = Sent { at_ns, line: Some((self.streaming.stream, line)) };
            self.witness.note(&command, sent, &Heard::Nothing(why));
            self.feed.again.push_front(command);
        }
    }
}

async fn permit(lines: Option<&mpsc::Sender<Bytes>>) -> Option<mpsc::Permit<'_, Bytes>> {
    lines?.reserve().await.ok()
}

#[cfg(test)]
mod tests;
