//! `cargo xtask bench`: builds what is measured, and starts what it is measured on.

use std::path::Path;

use xtask::kafka::{Cluster, Spec};
use xtask::run::{Failed, apt_install, output, program, root};

/// The peer on Kafka Streams, below `target`.
const PEER: &str = "target/kafka-streams-peer";

/// Figures of the system on its own log.
///
/// # Errors
/// [`Failed`] if something cannot be built or measured.
pub fn core(guests: &str, rest: &[&str]) -> Result<(), Failed> {
    let ledger = format!("{guests}/ledger.wasm");
    program("target/release/ordain", &["build", "--path", "benches/ledger", "--out", &ledger])?;
    reports()?;
    let mut args = vec!["core", "--report", "target/reports/bench-core.json"];
    args.extend(rest);
    program("target/release/ordain-benches", &args)
}

/// Figures of the system on Kafka, beside Kafka Streams, on a broker of their own.
///
/// # Errors
/// As [`core`].
pub fn kafka(rest: &[&str]) -> Result<(), Failed> {
    let broker = Cluster::private(&Spec::named("bench"))?;
    peer()?;
    reports()?;
    let (bootstrap, pid) = (broker.bootstrap(), pid(&broker)?);
    let mut args = vec!["kafka", "--report", "target/reports/bench-kafka.json", "--peer", PEER];
    args.extend(["--brokers", &bootstrap, "--broker-pid", &pid]);
    args.extend(rest);
    program("target/release/ordain-benches", &args)
}

/// How long lanes are silent when they move between hosts, on a broker of their own.
///
/// # Errors
/// As [`core`].
pub fn moves(rest: &[&str]) -> Result<(), Failed> {
    let broker = Cluster::private(&Spec::named("bench-moves"))?;
    reports()?;
    let bootstrap = broker.bootstrap();
    let mut args = vec!["moves", "--brokers", &bootstrap, "--report", "target/reports/bench-moves.json"];
    args.extend(rest);
    program("target/release/ordain-benches", &args)
}

fn reports() -> Result<(), Failed> {
    std::fs::create_dir_all("target/reports").map_err(|error| Failed(format!("cannot make target/reports: {error}")))
}

fn pid(broker: &Cluster) -> Result<String, Failed> {
    let file = broker.folder().join("node-1/pid");
    let text = std::fs::read_to_string(&file);
    text.map(|pid| pid.trim().to_owned()).map_err(|error| Failed(format!("cannot read {}: {error}", file.display())))
}

/// Builds the peer, unless it is newer than its sources.
fn peer() -> Result<(), Failed> {
    let source = root().join("benches/kafka-streams-peer");
    let jar = root().join(PEER).join("peer.jar");
    if newest(&jar).is_some_and(|built| newest(&source).is_some_and(|written| built > written)) {
        return Ok(());
    }
    if output("javac", &["-version"]).is_err() {
        println!("set-up: the peer on Kafka Streams is compiled, and there is no Java compiler");
        apt_install(&["openjdk-17-jdk-headless"])?;
    }
    println!("building the peer on Kafka Streams; the first time its jars are fetched from Maven Central");
    let cannot = |error: std::io::Error| Failed(format!("cannot write {PEER}: {error}"));
    let out = root().join(PEER);
    if out.exists() {
        std::fs::remove_dir_all(&out).map_err(cannot)?;
    }
    let pom = source.join("pom.xml");
    let (pom, to) = (pom.to_string_lossy(), format!("-Dout={}", out.display()));
    let libs = format!("-DoutputDirectory={}", out.join("libs").display());
    let copy = ["dependency:copy-dependencies", "-DincludeScope=runtime"];
    program("mvn", &["-q", "-B", "-f", &pom, &to, &libs, "package", copy[0], copy[1]])
}

/// When a file, or the newest one below a folder, was changed.
fn newest(path: &Path) -> Option<std::time::SystemTime> {
    if !path.is_dir() {
        return path.metadata().ok()?.modified().ok();
    }
    std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}
