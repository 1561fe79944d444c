//! Rules of ownership, compiled out one by one: for each there is a test on a real broker that must fail then. A rule
//! without such a test may be gone without anybody noticing.
//!
//! Everything happens in a copy of the repository below `target/planted`, with a build folder of its own that is used
//! again from one patch to the next.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::kafka::{Cluster, Spec};
use xtask::run::{Failed, output, program, root};

/// A bug: `tests/planted/NAME.patch` plants it.
struct Planted {
    name: &'static str,
    rule: &'static str,
    /// The test that must fail, among those of the host.
    test: &'static str,
}

macro_rules! planted {
    ($($name:literal, $rule:literal, $test:literal;)+) => {
        const ALL: &[Planted] = &[$(Planted { name: $name, rule: $rule, test: $test }),+];
    };
}

planted! {
    "r1-goes-on", "R1", "log::kafka::tests::ownership::nothing_goes_on_after_a_commit_that_was_no_plain_success";
    "r1-init-alone", "R1", "log::kafka::tests::ownership::an_overtaken_owner_reads_what_it_missed_before_it_goes_on";
    "r2-end-offset", "R2", "log::kafka::tests::ownership::a_restore_waits_for_its_own_record_behind_an_open_transaction";
    "r4-gap", "R4", "log::kafka::tests::ownership::a_gap_in_the_numbers_is_refused";
    "r4-repeat", "R4", "log::kafka::tests::ownership::a_record_that_comes_again_is_refused_with_a_copy_too";
    "r5-reset", "R5", "log::kafka::tests::ownership::commands_that_are_missing_stop_the_feed";
    "r5-not-again", "R5", "log::kafka::tests::ownership::a_feed_goes_on_only_behind_the_command_that_was_answered_last";
    "r6-no-size", "R6", "log::kafka::tests::whole::an_answer_that_its_topic_does_not_take_fails_alone";
    "r6-parked", "R6", "log::kafka::tests::whole::a_record_that_cannot_be_read_is_answered_in_its_turn";
    "r8-not-proved", "R8", "lane::tests::a_read_waits_until_the_ownership_is_proved";
    "end-txn-commit", "EndTxn", "log::kafka::tests::end_txn::a_commit_whose_end_was_sent_twice_ends_the_ownership";
    "end-txn-take", "EndTxn", "log::kafka::tests::end_txn::a_taking_whose_end_was_sent_twice_is_done_again";
}

/// Plants the named bugs, or all of them.
///
/// # Errors
/// [`Failed`] if a bug is not noticed, or a test fails without one.
pub fn run(names: &[&str]) -> Result<(), Failed> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|one| one.name == **name)) {
        let known: Vec<&str> = ALL.iter().map(|one| one.name).collect();
        return Err(Failed(format!("there is no planted bug {unknown}, only: {}", known.join(", "))));
    }
    let chosen: Vec<&Planted> = ALL.iter().filter(|one| names.is_empty() || names.contains(&one.name)).collect();
    let copy = Copy::make()?;
    let broker = Cluster::private(&Spec::named("planted-bugs"))?;
    let tests: BTreeSet<&str> = chosen.iter().map(|one| one.test).collect();
    println!("planted: {} tests without any bug; the first time everything is built", tests.len());
    let seen = copy.test(&tests.iter().copied().collect::<Vec<_>>(), &broker.bootstrap())?;
    if let Some(test) = tests.iter().find(|test| !seen.contains(&(test.to_string(), true))) {
        return Err(Failed(format!("{test} does not pass without a bug: nothing is shown by its failing with one")));
    }
    let mut missed = Vec::new();
    for one in chosen {
        copy.plant(one.name)?;
        let seen = copy.test(&[one.test], &broker.bootstrap())?;
        copy.restore()?;
        let verdict = if seen.contains(&(one.test.to_owned(), false)) {
            "noticed"
        } else {
            missed.push(one.name);
            "MISSED"
        };
        println!("planted: {} ({}): {verdict} by {}", one.name, one.rule, one.test);
    }
    if missed.is_empty() { Ok(()) } else { Err(Failed(format!("nobody noticed {}", missed.join(", ")))) }
}

/// A copy of the repository.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, Failed> {
        let home = root().join("target/planted");
        let copy = Self { tree: home.join("tree"), target: home.join("target") };
        copy.seed()?;
        copy.restore()?;
        Ok(copy)
    }

    /// Takes over what is built already: dependencies do not depend on where they are used.
    fn seed(&self) -> Result<(), Failed> {
        let (from, to) = (root().join("target/release"), self.target.join("release"));
        if to.is_dir() || !from.is_dir() {
            return Ok(());
        }
        make_folder(&to)?;
        for folder in ["deps", "build", ".fingerprint"] {
            let (from, to) = (from.join(folder), to.join(folder));
            program("cp", &["-a", "--reflink=auto", &from.to_string_lossy(), &to.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Makes the copy what the repository is. Files that are the same are left alone, with their times.
    fn restore(&self) -> Result<(), Failed> {
        let list = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
        let wanted: BTreeSet<&Path> = list.lines().map(Path::new).filter(|path| root().join(path).is_file()).collect();
        for path in &wanted {
            let failed = |error| Failed(format!("cannot copy {}: {error}", path.display()));
            let bytes = fs::read(root().join(path)).map_err(failed)?;
            let to = self.tree.join(path);
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            make_folder(to.parent().unwrap_or(&self.tree))?;
            fs::write(&to, bytes).map_err(failed)?;
        }
        let surplus = files_below(&self.tree);
        for path in surplus.iter().filter(|path| !path.strip_prefix(&self.tree).is_ok_and(|one| wanted.contains(one))) {
            fs::remove_file(path).map_err(|error| Failed(format!("cannot remove {}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// Applies a patch to the copy.
    fn plant(&self, name: &str) -> Result<(), Failed> {
        let patch = root().join("tests/planted").join(format!("{name}.patch"));
        let mut apply = Command::new("git");
        apply.args(["apply", "--whitespace=nowarn"]).arg(&patch).current_dir(&self.tree);
        // As in a folder of its own: inside a repository it would patch that.
        apply.env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree));
        let status = apply.status().map_err(|error| Failed(format!("cannot run git: {error}")))?;
        if status.success() {
            return Ok(());
        }
        Err(Failed(format!("{} does not fit any more: make it anew", patch.display())))
    }

    /// Builds and runs tests of the host; each that ran, and whether it passed.
    fn test(&self, tests: &[&str], brokers: &str) -> Result<BTreeSet<(String, bool)>, Failed> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--release", "--locked", "--workspace", "--lib", "--no-fail-fast", "--target-dir"]);
        command.arg(&self.target).args(["--", "--exact"]).args(tests).current_dir(&self.tree);
        command.env("ORDAIN_TEST_KAFKA", brokers).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Failed(format!("cannot run cargo: {error}")))?;
        let mut seen = BTreeSet::new();
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let Some((test, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
                    continue;
                };
                seen.insert((test.to_owned(), result == "ok"));
            }
        }
        child.wait().map_err(|error| Failed(format!("cargo was lost: {error}")))?;
        if seen.is_empty() {
            return Err(Failed("no test ran: the copy does not build".into()));
        }
        Ok(seen)
    }
}

fn make_folder(folder: &Path) -> Result<(), Failed> {
    fs::create_dir_all(folder).map_err(|error| Failed(format!("cannot make {}: {error}", folder.display())))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
