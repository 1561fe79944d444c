//! `ordain new`: a crate whose tests pass and whose module runs.
//!
//! What it makes is `examples/counter` under another name: the example is compiled and tested with everything else, so
//! the template cannot rot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::message::AggregateType;

#[cfg(test)]
mod tests;

const EXAMPLE: &str = include_str!("../../../examples/counter/src/lib.rs");
const LINTS: &str = include_str!("../../../examples/counter/clippy.toml");
const SDK: &str = "ordain-sdk";
/// Where the SDK lies in a checkout.
const SDK_FOLDER: &str = "guest-sdk";

/// Makes the crate of a new module.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// Name of the aggregate type: a-z, 0-9 and '-', a letter first
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Folder to make; default: ./NAME
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Where the SDK is: a folder, or a version in a registry; default: the checkout this program is from
    #[arg(long, value_name = "PATH|VERSION")]
    pub sdk: Option<String>,
}

/// How the new crate depends on the SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sdk {
    /// Canonical path of its folder.
    Folder(PathBuf),
    /// Requirement on its version.
    Version(String),
}

/// `ordain new`; returns the new folder.
///
/// # Errors
/// The name is not fit for an aggregate type or a crate, the folder exists, or there is no SDK where it should be.
pub fn run(args: &NewArgs) -> Result<PathBuf> {
    AggregateType::parse(&args.name)?;
    ensure!(is_crate_name(&args.name), "a crate cannot be called `{}`: choose another name", args.name);
    let sdk = match &args.sdk {
        Some(given) => Sdk::parse(given)?,
        None => Sdk::nearby()?,
    };
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    ensure!(
        !folder.exists(),
        "{} is there already: remove it, or choose another folder with `--path DIR`",
        folder.display()
    );
    fs::create_dir_all(folder.join("src")).with_context(|| format!("making the folder {}", folder.display()))?;
    for (name, text) in files(&args.name, &sdk) {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    // The versions that the SDK was tested with, and that are on this machine already.
    if let Sdk::Folder(sdk) = &sdk {
        let _ = fs::copy(sdk.join("../Cargo.lock"), folder.join("Cargo.lock")); // without, cargo makes one
    }
    Ok(folder)
}

/// What to do next, for people.
pub fn next_steps(folder: &Path) -> String {
    format!(
        "made {0}: the rules are in {0}/src/lib.rs\n\n    cd {0}\n    cargo test      # the rules, natively\n    ordain dev      \
         # build, run, and swap on every save",
        folder.display()
    )
}

/// The files of the new crate.
fn files(name: &str, sdk: &Sdk) -> [(&'static str, String); 4] {
    [
        ("Cargo.toml", manifest(name, sdk)),
        ("src/lib.rs", source(name)),
        ("clippy.toml", LINTS.to_owned()),
        (".gitignore", "/target\n".to_owned()),
    ]
}

fn manifest(name: &str, sdk: &Sdk) -> String {
    let sdk = match sdk {
        Sdk::Folder(path) => format!("{{ path = {} }}", toml_text(&path.display().to_string())),
        Sdk::Version(version) => toml_text(version),
    };
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
# cdylib: the module; rlib: its tests, and rules that run natively.
crate-type = ["cdylib", "rlib"]

[dependencies]
ordain-sdk = {sdk}
serde = {{ version = "1", features = ["derive"] }}

[lints.clippy]
# See clippy.toml: what would make two machines decide differently.
disallowed_types = "deny"
disallowed_methods = "deny"

# On its own, wherever the folder is.
[workspace]
"#
    )
}

/// A TOML string.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The example's source with another name.
fn source(name: &str) -> String {
    let state = type_name(name);
    let lines = EXAMPLE.lines().filter(|line| !line.starts_with("#![allow(missing_docs"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let (_, rest) = text.split_once('\n').unwrap_or_default();
    let head = format!("//! The rules of `{name}`. They start as a counter with a limit: make them yours.\n");
    (head + rest).replace("Counter", &state).replace("\"counter\"", &format!("\"{name}\""))
}

/// `stock-item` → `StockItem`; never a name that the source already uses.
fn type_name(name: &str) -> String {
    let words = name.split('-').filter(|word| !word.is_empty());
    let camel: String = words.flat_map(|word| [word[..1].to_uppercase(), word[1..].to_owned()]).collect();
    let taken = ["Command", "Event", "Rejection", "Decider", "Context", "Serialize", "Deserialize", "JsonSchema"];
    let prelude = ["Vec", "Result", "Option", "Ok", "Err", "Some", "None", "Default", "Debug", "PartialEq", "Self"];
    if taken.contains(&camel.as_str()) || prelude.contains(&camel.as_str()) { format!("{camel}State") } else { camel }
}

/// Whether cargo takes it: no keyword, no name of the standard library.
fn is_crate_name(name: &str) -> bool {
    const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false \
        final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct \
        super trait true try type typeof unsafe unsized use virtual where while yield";
    const LIBRARIES: &str =
        "alloc core proc-macro proc_macro std test serde ordain-sdk build deps examples incremental";
    !KEYWORDS.split(' ').chain(LIBRARIES.split(' ')).any(|taken| taken == name)
}

impl Sdk {
    /// A version starts with a digit or a comparison, everything else is a folder.
    fn parse(given: &str) -> Result<Self> {
        if given.starts_with(|c: char| c.is_ascii_digit() || "^~=<>*".contains(c)) {
            return Ok(Self::Version(given.to_owned()));
        }
        let folder = Path::new(given);
        let found = [folder.to_owned(), folder.join(SDK_FOLDER)].into_iter().find(|folder| is_sdk(folder));
        match found {
            Some(folder) => Ok(Self::Folder(folder.canonicalize()?)),
            None => bail!("there is no {SDK} in {given}: give its folder, or a version like 0.1"),
        }
    }

    /// The SDK of the checkout that this program was built in or lies in.
    fn nearby() -> Result<Self> {
        let program = std::env::current_exe().ok();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let above = program.iter().flat_map(|path| path.ancestors()).chain(sources.ancestors());
        match above.map(|folder| folder.join(SDK_FOLDER)).find(|folder| is_sdk(folder)) {
            Some(folder) => Ok(Self::Folder(folder.canonicalize()?)),
            None => bail!(
                "the SDK is not beside this program any more: say where it is with `--sdk PATH`, or which version from a \
                 registry with `--sdk {}`",
                env!("CARGO_PKG_VERSION")
            ),
        }
    }
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == format!("name = \"{SDK}\""))
}
