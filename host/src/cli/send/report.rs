//! What became of a file of commands: counts by outcome and latency percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Counts and latencies of one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Outcomes by word: accepted, rejected, conflict, failed.
    pub outcomes: [u64; 4],
    /// Outcomes that were first answers to a command sent again. They are in `outcomes` too.
    pub replayed: u64,
    /// Lines that were refused at the door: they have no outcome.
    pub refused: u64,
    /// Lines without an answer when the retries were used up.
    pub unanswered: u64,
    /// Times the connection was opened again.
    pub reconnects: u64,
    /// Time of the whole run.
    pub elapsed: Duration,
    /// From sending to answer, in microseconds.
    pub latency_us: Histogram<u64>,
}

/// The words of `Report::outcomes`, in its order.
const WORDS: [&str; 4] = ["accepted", "rejected", "conflict", "failed"];

impl Default for Report {
    fn default() -> Self {
        Self {
            outcomes: [0; 4],
            replayed: 0,
            refused: 0,
            unanswered: 0,
            reconnects: 0,
            elapsed: Duration::ZERO,
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, 3).expect("these bounds are valid"),
        }
    }
}

impl Report {
    /// Counts one outcome. An unknown word is counted as refused: it is no outcome.
    pub fn outcome(&mut self, word: &str, replayed: bool, latency: Duration) {
        match WORDS.iter().position(|known| *known == word) {
            Some(at) => self.outcomes[at] += 1,
            None => self.refused += 1,
        }
        self.replayed += u64::from(replayed);
        self.latency_us.saturating_record(latency.as_micros() as u64);
    }

    /// Lines that were answered in any way.
    pub fn answered(&self) -> u64 {
        self.outcomes.iter().sum::<u64>() + self.refused
    }

    /// Commands per second.
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        let at = |quantile: f64| self.latency_us.value_at_quantile(quantile);
        json!({
            "accepted": self.outcomes[0], "rejected": self.outcomes[1],
            "conflict": self.outcomes[2], "failed": self.outcomes[3],
            "replayed": self.replayed, "refused": self.refused, "unanswered": self.unanswered,
            "reconnects": self.reconnects, "elapsed_ms": self.elapsed.as_millis() as u64,
            "commands_per_second": self.rate().round() as u64,
            "latency_us": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": self.latency_us.max()},
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} commands in {:.2} s, {:.0} per second\n",
            self.answered(),
            self.elapsed.as_secs_f64(),
            self.rate()
        );
        for (word, count) in WORDS.iter().zip(self.outcomes) {
            text.push_str(&format!("  {word:<10} {count:>10}\n"));
        }
        let rare = [
            ("refused", self.refused),
            ("unanswered", self.unanswered),
            ("replayed", self.replayed),
            ("reconnects", self.reconnects),
        ];
        for (word, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
            text.push_str(&format!("  {word:<10} {count:>10}\n"));
        }
        let ms = |quantile: f64| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        text.push_str(&format!(
            "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            self.latency_us.max() as f64 / 1000.0
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_each_answer_once() {
        let mut report = Report { elapsed: Duration::from_secs(2), ..Report::default() };
        report.outcome("accepted", false, Duration::from_millis(1));
        report.outcome("accepted", true, Duration::from_millis(1));
        report.outcome("conflict", false, Duration::from_millis(3));
        let json = report.json();
        assert_eq!((json["accepted"].as_u64(), json["conflict"].as_u64()), (Some(2), Some(1)));
        assert_eq!((json["replayed"].as_u64(), json["commands_per_second"].as_u64()), (Some(1), Some(2)));
        assert!((990..=1010).contains(&json["latency_us"]["p50"].as_u64().unwrap()));
        assert!(report.text().contains("3 commands in 2.00 s"));
    }
}
