//! The report: for people on the screen, for programs in a file.

use std::fmt::Write;
use std::time::Duration;

use ordain_checker::Report;
use ordain_tests::figures::Figures;
use ordain_tests::witness::Tally;

use crate::Arguments;
use crate::story::Told;

/// Prints and writes the report. Whether every promise was kept.
///
/// # Errors
/// If the report cannot be written.
pub fn give(arguments: &Arguments, told: &Told) -> anyhow::Result<bool> {
    let figures = figures(arguments, told);
    let mut text = String::new();
    people(&mut text, arguments, told, &figures)?;
    print!("{text}");
    figures.write(&arguments.report)?;
    Ok(figures.hold())
}

fn figures(arguments: &Arguments, told: &Told) -> Figures {
    let mut figures = Figures::new(&arguments.data);
    let report = &told.report;
    let expected = arguments.commands + 6 * arguments.pairs();
    let zero = |figures: &mut Figures, name: &str, count: u64, unit: &str| {
        figures.promise(name, count, unit, "0", count == 0);
    };
    figures.promise("commands", report.commands, "commands", &expected.to_string(), report.commands == expected);
    zero(&mut figures, "lost", report.lost, "commands");
    zero(&mut figures, "doubled", report.doubled, "commands");
    zero(&mut figures, "rename_after_close_accepted", report.rename_after_close_accepted, "commands");
    zero(&mut figures, "unresolved", report.unresolved, "commands");
    zero(&mut figures, "violations", report.kinds.values().sum(), "violations");
    let kept = &told.pairs;
    figures.promise(
        "renames_right_after_close_rejected",
        kept.after_rejected,
        "commands",
        &kept.after.to_string(),
        kept.after_rejected == kept.after,
    );
    let either = kept.renamed_first + kept.closed_first;
    figures.promise(
        "renames_beside_close_decided",
        either,
        "commands",
        &kept.together.to_string(),
        either == kept.together,
    );
    let [kills, swaps] = told.done;
    figures.promise("kills", kills, "kills", "1", kills == 1);
    figures.promise("swaps", swaps, "swaps", "1", swaps == 1);
    for rules in &told.rules {
        let decided = decisions(report, &rules.digest);
        figures.promise(&format!("decided_by_{}", rules.name), decided, "commands", "> 0", decided > 0);
    }
    for (word, count) in &report.outcomes {
        figures.tell(&format!("outcomes_{word}"), *count, "commands");
    }
    figures.tell("commands_per_second", rate(told), "commands/s");
    for (name, tally) in [("stream", &told.file), ("single", &told.pairs.tally)] {
        for (share, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            figures.tell(&format!("latency_{name}_{share}"), milliseconds(tally, quantile), "ms");
        }
    }
    figures.tell("swap", told.swapped.as_secs_f64() * 1e3, "ms");
    figures.tell("restart_after_kill", told.came_back.as_secs_f64() * 1e3, "ms");
    figures.tell("unanswered_at_kill", told.file.unknown + told.pairs.tally.unknown, "attempts");
    figures.tell("check", report.seconds, "s");
    figures
}

