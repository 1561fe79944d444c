//! A connection whose client must keep it moving: hyper has no limit for idle time between requests, none for a client
//! that does not read, and one clock for "has not begun" and "is too slow".

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What the connection is doing, set by whoever serves its requests.
#[derive(Debug, Default)]
pub struct Phase {
    busy: AtomicBool,
    served: AtomicU64,
}

/// A request is being answered while this lives.
#[derive(Debug)]
pub struct Busy(Arc<Phase>);

impl Phase {
    /// A request's head arrived. Its body's time and its answer's time are its handler's matter.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Release);
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Longest times without progress.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A request's head, from its first byte; for a connection's first one, from the accept.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Until the client takes the next byte.
    pub write: Duration,
}

/// A moment after which an operation fails. Moving it costs nothing until its timer fires.
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    const NONE: Self = Self { at: None, timer: None };

    /// Whether the moment has passed; if not, the task is woken when it does.
    fn passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.at else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }
}

/// The connection.
pub struct Guarded {
    io: TcpStream,
    phase: Arc<Phase>,
    times: Times,
    /// Requests served when the current wait for a head began.
    served: u64,
    head_begun: bool,
    read: Deadline,
    write: Deadline,
    linger: Deadline,
}

/// How long a closed connection is read on. What the client still sends would otherwise be answered by a reset, and a reset
/// takes away answers that it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

impl Guarded {
    /// Guards a connection that was just accepted.
    pub fn new(io: TcpStream, phase: Arc<Phase>, times: Times) -> Self {
        let read = Deadline { at: Some(Instant::now() + times.header), timer: None };
        Self { io, phase, times, served: 0, head_begun: true, read, write: Deadline::NONE, linger: Deadline::NONE }
    }

    /// Sets the read deadline that fits what the connection waits for.
    fn wait_for_head(&mut self) {
        let served = self.phase.served.load(Ordering::Relaxed);
        if self.phase.busy.load(Ordering::Acquire) {
            self.read.at = None;
        } else if self.served != served {
            self.served = served;
            self.head_begun = false;
            self.read.at = Some(Instant::now() + self.times.idle);
        }
    }

    /// Bytes arrived: between two requests, they begin a head.
    fn bytes_arrived(&mut self) {
        self.wait_for_head();
        if !self.phase.busy.load(Ordering::Acquire) && !self.head_begun {
            self.head_begun = true;
            self.read.at = Some(Instant::now() + self.times.header);
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write.at = None;
            return written;
        }
        let limit = self.times.write;
        self.write.at.get_or_insert_with(|| Instant::now() + limit);
        if self.write.passed(cx) {
            return Poll::Ready(Err(timed_out("the client does not read its answers")));
        }
        Poll::Pending
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if Pin::new(&mut this.io).poll_read(cx, buf)?.is_ready() {
            this.bytes_arrived();
            return Poll::Ready(Ok(()));
        }
        this.wait_for_head();
        if this.read.passed(cx) {
            return Poll::Ready(Err(timed_out("no whole request arrived in time")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.at.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.linger.at = Some(Instant::now() + LINGER);
        }
        // Until the client has closed its side too: then it has read everything.
        let mut unread = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut unread);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && !self.linger.passed(cx) => {}
                Poll::Pending if !self.linger.passed(cx) => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
