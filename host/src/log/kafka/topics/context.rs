//! What clients of librdkafka say by themselves, and waiting for its answers without a runtime.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};

use crate::clock::Stopwatch;
use crate::log::kafka::options::Options;

/// Longest wait for a complaint.
const LISTENING: Duration = Duration::from_secs(3);

/// Keeps the last complaint: a timeout alone tells nobody that a password was wrong.
#[derive(Debug, Clone, Default)]
pub struct Context(Arc<Mutex<String>>);

impl Context {
    /// An error with the last complaint, if there was one.
    pub fn explain(&self, error: impl std::fmt::Display) -> String {
        let complaint = self.complaint();
        if complaint.is_empty() { error.to_string() } else { format!("{error}; librdkafka says: {complaint}") }
    }

    /// Hears for a moment what a client complains about that cannot connect: a client for administration keeps silent.
    pub fn listen(&self, options: &Options) {
        let Ok(producer) = options.client().create_with_context::<_, BaseProducer<Self>>(self.clone()) else { return };
        let since = Stopwatch::start();
        while since.elapsed() < LISTENING && self.complaint().is_empty() {
            producer.poll(Duration::from_millis(50));
        }
    }

    fn complaint(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, complaint: &str) {
        // The end of a partition is news to a reader, and that no broker is left says less than what was said before.
        if complaint.contains("reached end of partition") || complaint.ends_with("brokers are down") {
            return;
        }
        // The name of a thread in front is of no use to anybody.
        let text = complaint.rsplit_once("]: ").map_or(complaint, |(_, rest)| rest);
        text.clone_into(&mut self.complaint());
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

/// Nothing is ever produced with it.
impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

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
