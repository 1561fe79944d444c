//! Running other programs from the repository's root.

use std::path::PathBuf;
use std::process::Command;

/// Why a command of the repository failed, for the one who called it.
#[derive(Debug)]
pub struct Failed(pub String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// The repository's root.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

fn command(name: &str, args: &[&str]) -> Command {
    let name =
        if name == "cargo" { std::env::var("CARGO").unwrap_or_else(|_| name.to_owned()) } else { name.to_owned() };
    let mut command = Command::new(name);
    command.args(args).current_dir(root());
    command
}

/// Runs a program and lets it talk to the terminal.
///
/// # Errors
/// [`Failed`] if it cannot be started or ends with another code than 0.
pub fn program(name: &str, args: &[&str]) -> Result<(), Failed> {
    program_with(name, args, &[])
}

/// The same with more variables.
///
/// # Errors
/// As [`program`].
pub fn program_with(name: &str, args: &[&str], variables: &[(&str, &str)]) -> Result<(), Failed> {
    let shown = || format!("{name} {}", args.join(" "));
    let status = command(name, args)
        .envs(variables.iter().copied())
        .status()
        .map_err(|error| Failed(format!("cannot run {}: {error}", shown())))?;
    if status.success() { Ok(()) } else { Err(Failed(format!("{} ended with {status}", shown()))) }
}

/// Runs cargo.
///
/// # Errors
/// As [`program`].
pub fn cargo(args: &[&str]) -> Result<(), Failed> {
    program("cargo", args)
}

/// Runs a program and returns what it prints.
///
/// # Errors
/// As [`program`].
pub fn output(name: &str, args: &[&str]) -> Result<String, Failed> {
    let out = command(name, args).output().map_err(|error| Failed(format!("cannot run {name}: {error}")))?;
    if !out.status.success() {
        return Err(Failed(format!("{name} {} ended with {}", args.join(" "), out.status)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A command whose output the caller reads while it runs.
pub fn piped(name: &str, args: &[&str]) -> Command {
    let mut command = command(name, args);
    command.stdout(std::process::Stdio::piped());
    command
}

/// Installs packages of the system where apt can, and says so.
///
/// # Errors
/// As [`program`]: there is no apt, or it may not.
pub fn apt_install(packages: &[&str]) -> Result<(), Failed> {
    println!("set-up: apt-get install {}", packages.join(" "));
    let mut install = vec!["install", "-y", "-qq"];
    install.extend(packages);
    program("apt-get", &["update", "-qq"]).and_then(|()| program("apt-get", &install))
}
