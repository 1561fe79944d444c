//! A broker that demands TLS and a password and grants nothing that was not said: the rights that `ordain topics create
//! --print` prints are given as they are printed, and then a host with the settings of docs/kafka.md decides, a sender sends
//! and a reader reads, also after the broker was started anew. Whoever comes without the certificate, the password or
//! the rights is told what is missing.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use xtask::kafka::{AUTHORIZER, Cluster, Secure, Spec, Tool};

use super::console::{launch, output, send_lines, stop};
use crate::client::Client;
use crate::daemon::{Launch, eventually};
use crate::field::{Counts, Field};
use crate::fleet::{brokers, knows_accounts};

/// Time for something that takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
const PREFIX: &str = "bank.";
/// Programs of Kafka's that run at once: each is a Java of its own.
const AT_ONCE: usize = 4;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    // A broker of its own is started, where brokers are wanted at all.
    if brokers(field).is_none() {
        return Ok(Counts::new());
    }
    let settings = AUTHORIZER.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let spec = Spec { secure: true, settings, ..Spec::named(&format!("secure-{}", std::process::id())) };
    let mut cluster = Cluster::private(&spec).map_err(failed)?;
    let secure = cluster.secure().context("a secure listener")?;
    let host = secure_launch(field, "host", &secure, Wrong::Nothing)?;
    let refused = refusals(field, &secure, &host).await?;
    let lines = grant(&host, &secure)?;
    let running = host.start().await?;
    knows_accounts(running.http()).await?;
    decides(running.http(), "o-1", &json!({"Open": {"owner": "ada", "overdraft_limit": 0}}), 1).await?;
    // The settings of the listener and its users outlive the broker's process.
    cluster.stop(1).and_then(|()| cluster.start(1)).and_then(|()| cluster.wait_ready()).map_err(failed)?;
    decides(running.http(), "d-1", &json!({"Deposit": {"amount": 5}}), 2).await?;
    others_send_and_read(&secure)?;
    let head = || async {
        let state = Client::new(running.http()).get("/v1/account/acc-1").await.ok()?.json().ok()?;
        (state["version"] == 3).then_some(())
    };
    eventually("the sender's command being decided", PATIENCE, head).await?;
    stop(running).await?;
    let later = secure_launch(field, "later", &secure, Wrong::Nothing)?;
    for right in ["--transactional-id", "--group"] {
        without(right, &later, &secure).await?;
    }
    cluster.remove().map_err(failed)?;
    Ok(Counts::from([("granted", lines), ("refused", refused + 2)]))
}

fn failed(failed: xtask::run::Failed) -> anyhow::Error {
    anyhow::anyhow!(failed.0)
}

/// What a host does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Password,
    Authority,
}

/// A host with the settings of docs/kafka.md; the password comes from the environment.
fn secure_launch(field: &Field, name: &str, secure: &Secure, wrong: Wrong) -> anyhow::Result<Launch> {
    let mut log =
        format!("brokers = \"{}\"\nprefix = \"{PREFIX}\"\nreplication = 1\n[log.properties]\n", secure.bootstrap);
    log.push_str("\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanisms\" = \"SCRAM-SHA-512\"\n");
    log.push_str(&format!("\"sasl.username\" = \"{}\"\n", secure.user));
    if wrong != Wrong::Authority {
        log.push_str(&format!("\"ssl.ca.location\" = \"{}\"\n", secure.ca.display()));
    }
    let mut password = std::fs::read_to_string(&secure.password_file)?;
    if wrong == Wrong::Password {
        password.push('!');
    }
    let mut launch = launch(field, name, &log)?;
    launch.environment = vec![("ORDAIN_LOG__PROPERTIES__SASL__PASSWORD".to_owned(), password)];
    Ok(launch)
}

/// Hosts that lack something say what, before any right is granted. Returns how many there were.
async fn refusals(field: &Field, secure: &Secure, without_rights: &Launch) -> anyhow::Result<u64> {
    let password = secure_launch(field, "password", secure, Wrong::Password)?;
    let authority = secure_launch(field, "authority", secure, Wrong::Authority)?;
    // All at once: each takes its time until it gives up.
    let (password, authority, rights) = tokio::join!(said(&password), said(&authority), said(without_rights));
    for (what, said, words) in [
        ("a wrong password", password?, &["Authentication failed", "[log.properties]"][..]),
        ("no authority", authority?, &["ssl.ca.location", "[log.properties]"][..]),
        ("no rights", rights?, &["uthoriz", "ordain topics create --print"][..]),
    ] {
        for word in words {
            ensure!(said.contains(word), "with {what} a host says nothing of {word:?}:\n{said}");
        }
    }
    Ok(3)
}

/// What a host says that does not start.
async fn said(launch: &Launch) -> anyhow::Result<String> {
    launch.begin()?.refuses().await
}

