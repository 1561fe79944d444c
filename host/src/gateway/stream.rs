//! `POST /v1/commands`: a stream of commands in, a stream of answers out, on one connection, both at once.
//!
//! Two halves run side by side. The reader cuts the body into lines, makes commands of them and hands over all that one
//! piece of the body held; the writer takes whatever answers have arrived and writes many into one piece. A window
//! bounds what is between them: a line takes a place when it is read and gives it back when its answer is written, so a
//! client that does not read its answers stops being read.

mod ids;
mod line;
mod reader;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::body::{Held, Pieces};
use super::problem::Problem;
use super::query::no_query;
use super::{Gateway, metrics};
use crate::config::Http;
use crate::engine::ReplyBox;
use ids::Ids;

/// Pieces of the response that wait for the connection.
const PIECES_WAITING: usize = 2;

/// Most lines that are handed over at once.
const BATCH_LINES_MAX: usize = 256;

/// What both halves share.
struct Stream {
    gateway: Gateway,
    answers: Arc<ReplyBox>,
    window: Window,
    ids: Ids,
}

/// What the reader tells the writer beside the answers that the lanes give.
enum Note {
    /// A line that was refused at the door.
    Refused(u64, Problem),
    /// No line follows: this many wait for an answer or had one.
    End(u64),
}

/// Handler of the stream.
pub async fn commands(State(gateway): State<Gateway>, uri: Uri, body: Body) -> Result<Response, Problem> {
    no_query(&uri, "a stream takes none; all about a command stands in its line, see docs/http.md")?;
    let stream = Arc::new(Stream {
        window: Window::new(&gateway.config.http),
        answers: Arc::default(),
        ids: Ids::default(),
        gateway,
    });
    let (pieces, out) = mpsc::channel::<Bytes>(PIECES_WAITING);
    let (notes, from_reader) = mpsc::channel(PIECES_WAITING);
    let reader = tokio::spawn(reader::run(Arc::clone(&stream), body, notes));
    let writer = tokio::spawn(writer::run(stream, from_reader, pieces));
    let halves = Halves([reader.abort_handle(), writer.abort_handle()]);
    let mut response = Response::new(Body::new(Held::new(Body::new(Pieces(out)), halves)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Both halves; they end at the latest when the connection is gone. What was handed over is decided all the same.
struct Halves([AbortHandle; 2]);

impl Drop for Halves {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Lines that were read and are not yet answered.
struct Window {
    lines: Semaphore,
    lines_max: usize,
    /// Bytes are counted only for lines longer than their fair share, so that the usual ones cost nothing.
    bytes: Semaphore,
    bytes_max: usize,
    long: Mutex<HashMap<u64, usize>>,
    long_count: AtomicUsize,
}

impl Window {
    fn new(http: &Http) -> Self {
        let (lines_max, bytes_max) = (http.stream_window_lines as usize, http.stream_window_bytes);
        Self {
            lines: Semaphore::new(lines_max),
            lines_max,
            bytes: Semaphore::new(bytes_max),
            bytes_max,
            long: Mutex::default(),
            long_count: AtomicUsize::new(0),
        }
    }

    /// Whether a batch of so many lines, and so many bytes of long ones, should be handed over.
    fn is_batch(&self, lines: usize, long_bytes: usize) -> bool {
        lines >= BATCH_LINES_MAX.min(self.lines_max) || long_bytes >= self.bytes_max / 2
    }

    /// Whether a line of this length is counted by its bytes.
    fn is_long(&self, bytes: usize) -> bool {
        bytes > self.bytes_max / self.lines_max
    }

    /// Waits for places for lines, and for the bytes of the long ones among them. These are taken together: a line that
    /// waits for another one of its own batch would wait for ever. A batch of more bytes than there are takes them all.
    async fn enter(&self, lines: usize, long: &[(u64, usize)]) {
        let bytes = long.iter().map(|(_, bytes)| bytes).sum::<usize>().min(self.bytes_max);
        // The semaphores are never closed.
        for (places, count) in [(&self.lines, lines), (&self.bytes, bytes)] {
            if let Ok(permits) = places.acquire_many(count as u32).await {
                permits.forget();
            }
        }
        let mut taken = bytes;
        let mut all = self.long.lock().expect("no panic while held");
        for (line, bytes) in long {
            let share = (*bytes).min(taken);
            taken -= share;
            all.insert(*line, share);
        }
        self.long_count.fetch_add(long.len(), Ordering::Release);
    }

    /// Gives back the places of answered lines.
    fn leave(&self, lines: &[u64]) {
        if self.long_count.load(Ordering::Acquire) > 0 {
            let mut long = self.long.lock().expect("no panic while held");
            for bytes in lines.iter().filter_map(|line| long.remove(line)) {
                self.long_count.fetch_sub(1, Ordering::Release);
                self.bytes.add_permits(bytes);
            }
        }
        self.lines.add_permits(lines.len());
    }
}

/// An open stream's gauge lives as long as its reader.
fn counted(gateway: &Gateway) -> metrics::Gauge<'_> {
    gateway.metrics.stream()
}
