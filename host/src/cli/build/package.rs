//! Which crate is meant, and what a module's crate must be.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::toolchain;

/// Name of the SDK's crate.
const SDK: &str = "ordain-sdk";

/// A crate that can become a module.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest: PathBuf,
    /// The library's name: the stem of the compiled file.
    pub(super) library: String,
    /// What the crate calls the SDK.
    pub(super) sdk_name: String,
    pub(super) target_directory: PathBuf,
    /// Folders outside of the workspace whose sources may be named in the module, and what to call them there.
    folders: Vec<(PathBuf, String)>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
    dependencies: Vec<MetadataDependency>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    name: String,
    crate_types: Vec<String>,
}

#[derive(Deserialize)]
struct MetadataDependency {
    name: String,
    rename: Option<String>,
    /// Set if it lies in a folder of this machine.
    path: Option<PathBuf>,
}

impl Package {
    /// The crate in `folder`, or in the nearest folder above that has one.
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let start = folder.canonicalize().with_context(|| format!("looking for a crate in {}", folder.display()))?;
        let Some(home) = start.ancestors().find(|folder| folder.join("Cargo.toml").is_file()) else {
            bail!("there is no crate in {}: `ordain new NAME` makes one, `--path DIR` points to one", start.display());
        };
        let manifest = home.join("Cargo.toml");
        let output = Command::new(toolchain::cargo())
            .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
            .arg(&manifest)
            .current_dir(home)
            .output()
            .context("running cargo: is Rust installed? See https://rustup.rs")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        let metadata = serde_json::from_slice(&output.stdout).context("reading what `cargo metadata` says")?;
        Self::pick(metadata, manifest)
    }

    fn pick(metadata: Metadata, manifest: PathBuf) -> Result<Self> {
        let Metadata { packages, target_directory, workspace_root } = metadata;
        let found = packages.into_iter().find(|package| package.manifest_path == manifest);
        let Some(package) = found else {
            bail!("{} is a workspace, not a crate: say which one with `--path DIR`", manifest.display());
        };
        let library = package.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"));
        let Some(library) = library else {
            bail!(
                "{} would not become a module: add this to {}\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n",
                package.name,
                manifest.display()
            );
        };
        let sdk = package.dependencies.iter().find(|dependency| dependency.name == SDK);
        let Some(sdk) = sdk else {
            bail!("{} does not use {SDK}: add it to [dependencies] in {}", package.name, manifest.display());
        };
        // Crates of the workspace are compiled by relative paths. More flags than needed would make crates that share a
        // target folder compile their dependencies again and again.
        let outside = package.dependencies.iter().filter_map(|other| {
            let path = other.path.as_ref().filter(|path| !path.starts_with(&workspace_root))?;
            Some((path.clone(), other.name.clone()))
        });
        let folders = outside.collect();
        Ok(Self {
            folders,
            library: library.name.replace('-', "_"),
            sdk_name: sdk.rename.clone().unwrap_or_else(|| SDK.to_owned()),
            name: package.name,
            manifest,
            target_directory,
        })
    }

    /// A cargo setting that keeps the paths of this machine out of the module: panics name files, and the same sources
    /// should give the same bytes in any folder.
    pub(super) fn path_free_flags(&self) -> String {
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
        let cargo_home = cargo_home.map(|home| (home, "cargo".to_owned()));
        let hidden = cargo_home.iter().chain(&self.folders);
        let flags: Vec<_> =
            hidden.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect();
        format!("target.{}.rustflags={}", super::TARGET, serde_json::json!(flags))
    }

    /// The crate's folder: tools run there, so that its own choice of toolchain and its own cargo settings hold.
    pub(super) fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new("."))
    }
}