/// Takes a right away; a host that comes then says which one it lacks, whatever else it can do.
async fn without(right: &str, later: &Launch, secure: &Secure) -> anyhow::Result<()> {
    let granted = printed(later)?;
    let line = granted.iter().find(|line| line.contains(right)).context("the line of that right")?;
    output(tool(&line.replace(" --add ", " --remove "), secure)?.arg("--force"))?;
    let starting = later.begin()?;
    let named = || async {
        let said = std::fs::read_to_string(&later.output).ok()?;
        (said.contains("uthoriz") && said.contains("ordain topics create --print")).then_some(())
    };
    let heard = eventually(&format!("a host without {right} saying so"), PATIENCE, named).await;
    let ready = starting.kill()?;
    heard.with_context(|| std::fs::read_to_string(&later.output).unwrap_or_default())?;
    ensure!(!ready, "a host without {right} became ready");
    std::fs::remove_file(&later.output)?;
    Ok(())
}

/// The lines that the daemon's program prints, without comments.
fn printed(host: &Launch) -> anyhow::Result<Vec<String>> {
    let mut print = Command::new(&host.binary);
    // A variable of the tests, which looks like a setting to the program.
    print.env_remove("ORDAIN_TEST_KAFKA");
    print.args(["topics", "create", "account", "--print"]).args(&host.flags);
    let printed = output(print.envs(host.environment.iter().cloned()))?;
    Ok(printed.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// One of them as Kafka's program, told who may do it.
fn tool(line: &str, secure: &Secure) -> anyhow::Result<Command> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [script, "--bootstrap-server", brokers, rest @ ..] = &words[..] else { bail!("printed: {line}") };
    let name = script.strip_prefix("kafka-").and_then(|name| name.strip_suffix(".sh")).context("a script")?;
    let mut tool = Tool::named(name).map_err(failed)?.command(brokers);
    tool.args(rest).arg("--command-config").arg(secure.properties_of("admin"));
    Ok(tool)
}

/// Runs each of them as it is printed. Returns how many there were.
fn grant(host: &Launch, secure: &Secure) -> anyhow::Result<u64> {
    let lines = printed(host)?;
    for together in lines.chunks(AT_ONCE) {
        let mut tools = Vec::new();
        for line in together {
            let mut tool = tool(line, secure)?;
            tools.push((line, tool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?));
        }
        for (line, tool) in tools {
            let ended = tool.wait_with_output()?;
            let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
            ensure!(ended.status.success() && !said.contains("Exception"), "{line}\n{said}");
        }
    }
    Ok(lines.len() as u64)
}

/// Sends a command through the host until it has an outcome, which must be `accepted` at a version.
async fn decides(host: SocketAddr, id: &str, command: &Value, version: u64) -> anyhow::Result<()> {
    let body = Bytes::from(command.to_string());
    let answer = eventually("an outcome", PATIENCE, || async {
        let headers = [("idempotency-key", id)];
        let answer = Client::new(host).post("/v1/account/acc-1/commands", &headers, body.clone()).await.ok()?;
        (!matches!(answer.status, 429 | 503 | 504)).then_some(answer)
    });
    let outcome = answer.await?.json()?;
    ensure!(outcome["outcome"] == "accepted" && outcome["version"] == version, "{id}: {outcome}");
    Ok(())
}

/// The users that the printed lines name do with Kafka's tools what they may, and not what they may not.
fn others_send_and_read(secure: &Secure) -> anyhow::Result<()> {
    let (commands, events) = (format!("{PREFIX}account.commands"), format!("{PREFIX}account.events"));
    let (sender, reader) = (secure.properties_of("sender"), secure.properties_of("reader"));
    let line = "ce_id:d-2\tacc-1\t{\"Deposit\":{\"amount\":5}}\n";
    send_lines(&secure.bootstrap, &commands, Some(&sender), line)?;
    let read = |topic: &str| {
        let mut tool = Tool::ConsoleConsumer.command(&secure.bootstrap);
        // Groups are granted by nobody: a reader that has none names its partitions.
        let partition = ordain_checker::murmur::partition("acc-1", 8).to_string();
        tool.args([
            "--topic",
            topic,
            "--partition",
            &partition,
            "--offset",
            "earliest",
            "--property",
            "print.headers=true",
        ]);
        tool.args(["--isolation-level", "read_committed", "--max-messages", "1", "--command-config"]).arg(&reader);
        tool
    };
    let printed = output(&mut read(&events))?;
    ensure!(printed.contains("ce_type:"), "the reader read:\n{printed}");
    // Whatever it ends with, it read nothing and said why.
    let forbidden = read(&commands).args(["--timeout-ms", "20000"]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&forbidden.stderr);
    ensure!(!String::from_utf8_lossy(&forbidden.stdout).contains("Deposit"), "the reader may read commands");
    ensure!(said.contains("Not authorized"), "the reader may read commands: {said}");
    Ok(())
}
