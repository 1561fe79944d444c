//! What the gateway counts, as plain Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::log::Answer;
use crate::outcome::Word;

/// Counters since the start, and gauges of now. Each is a number of its own: they are not read as one moment.
#[derive(Debug, Default)]
pub struct Metrics {
    outcomes: [AtomicU64; 4],
    replayed: AtomicU64,
    unanswered: AtomicU64,
    responses: [AtomicU64; 5],
    connections: AtomicI64,
    connections_refused: AtomicU64,
    streams: AtomicI64,
    lines: AtomicU64,
    lines_refused: AtomicU64,
}

/// One more while it lives.
#[derive(Debug)]
pub struct Gauge<'a>(&'a AtomicI64);

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// An outcome went to its caller.
    pub fn outcome(&self, answer: &Answer<'_>, repeated: bool) {
        // One that only points at another answer is resolved before: without it, nothing was decided.
        let word = Word::of(answer).unwrap_or(Word::Failed);
        self.outcomes[word as usize].fetch_add(1, Ordering::Relaxed);
        if repeated {
            self.replayed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A command was taken and its caller was told that the outcome is not known.
    pub fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A response with this status began.
    pub fn response(&self, status: u16) {
        self.responses[usize::from((status / 100).clamp(1, 5)) - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is open while the gauge lives.
    pub fn connection(&self) -> Gauge<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Gauge(&self.connections)
    }

    /// A connection was refused: there are too many.
    pub fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream of commands is open while the gauge lives.
    pub fn stream(&self) -> Gauge<'_> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Gauge(&self.streams)
    }

    /// Lines of a stream were read; some of them were refused at the door.
    pub fn lines(&self, read: u64, refused: u64) {
        self.lines.fetch_add(read, Ordering::Relaxed);
        self.lines_refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(2048);
        let outcomes: Vec<(&str, u64)> =
            Word::ALL.iter().map(|w| (w.as_str(), read(&self.outcomes[*w as usize]))).collect();
        family(&mut out, "ordain_commands_total", "counter", "Outcomes given over HTTP", "outcome", &outcomes);
        let statuses: Vec<(&str, u64)> =
            ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(self.responses.iter().map(read)).collect();
        family(&mut out, "ordain_http_responses_total", "counter", "Responses by class of status", "status", &statuses);
        let plain = [
            (
                "ordain_commands_replayed_total",
                "counter",
                "Outcomes that were first answers again",
                read(&self.replayed),
            ),
            (
                "ordain_commands_unanswered_total",
                "counter",
                "Commands taken whose outcome was not known in time",
                read(&self.unanswered),
            ),
            ("ordain_http_connections", "gauge", "Open connections", level(&self.connections)),
            (
                "ordain_http_connections_refused_total",
                "counter",
                "Connections refused by a limit",
                read(&self.connections_refused),
            ),
            ("ordain_http_streams", "gauge", "Open streams of commands", level(&self.streams)),
            ("ordain_http_lines_total", "counter", "Lines read from streams", read(&self.lines)),
            ("ordain_http_lines_refused_total", "counter", "Lines refused at the door", read(&self.lines_refused)),
        ];
        for (name, kind, help, value) in plain {
            let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}");
        }
        out
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn level(gauge: &AtomicI64) -> u64 {
    gauge.load(Ordering::Relaxed).max(0) as u64
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, label: &str, values: &[(&str, u64)]) {
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    for (value, count) in values {
        let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.outcome(&Answer::Conflict { actual: 3 }, true);
        metrics.response(404);
        metrics.lines(7, 2);
        let open = metrics.connection();
        let text = metrics.text();
        for line in [
            "ordain_commands_total{outcome=\"conflict\"} 1",
            "ordain_commands_total{outcome=\"accepted\"} 0",
            "ordain_commands_replayed_total 1",
            "ordain_http_responses_total{status=\"4xx\"} 1",
            "ordain_http_connections 1",
            "ordain_http_lines_total 7",
            "ordain_http_lines_refused_total 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        drop(open);
        assert!(metrics.text().contains("ordain_http_connections 0"));
    }
}
