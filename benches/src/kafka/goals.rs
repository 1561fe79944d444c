//! What was measured, beside what it should be.

use ordain_tests::figures::Figures;

use super::Measured;
use super::system::System;
use crate::rounds::{median, ratio, rounded};

/// A goal: Ordain's figure against another system's, as a ratio.
struct Goal {
    name: &'static str,
    what: &'static str,
    /// The best of them counts.
    against: &'static [System],
    /// At least, or else at most.
    least: bool,
    limit: f64,
}

const TUNED: &[System] = &[System::Fast, System::Calm];
const DEFAULTS: &[System] = &[System::Defaults];

const fn at_most(name: &'static str, what: &'static str, against: &'static [System], limit: f64) -> Goal {
    Goal { name, what, against, least: false, limit }
}

const GOALS: [Goal; 12] = [
    Goal { name: "throughput_against_streams", what: "saturation", against: DEFAULTS, least: true, limit: 3.0 },
    at_most("p99_at_100_against_streams_defaults", "p99_at_100", DEFAULTS, 0.1),
    at_most("p99_at_1000_against_streams_defaults", "p99_at_1000", DEFAULTS, 0.25),
    at_most("p99_at_10000_against_streams_defaults", "p99_at_10000", DEFAULTS, 0.25),
    at_most("p99_at_100_against_streams_tuned", "p99_at_100", TUNED, 0.5),
    at_most("p99_at_1000_against_streams_tuned", "p99_at_1000", TUNED, 0.5),
    at_most("p99_at_10000_against_streams_tuned", "p99_at_10000", TUNED, 0.5),
    at_most("cpu_at_saturation_against_streams", "cpu_at_saturation", DEFAULTS, 1.0 / 3.0),
    at_most("memory_after_saturation_against_streams", "memory_after_saturation", DEFAULTS, 0.2),
    at_most("restart_against_streams", "restart", DEFAULTS, 0.5),
    at_most("restore_against_streams", "restore", DEFAULTS, 0.5),
    Goal { name: "throughput_against_floor", what: "saturation", against: &[System::Floor], least: true, limit: 0.6 },
];

/// Unit of a figure.
fn unit(what: &str) -> &'static str {
    match what {
        "lost" | "doubled" => "commands",
        "renames_accepted_after_close" => "of 1,000",
        "restart" => "s from kill -9 to the first decision",
        "restore" => "s for 1 M commands, from the topics alone",
        _ if what.starts_with('p') => "ms",
        _ if what.starts_with("saturation") => "commands/s",
        _ if what.starts_with("memory") => "MiB",
        _ => "CPU s for 1 M commands",
    }
}

/// Adds figures and goals.
pub fn write(measured: &Measured, failed: &[String], figures: &mut Figures) {
    for ((system, what), values) in &measured.0 {
        let scale = if what.starts_with("memory") { 1.0 / f64::from(1 << 20) } else { 1.0 };
        let name = format!("{system}_{what}");
        if matches!(what.as_str(), "lost" | "doubled") {
            let all: f64 = values.iter().sum();
            figures.promise(&name, all, unit(what), "0", all == 0.0);
        } else {
            figures.tell(&name, rounded(median(values) * scale, 3), unit(what));
        }
    }
    for goal in &GOALS {
        promise(goal, measured, figures);
    }
    for name in failed {
        figures.promise(name, "not measured", "", "measured", false);
    }
}

/// The median of the rounds' ratios; nothing if it was not measured.
fn promise(goal: &Goal, measured: &Measured, figures: &mut Figures) {
    let ours = measured.of(System::Ordain, goal.what);
    let others = goal.against.iter().map(|other| measured.of(*other, goal.what)).filter(|other| !other.is_empty());
    let best = if goal.least {
        others.max_by(|a, b| median(a).total_cmp(&median(b)))
    } else {
        others.min_by(|a, b| median(a).total_cmp(&median(b)))
    };
    let Some(best) = best.filter(|_| !ours.is_empty()) else { return };
    let value = ratio(ours, best);
    let (sign, holds) = if goal.least { ("≥", value >= goal.limit) } else { ("≤", value <= goal.limit) };
    figures.promise(goal.name, rounded(value, 3), "x", &format!("{sign} {} x", rounded(goal.limit, 2)), holds);
}
