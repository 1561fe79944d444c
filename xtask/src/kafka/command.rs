//! `cargo xtask kafka`: the words of its command line.

use super::{Cluster, Spec, Tool, jars};
use crate::run::Failed;

const HELP: &str = "\
cargo xtask kafka COMMAND                   Apache Kafka without Docker: jars from Maven Central, Java 17 or newer

  up [--brokers 1|3] [--name N]             starts a cluster, or what does not run of it, and waits until it answers;
                                            its last line is bootstrap.servers=127.0.0.1:PORT,...
     [--set KEY=VALUE]...                   more broker properties
     [--secure]                             a second listener with TLS and SCRAM-SHA-512 or PLAIN; the lines before the
                                            last one say where it is and what a client needs
     [--advertise PORT[,PORT]...]           the ports clients are told instead: a proxy's, one for each broker
  down [--name N | --all] [--keep]          stops a cluster and removes its data; with --keep the data stays, and `up`
                                            goes on with it at the same address
  list                                      the clusters of this checkout
  tool NAME [--name N] [ARGS]...            one of Kafka's own tools, told the cluster's address: topics,
                                            console-producer, console-consumer, transactions, configs, consumer-groups,
                                            get-offsets, acls

Without --name the cluster is called default. Data and logs: target/kafka/NAME.
";

const DEFAULT: &str = "default";

/// Runs one of the commands.
///
/// # Errors
/// [`Failed`] with what to do.
pub fn run(words: &[&str]) -> Result<(), Failed> {
    match words {
        ["up", flags @ ..] => up(flags),
        ["down", flags @ ..] => down(flags),
        ["list"] => list(),
        ["tool", name, args @ ..] => tool(name, args),
        [] | ["--help" | "help", ..] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(Failed(format!("unknown command: kafka {}\n\n{HELP}", words.join(" ")))),
    }
}

/// The value after a flag, as `--flag value` or `--flag=value`.
fn value<'a>(flag: &'a str, rest: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, Failed> {
    if let Some((_, value)) = flag.split_once('=') {
        return Ok(value);
    }
    rest.next().ok_or_else(|| Failed(format!("{flag} needs a value\n\n{HELP}")))
}

fn number(flag: &str, value: &str) -> Result<u16, Failed> {
    value.parse().map_err(|_| Failed(format!("{flag}: `{value}` is no number from 0 to 65535")))
}

/// What `up` was asked for.
pub(super) fn spec(flags: &[&str]) -> Result<Spec, Failed> {
    let mut spec = Spec::named(DEFAULT);
    let mut rest = flags.iter().copied();
    while let Some(flag) = rest.next() {
        match flag.split('=').next().unwrap_or(flag) {
            "--name" => value(flag, &mut rest)?.clone_into(&mut spec.name),
            "--brokers" => spec.brokers = number(flag, value(flag, &mut rest)?)?,
            "--secure" => spec.secure = true,
            "--set" => {
                let property = value(flag, &mut rest)?;
                let (key, value) = property
                    .split_once('=')
                    .ok_or_else(|| Failed(format!("--set {property}: write KEY=VALUE, as in a broker's properties")))?;
                spec.settings.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            "--advertise" => {
                let ports = value(flag, &mut rest)?.split(',').map(|port| number(flag, port));
                spec.advertised = ports.collect::<Result<_, _>>()?;
            }
            _ => return Err(Failed(format!("unknown flag: {flag}\n\n{HELP}"))),
        }
    }
    spec.checked()?;
    Ok(spec)
}

fn up(flags: &[&str]) -> Result<(), Failed> {
    let spec = spec(flags)?;
    let cluster = Cluster::up(&spec)?;
    let (name, folder) = (&spec.name, cluster.folder().display());
    if cluster.ran_already {
        println!("cluster {name} runs already; data and logs: {folder}");
    } else {
        println!("cluster {name} runs Apache Kafka {}; data and logs: {folder}", jars::VERSION);
    }
    if let Some(secure) = cluster.secure() {
        println!("secure.bootstrap.servers={}", secure.bootstrap);
        println!("secure.ca={}", secure.ca.display());
        println!("secure.user={}", secure.user);
        println!("secure.password.file={}", secure.password_file.display());
        println!("secure.client.properties={}", secure.client_properties.display());
    }
    println!("bootstrap.servers={}", cluster.bootstrap());
    Ok(())
}

fn down(flags: &[&str]) -> Result<(), Failed> {
    let (mut name, mut all, mut keep) = (DEFAULT.to_owned(), false, false);
    let mut rest = flags.iter().copied();
    while let Some(flag) = rest.next() {
        match flag.split('=').next().unwrap_or(flag) {
            "--name" => value(flag, &mut rest)?.clone_into(&mut name),
            "--all" => all = true,
            "--keep" => keep = true,
            _ => return Err(Failed(format!("unknown flag: {flag}\n\n{HELP}"))),
        }
    }
    let names = if all { Cluster::names() } else { vec![name] };
    for name in names {
        let Some(mut cluster) = Cluster::find(&name) else {
            println!("there is no cluster {name}");
            continue;
        };
        if keep {
            cluster.stop_all()?;
            println!("cluster {name} is down; its data stays in {}", cluster.folder().display());
        } else {
            cluster.remove()?;
            println!("cluster {name} is down and removed");
        }
    }
    Ok(())
}

fn list() -> Result<(), Failed> {
    for name in Cluster::names() {
        let Some(mut cluster) = Cluster::find(&name) else { continue };
        println!("{name}: {} of {} nodes run, {}", cluster.running(), cluster.nodes(), cluster.bootstrap());
    }
    Ok(())
}

fn tool(tool: &str, args: &[&str]) -> Result<(), Failed> {
    let tool = Tool::named(tool)?;
    let (name, args) = match args {
        ["--name", name, args @ ..] => (*name, args),
        args => (DEFAULT, args),
    };
    let Some(cluster) = Cluster::find(name) else {
        return Err(Failed(format!("there is no cluster {name}: `cargo xtask kafka up --name {name}` starts one")));
    };
    let status = tool.command(&cluster.bootstrap()).args(args).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("the tool ended with {status}"))),
        Err(error) => Err(Failed(format!("cannot run java: {error}"))),
    }
}