fn people(out: &mut String, arguments: &Arguments, told: &Told, figures: &Figures) -> std::fmt::Result {
    let report = &told.report;
    writeln!(out)?;
    writeln!(out, "WHAT WAS ASKED")?;
    row(
        out,
        "in the file",
        &format!(
            "{} commands, {} of them expecting a wrong version",
            grouped(arguments.commands),
            grouped(arguments.commands / 10)
        ),
    )?;
    row(
        out,
        "by single requests",
        &format!(
            "{} commands on {} accounts of their own",
            grouped(6 * arguments.pairs()),
            grouped(2 * arguments.pairs())
        ),
    )?;
    let (file, single) = (told.streamed.as_secs_f64(), told.pairs.took.as_secs_f64());
    let value =
        format!("{file:.1} s for the file ({} durable commands/s), {single:.1} s for the others", grouped(rate(told)));
    row(out, "took", &value)?;
    writeln!(out, "\nWHAT WAS ANSWERED (one outcome per command)")?;
    let mut heard = Tally::default();
    heard.add(&told.file);
    heard.add(&told.pairs.tally);
    for (word, count) in &heard.outcomes {
        row(out, word, &grouped(*count))?;
    }
    writeln!(out, "\nWHICH RULE DECIDED WHAT (read from the log)")?;
    for rules in &told.rules {
        let outcomes = report.modules.get(&rules.digest).map(|module| &module.outcomes);
        let words = outcomes.into_iter().flatten().filter(|(word, _)| *word != "repeated");
        let words: Vec<_> = words.map(|(word, count)| format!("{} {word}", grouped(*count))).collect();
        row(out, &format!("{} {}", rules.name, rules.short()), &words.join(", "))?;
    }
    writeln!(out, "\nWHAT WAS DONE TO IT")?;
    row(
        out,
        "1 swap of rules",
        &format!(
            "after {} outcomes; decided everywhere {:.0} ms after the file appeared",
            grouped(told.heard[0]),
            told.swapped.as_secs_f64() * 1e3
        ),
    )?;
    let again = told.file.replayed + told.pairs.tally.replayed;
    let unknown = told.file.unknown + told.pairs.tally.unknown;
    row(
        out,
        "1 kill -9",
        &format!(
            "after {} outcomes; ready again in {:.0} ms",
            grouped(told.heard[1]),
            told.came_back.as_secs_f64() * 1e3
        ),
    )?;
    row(
        out,
        "",
        &format!("{} attempts were left without an answer and sent again under the same ids;", grouped(unknown)),
    )?;
    row(out, "", &format!("{} of them had been decided before and got the same answer again", grouped(again)))?;
    writeln!(out, "\nA DELETE AND A MODIFY (here: Close and Rename)")?;
    let pairs = &told.pairs;
    row(
        out,
        "one after the other",
        &format!(
            "{} renames sent the moment the close was answered: {} rejected as Closed",
            grouped(pairs.after),
            grouped(pairs.after_rejected)
        ),
    )?;
    row(
        out,
        "in flight together",
        &format!(
            "{}: {} renamed and then closed, {} closed and the rename rejected",
            grouped(pairs.together),
            grouped(pairs.renamed_first),
            grouped(pairs.closed_first)
        ),
    )?;
    writeln!(out, "\nLATENCY, durable, from the client")?;
    for (name, tally) in [("stream", &told.file), ("single requests", &told.pairs.tally)] {
        let at = |quantile| milliseconds(tally, quantile);
        row(out, name, &format!("p50 {:.1} ms   p99 {:.1} ms   max {:.0} ms", at(0.5), at(0.99), at(1.0)))?;
    }
    verdict(out, arguments, report, figures)
}

fn verdict(out: &mut String, arguments: &Arguments, report: &Report, figures: &Figures) -> std::fmt::Result {
    writeln!(
        out,
        "\nTHE CHECKER'S VERDICT (from the log's bytes and the clients' records, sharing no code with the host)"
    )?;
    row(
        out,
        "compared",
        &format!(
            "{} attempts with {} blocks and {} events in {:.1} s",
            grouped(report.operations),
            grouped(report.blocks),
            grouped(report.events),
            report.seconds
        ),
    )?;
    row(out, "lost", &grouped(report.lost))?;
    row(out, "doubled", &grouped(report.doubled))?;
    row(out, "renamed after closed", &grouped(report.rename_after_close_accepted))?;
    row(out, "violations of any kind", &grouped(report.kinds.values().sum()))?;
    for (kind, count) in &report.kinds {
        row(out, &format!("  {kind}"), &grouped(*count))?;
    }
    for violation in &report.violations {
        write!(out, "\n{violation}")?;
    }
    let broken: Vec<_> = figures.results.iter().filter(|figure| figure.holds == Some(false)).collect();
    for figure in &broken {
        writeln!(
            out,
            "BROKEN  {}: {}, and it should be {}",
            figure.name,
            figure.measured,
            figure.goal.as_deref().unwrap_or("")
        )?;
    }
    if broken.is_empty() {
        writeln!(out, "\nEvery promise was kept. The figures are in {}.", arguments.report.display())
    } else {
        writeln!(out, "\n{} promises were broken. The figures are in {}.", broken.len(), arguments.report.display())
    }
}

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "  {name:<34} {value}")
}

fn decisions(report: &Report, digest: &str) -> u64 {
    let outcomes = report.modules.get(digest).map(|module| &module.outcomes);
    outcomes.into_iter().flatten().filter(|(word, _)| *word != "repeated").map(|(_, count)| count).sum()
}

fn rate(told: &Told) -> u64 {
    let seconds = told.streamed.max(Duration::from_millis(1)).as_secs_f64();
    (told.file.answered() as f64 / seconds) as u64
}

fn milliseconds(tally: &Tally, quantile: f64) -> f64 {
    tally.latency.value_at_quantile(quantile) as f64 / 1e6
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let mut out = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        out.push(',');
        out.push_str(std::str::from_utf8(group).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        let shown = [0, 7, 999, 1_000, 1_234_567].map(super::grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "1,234,567"]);
    }
}
