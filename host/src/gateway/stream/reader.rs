//! The half of a stream that reads: bytes become lines, lines become commands, commands go to their lanes in order.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::line::Lines;
use super::{Note, Stream, counted};
use crate::engine::{Reply, Submission};
use crate::gateway::problem::{Kind, Problem};
use crate::gateway::stopped;
use crate::message::CommandId;

/// Reads the body to its end, to the first sign that the client is too slow, or until the daemon stops.
pub async fn run(stream: Arc<Stream>, body: Body, notes: mpsc::Sender<Note>) {
    let _open = counted(&stream.gateway);
    let mut reader = Reader::new(&stream, &notes);
    reader.read(body).await;
    let lines = reader.answerable;
    // If the writer is gone, so is the client.
    let _ = notes.send(Note::End(lines)).await;
}

struct Reader<'a> {
    stream: &'a Arc<Stream>,
    notes: &'a mpsc::Sender<Note>,
    lines: Lines,
    batch: Batch,
    /// The beginning of a line whose end did not arrive yet.
    begun: Vec<u8>,
    begun_at: Instant,
    /// The line being read is longer than allowed: its rest is skipped.
    skipping: bool,
    /// Number of the last line that ended.
    line: u64,
    /// Lines that have or will have an answer.
    answerable: u64,
    busy_at: Instant,
}

/// Lines that were read and not yet handed over.
#[derive(Default)]
struct Batch {
    commands: Vec<Submission>,
    refused: Vec<(u64, Problem)>,
    long: Vec<(u64, usize)>,
}

impl<'a> Reader<'a> {
    fn new(stream: &'a Arc<Stream>, notes: &'a mpsc::Sender<Note>) -> Self {
        Self {
            stream,
            notes,
            lines: Lines::new(stream.gateway.clone()),
            batch: Batch::default(),
            begun: Vec::new(),
            begun_at: Instant::now(),
            skipping: false,
            line: 0,
            answerable: 0,
            busy_at: Instant::now(),
        }
    }

    async fn read(&mut self, mut body: Body) {
        let mut stopping = self.stream.gateway.stopping.clone();
        loop {
            // Cancel-safe: a frame that is not returned is not taken; the wait for the stop holds nothing.
            let piece = tokio::select! {
                piece = tokio::time::timeout_at(self.deadline(), body.frame()) => piece,
                () = stopped(&mut stopping) => return,
            };
            match piece {
                Ok(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    self.take(piece).await;
                }
                // The end, or a connection that broke: what was whole is answered, and a rest without its end is not run.
                Ok(None) => return self.last_line().await,
                Ok(Some(Err(_))) => return,
                Err(_) => return self.too_slow().await,
            }
        }
    }

    /// Until when the next bytes must arrive.
    fn deadline(&self) -> Instant {
        let http = &self.stream.gateway.config.http;
        let idle = self.busy_at + Duration::from_millis(http.idle_timeout_ms);
        if self.begun.is_empty() && !self.skipping {
            return idle;
        }
        idle.min(self.begun_at + Duration::from_millis(http.body_timeout_ms))
    }

    /// Takes all lines that end in a piece of the body, and keeps the rest.
    async fn take(&mut self, piece: Bytes) {
        self.lines.arrived();
        let mut rest = &piece[..];
        while let Some(end) = memchr(b'\n', rest) {
            let (text, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if self.begun.is_empty() {
                self.end_line(text);
            } else {
                let mut line = std::mem::take(&mut self.begun);
                line.extend_from_slice(text);
                self.end_line(&line);
            }
            if self.stream.window.is_batch(self.batch.lines(), self.batch.long_bytes()) {
                self.hand_over().await;
            }
        }
        self.keep(rest);
        self.hand_over().await;
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        if self.begun.is_empty() && !self.skipping {
            self.begun_at = Instant::now();
        }
        if self.begun.len() + rest.len() > self.stream.gateway.config.http.body_bytes_max {
            self.begun = Vec::new();
            self.skipping = true;
        }
        if !self.skipping {
            self.begun.extend_from_slice(rest);
        }
    }

    fn end_line(&mut self, text: &[u8]) {
        self.line += 1;
        let bytes_max = self.stream.gateway.config.http.body_bytes_max;
        let too_long = std::mem::take(&mut self.skipping) || text.len() > bytes_max;
        if !too_long && text.trim_ascii().is_empty() {
            return;
        }
        self.answerable += 1;
        let command = if too_long {
            Err(Problem::new(
                Kind::TooLarge,
                format!("the line has more than {bytes_max} bytes: send less, or raise the limit in the config"),
            ))
        } else {
            self.lines.command(text)
        };
        match command {
            Ok(command) => {
                if self.stream.window.is_long(text.len()) {
                    self.batch.long.push((self.line, text.len()));
                }
                let reply = Reply::Line(Arc::clone(&self.stream.answers), self.line);
                self.batch.commands.push(Submission { command, reply });
            }
            Err(problem) => self.batch.refused.push((self.line, problem)),
        }
    }

    /// The body may end without a line break.
    async fn last_line(&mut self) {
        if self.skipping || !self.begun.is_empty() {
            let text = std::mem::take(&mut self.begun);
            self.lines.arrived();
            self.end_line(&text);
            self.hand_over().await;
        }
    }

    /// Neither a line nor its rest came in time: the stream ends, and a line that was begun is told why.
    async fn too_slow(&mut self) {
        if self.skipping || !self.begun.is_empty() {
            self.line += 1;
            self.answerable += 1;
            let detail = "the rest of the line did not arrive in time: nothing of it was recorded, send it again";
            self.batch.refused.push((self.line, Problem::new(Kind::SlowBody, detail)));
            self.hand_over().await;
        }
    }

    /// Waits for places in the window, then hands the commands over in their order.
    async fn hand_over(&mut self) {
        let lines = self.batch.lines();
        if lines == 0 {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let gateway = &self.stream.gateway;
        gateway.metrics.lines(lines as u64, batch.refused.len() as u64);
        self.stream.window.enter(lines, &batch.long).await;
        self.stream.ids.keep(lines, self.line, batch.commands.iter().map(numbered));
        for (line, problem) in batch.refused {
            // If the writer is gone, so is the client.
            let _ = self.notes.send(Note::Refused(line, problem)).await;
        }
        if !batch.commands.is_empty() {
            // What was not handed over gets its answer through its reply.
            let _ = gateway.engine.submit(batch.commands).await;
        }
        self.busy_at = Instant::now();
    }
}

impl Batch {
    fn lines(&self) -> usize {
        self.commands.len() + self.refused.len()
    }

    fn long_bytes(&self) -> usize {
        self.long.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// The line of a command, and its id.
fn numbered(submission: &Submission) -> (u64, &CommandId) {
    let line = if let Reply::Line(_, line) = &submission.reply { *line } else { 0 };
    (line, &submission.command.command_id)
}

/// Position of the first such byte.
fn memchr(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|b| *b == byte)
}
