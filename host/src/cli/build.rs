//! `ordain build`: from the author's crate to the one file the daemon takes.
//!
//! The crate is compiled twice: once as the module, and once, fast and aside, with the SDK's `schemas` feature. The
//! second one is asked for its JSON Schemas, which are attached to the first one as a custom section, so that the code
//! that makes them is not in the module.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ordain_sdk::contract::SECTION_SCHEMAS;
use serde::Serialize;
use wasm_encoder::Section;

use crate::decider::describe::Description;
use crate::decider::seal;
use crate::message::Digest;
use package::Package;
use toolchain::Toolchain;

mod package;
mod toolchain;

#[cfg(test)]
mod tests;

/// The only target a module is compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Compiles a module.
#[derive(Debug, Clone, clap::Args)]
pub struct BuildArgs {
    /// Folder of the module's crate
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub path: PathBuf,
    /// Features of the crate, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    pub features: Vec<String>,
    /// Where the module goes; default: target/ordain/NAME.wasm in the crate's target folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How to build a module.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder of the crate.
    pub path: PathBuf,
    /// Features of the crate.
    pub features: Vec<String>,
    /// Where the module goes; `None` = `target/ordain/NAME.wasm`.
    pub out: Option<PathBuf>,
    /// Shows only what went wrong.
    pub quiet: bool,
    /// Cargo's target folder; `None` = the crate's own.
    pub target_dir: Option<PathBuf>,
}

/// A module that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The file.
    pub path: PathBuf,
    /// Its identity.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// The crate's name.
    pub package: String,
    /// What its rules are for.
    pub aggregate_type: String,
    /// The version of its state.
    pub state_version: u32,
}

/// Runs a module that was just built and returns what it says of itself; [`crate::decider::describe::describe`].
pub type Describe = dyn Fn(&[u8]) -> Result<Description>;

/// `ordain build`.
///
/// # Errors
/// Those of [`build_module`].
pub fn run(args: BuildArgs, describe: &Describe) -> Result<Built> {
    let options = Options { path: args.path, features: args.features, out: args.out, ..Options::default() };
    build_module(&options, describe)
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module   {}", self.path.display())
            .and_then(|()| writeln!(f, "type     {} (state version {})", self.aggregate_type, self.state_version))
            .and_then(|()| writeln!(f, "digest   {}", self.digest))
            .and_then(|()| write!(f, "size     {} KB", self.bytes.div_ceil(1000)))
    }
}

/// Builds a module. What the compiler says goes to standard error as it comes.
///
/// # Errors
/// There is no such crate, it is no module, it does not compile, the Wasm target is missing and could not be set up, or
/// the module does not describe itself. The message says what to do.
pub fn build_module(options: &Options, describe: &Describe) -> Result<Built> {
    let package = Package::find(&options.path)?;
    let toolchain = Toolchain::ready(package.folder())?;
    let home = options.target_dir.as_ref().unwrap_or(&package.target_directory).join("ordain");
    fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
    // Two builds of one crate with different features would take each other's files.
    let lock_path = home.join("build.lock");
    let lock = File::create(&lock_path).with_context(|| format!("opening {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;

    let module = compile(&package, &toolchain, options, Purpose::Module, &home)?;
    let description = describe(&compile(&package, &toolchain, options, Purpose::Schemas, &home)?)
        .with_context(|| format!("{} compiles, but is no module that works", package.name))?;
    let schemas = description.schemas.context("the build for the schemas has none: the SDK is not the one expected")?;
    // Sealed last, over everything else: a copy cut between two sections would be a valid module too.
    let module = seal::attach(&with_section(module, SECTION_SCHEMAS, schemas.as_bytes()));

    let path = options.out.clone().unwrap_or_else(|| home.join(format!("{}.wasm", package.name)));
    put(&path, &module)?;
    Ok(Built {
        digest: Digest::of(&module),
        bytes: module.len() as u64,
        path,
        package: package.name,
        aggregate_type: description.manifest.aggregate_type,
        state_version: description.manifest.state_version,
    })
}

/// What a compilation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To run for a long time.
    Module,
    /// To be asked once: compiled fast, and with the schemas in it.
    Schemas,
}

impl Purpose {
    /// Folder under `target/ordain`: two of them, so that neither compilation throws away the other one's parts.
    fn folder(self) -> &'static str {
        match self {
            Self::Module => "build",
            Self::Schemas => "build-schemas",
        }
    }

    /// The release profile, whatever the crate's own workspace says. Names are kept for the traces of traps, and an
    /// overflow in the author's arithmetic traps instead of wrapping.
    fn profile(self) -> &'static [&'static str] {
        match self {
            Self::Module => &[
                "opt-level=3",
                "lto=\"fat\"",
                "codegen-units=1",
                "debug=0",
                "strip=\"debuginfo\"",
                "panic=\"abort\"",
                "overflow-checks=true",
                "incremental=false",
            ],
            Self::Schemas => &[
                "opt-level=1",
                "lto=\"off\"",
                "codegen-units=16",
                "debug=0",
                "strip=\"debuginfo\"",
                "panic=\"abort\"",
                "overflow-checks=true",
                "incremental=true",
            ],
        }
    }
}

/// The arguments of the one cargo command that builds `package`.
fn cargo_arguments(package: &Package, options: &Options, purpose: Purpose, target_dir: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["build", "--release", "--lib", "--target", TARGET].map(OsString::from).into();
    arguments.extend(["--manifest-path".into(), package.manifest.clone().into(), "--target-dir".into()]);
    arguments.push(target_dir.into());
    let mut features = options.features.clone();
    if purpose == Purpose::Schemas {
        features.push(format!("{}/schemas", package.sdk_name));
        arguments.push("--quiet".into());
    } else if options.quiet {
        arguments.push("--quiet".into());
    }
    if !features.is_empty() {
        arguments.extend(["--features".into(), features.join(",").into()]);
    }
    for setting in purpose.profile() {
        arguments.extend(["--config".into(), format!("profile.release.{setting}").into()]);
    }
    arguments.extend(["--config".into(), package.path_free_flags().into()]);
    arguments
}

/// Compiles the crate for one purpose and returns the bytes.
fn compile(
    package: &Package,
    toolchain: &Toolchain,
    options: &Options,
    purpose: Purpose,
    home: &Path,
) -> Result<Vec<u8>> {
    let target_dir = home.join(purpose.folder());
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(cargo_arguments(package, options, purpose, &target_dir));
    cargo.current_dir(package.folder());
    toolchain.apply(&mut cargo);
    let status = cargo.status().context("running cargo: is Rust installed? See https://rustup.rs")?;
    ensure!(status.success(), "{} does not compile: see above", package.name);
    let file = target_dir.join(TARGET).join("release").join(format!("{}.wasm", package.library));
    fs::read(&file).with_context(|| format!("reading the compiled module {}", file.display()))
}

/// Attaches a custom section.
fn with_section(mut module: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    wasm_encoder::CustomSection { name: name.into(), data: data.into() }.append_to(&mut module);
    module
}

/// Writes the file beside its place and renames it, so that whoever watches the place never sees half of it.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some(name) = path.file_name() else { bail!("{} is no name of a file", path.display()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let mut hidden = OsString::from(format!(".{}.", std::process::id()));
    hidden.push(name);
    hidden.push(".tmp");
    let hidden = folder.join(hidden);
    fs::write(&hidden, bytes).with_context(|| format!("writing {}", hidden.display()))?;
    fs::rename(&hidden, path).with_context(|| format!("putting the module to {}", path.display()))
}
