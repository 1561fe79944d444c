//! The half of a stream that writes: whatever answers have arrived, many in one piece.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::{Note, Stream};
use crate::engine::{Answered, Appended, Unanswered};
use crate::gateway::elsewhere;
use crate::gateway::problem::Problem;
use crate::gateway::render::{write_number, write_outcome};

/// Bytes after which a piece is sent.
const PIECE_BYTES: usize = 32 * 1024;
/// Room for one answer of the usual kind.
const ANSWER_BYTES: usize = 384;

/// Commands of one stream whose outcome is asked for at other hosts at once.
const ASKED_AT_ONCE: usize = 64;

/// Writes answers until every line that was read has one, or the client is gone.
pub async fn run(stream: Arc<Stream>, mut notes: mpsc::Receiver<Note>, pieces: mpsc::Sender<Bytes>) {
    let mut writer = Writer {
        stream: &stream,
        pieces,
        piece: Vec::new(),
        done: Vec::new(),
        written: 0,
        elsewhere: Elsewhere::default(),
    };
    let mut lines = None;
    while lines != Some(writer.written) {
        // Cancel-safe: both take something only when they return.
        let going_on = tokio::select! {
            answers = stream.answers.take() => writer.answers(answers).await,
            Some(asked) = writer.elsewhere.asked.join_next() => writer.told(asked).await,
            note = notes.recv(), if lines.is_none() => match note {
                Some(Note::Refused(line, problem)) => writer.refused(line, problem).await,
                Some(Note::End(read)) => { lines = Some(read); true }
                None => false,
            },
        };
        if !going_on {
            return;
        }
    }
}

struct Writer<'a> {
    stream: &'a Stream,
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
    /// Lines whose answer is in the piece.
    done: Vec<u64>,
    written: u64,
    elsewhere: Elsewhere,
}

/// What another host said of a line.
type Asked = (u64, Result<Bytes, Unanswered>);

/// Commands that other hosts answer.
struct Elsewhere {
    asked: JoinSet<Asked>,
    turns: Arc<Semaphore>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { asked: JoinSet::new(), turns: Arc::new(Semaphore::new(ASKED_AT_ONCE)) }
    }
}

impl Writer<'_> {
    /// Writes answers; false if the client is gone.
    async fn answers(&mut self, answers: Vec<(u64, Result<Answered, Unanswered>)>) -> bool {
        let metrics = &self.stream.gateway.metrics;
        let mut left = answers.len();
        for (line, answer) in answers {
            if self.piece.capacity() == 0 {
                self.piece.reserve((left * ANSWER_BYTES).min(PIECE_BYTES + ANSWER_BYTES));
            }
            left -= 1;
            match answer {
                Ok(answered) => {
                    let entry = answered.entry();
                    metrics.outcome(&entry.answer, answered.repeated);
                    self.begin(line, b"outcome");
                    write_outcome(&entry, answered.repeated, &mut self.piece);
                    self.end(line);
                }
                Err(Unanswered::Elsewhere(appended)) => self.ask(line, appended),
                Err(unanswered) => self.unanswered(line, unanswered),
            }
            if self.piece.len() >= PIECE_BYTES && !self.send().await {
                return false;
            }
        }
        self.send().await
    }

    /// Asks the host that answers a command. Bounded by the window: the line keeps its place in it.
    fn ask(&mut self, line: u64, appended: Box<Appended>) {
        let (gateway, turns) = (self.stream.gateway.clone(), Arc::clone(&self.elsewhere.turns));
        self.elsewhere.asked.spawn(async move {
            // Never closed.
            let _turn = turns.acquire().await;
            let limit_ms = gateway.config.http.request_timeout_ms;
            let answer = elsewhere::outcome(&gateway, &appended, limit_ms).await;
            (line, answer.map(|answer| answer.body).ok_or(Unanswered::Elsewhere(appended)))
        });
    }

    /// Writes what another host said; false if the client is gone.
    async fn told(&mut self, asked: Result<Asked, JoinError>) -> bool {
        match asked {
            Ok((line, Ok(outcome))) => {
                self.begin(line, b"outcome");
                self.piece.extend_from_slice(&outcome);
                self.end(line);
            }
            Ok((line, Err(unanswered))) => self.unanswered(line, unanswered),
            // It panicked, which is in the process's log: the stream ends without this line's answer.
            Err(_) => return false,
        }
        self.send().await
    }

    async fn refused(&mut self, line: u64, problem: Problem) -> bool {
        self.problem(line, &problem);
        self.send().await
    }

    /// A command without an outcome: its problem names it, so that it can be asked for again.
    fn unanswered(&mut self, line: u64, unanswered: Unanswered) {
        self.stream.gateway.metrics.unanswered();
        let problem = Problem { command_id: self.stream.ids.of(line), ..unanswered.into() };
        self.problem(line, &problem);
    }

    fn problem(&mut self, line: u64, problem: &Problem) {
        self.begin(line, b"error");
        problem.write(&mut self.piece);
        self.end(line);
    }

    fn begin(&mut self, line: u64, what: &[u8]) {
        self.piece.extend_from_slice(b"{\"line\":");
        write_number(line, &mut self.piece);
        self.piece.extend_from_slice(b",\"");
        self.piece.extend_from_slice(what);
        self.piece.extend_from_slice(b"\":");
    }

    fn end(&mut self, line: u64) {
        self.piece.extend_from_slice(b"}\n");
        self.done.push(line);
    }

    /// Sends the piece, then gives back the places of its lines; false if the client is gone.
    async fn send(&mut self) -> bool {
        if self.piece.is_empty() {
            return true;
        }
        let sent = self.pieces.send(Bytes::from(std::mem::take(&mut self.piece))).await.is_ok();
        self.written += self.done.len() as u64;
        self.stream.ids.forget(&self.done);
        self.stream.window.leave(&self.done);
        self.done.clear();
        sent
    }
}
