//! What clients of librdkafka say by themselves, and waiting for its answers without a runtime.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::clock::Stopwatch;

/// Keeps the last complaint: a timeout alone tells nobody that a password was wrong.
#[derive(Debug, Clone, Default)]
pub struct Context(Arc<Mutex<String>>);

impl Context {
    /// An error with the last complaint, if there was one.
    pub fn explain(&self, error: impl std::fmt::Display) -> String {
        let complaint = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if complaint.is_empty() { error.to_string() } else { format!("{error}; librdkafka says: {complaint}") }
    }

    fn keep(&self, complaint: &str) {
        // The end of a partition is news to a reader, and no complaint.
        if complaint.contains("reached end of partition") {
            return;
        }
        // The name of a thread in front is of no use to anybody.
        let text = complaint.rsplit_once("]: ").map_or(complaint, |(_, rest)| rest);
        text.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                self.keep(message);
                tracing::debug!("librdkafka: {facility} {message}");
            }
            _ => tracing::trace!("librdkafka: {facility} {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.keep(reason);
        tracing::debug!("librdkafka: {error}: {reason}");
    }
}

impl ConsumerContext for Context {}

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread for a future that another one completes; `None` after `limit`.
pub fn wait<T>(future: impl Future<Output = T>, limit: Duration) -> Option<T> {
    let since = Stopwatch::start();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            return Some(value);
        }
        thread::park_timeout(limit.checked_sub(since.elapsed())?);
    }
}

/// Rests between two looks at something that reports nothing by itself.
pub fn pause(time: Duration) {
    wait(std::future::pending::<()>(), time);
}
