//! Counts over all test binaries: cargo prints a closing line for each, and a reader wants one for all.

use std::io::{BufRead, BufReader};

use xtask::run::{Failed, piped};

/// Runs `cargo test` with `args` and more variables, shows what it prints, and closes with the sums.
pub fn test(args: &[&str], variables: &[(&str, &str)]) -> Result<(), Failed> {
    let mut child = piped("cargo", args)
        .envs(variables.iter().copied())
        .spawn()
        .map_err(|error| Failed(format!("cannot run cargo: {error}")))?;
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(counts) = line.strip_prefix("test result: ") {
                passed += count(counts, "passed");
                failed += count(counts, "failed");
                ignored += count(counts, "ignored");
            }
        }
    }
    let status = child.wait().map_err(|error| Failed(format!("cargo test was lost: {error}")))?;
    println!("\nall: {passed} passed, {failed} failed, {ignored} skipped");
    if status.success() && failed == 0 && passed > 0 {
        Ok(())
    } else {
        Err(Failed(format!("cargo test ended with {status}")))
    }
}

/// The number before a word.
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts.split_whitespace().collect();
    let at = words.iter().position(|one| one.trim_end_matches(';') == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}
