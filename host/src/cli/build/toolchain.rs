//! A Rust that can compile for Wasm: the installed one, the installed one after `rustup target add`, or the system's
//! with the standard library's source.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::TARGET;
use crate::cli::say;

/// Where Debian's package `rustc-web` puts a compiler that `rust-web-src` gives the library's source to.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// How cargo has to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Toolchain {
    /// Arguments beside the usual ones.
    arguments: Vec<OsString>,
    /// Variables beside the usual ones.
    variables: Vec<(&'static str, OsString)>,
}

/// The cargo to call: the one that called us, if one did.
pub(super) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

impl Toolchain {
    /// Finds the one for the crate in `folder`, sets it up if that takes one command, and says so.
    ///
    /// # Errors
    /// There is none: the message has the commands that install one.
    pub(super) fn ready(folder: &Path) -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let home =
            sysroot(&rustc, folder).context("asking rustc where it lives: is Rust installed? See https://rustup.rs")?;
        if has_target(&home) {
            return Ok(Self::default());
        }
        say(format_args!("the target {TARGET} is missing; running `rustup target add {TARGET}`"));
        let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).status();
        if added.is_ok_and(|status| status.success()) && has_target(&home) {
            return Ok(Self::default());
        }
        let system = sysroot(SYSTEM_RUSTC.as_ref(), folder).map(|home| (OsString::from(SYSTEM_RUSTC), home));
        let with_source =
            [Some((rustc, home.clone())), system].into_iter().flatten().find(|(_, home)| has_source(home));
        match with_source {
            Some((rustc, _)) => {
                let name = rustc.display();
                say(format_args!(
                    "that failed; compiling the standard library with {name} instead (once, about a minute)"
                ));
                Ok(Self::with_source(&rustc, &home))
            }
            None => bail!("{}", instructions(&home)),
        }
    }

    /// A compiler without the target, but with the source of the standard library. Its own nightly switch is needed
    /// for that; `home` is the usual toolchain, whose linker is used.
    fn with_source(rustc: &OsStr, home: &Path) -> Self {
        Self {
            arguments: vec!["-Zbuild-std=std,panic_abort".into()],
            variables: vec![
                ("RUSTC", rustc.into()),
                ("RUSTC_BOOTSTRAP", "1".into()),
                ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker(home).into()),
            ],
        }
    }

    /// Makes a cargo command use it. Flags meant for programs of this machine are kept away from modules.
    pub(super) fn apply(&self, cargo: &mut Command) {
        cargo.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
            cargo.env_remove(name);
        }
    }
}

fn sysroot(rustc: &OsStr, folder: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).current_dir(folder).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim_end()))
}

fn has_target(sysroot: &Path) -> bool {
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    library.read_dir().is_ok_and(|mut files| files.next().is_some())
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}

/// The linker for Wasm that comes with every toolchain of rustup, or whatever has its name.
fn linker(home: &Path) -> PathBuf {
    let hosts = home.join("lib/rustlib").read_dir().into_iter().flatten().flatten();
    let linker = hosts.map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file());
    linker.unwrap_or_else(|| "rust-lld".into())
}

/// What to type when nothing here worked.
fn instructions(home: &Path) -> String {
    format!(
        "Rust cannot compile for {TARGET} here, and `rustup target add {TARGET}` failed.\n\
         With access to the network of rust-lang.org, run it again. Without, on Debian, this gives a compiler that can, \
         and `ordain build` then uses it by itself:\n\n    \
         apt-get install rustc-web rust-web-src\n\n\
         By hand it is, in the folder of the crate:\n\n    \
         RUSTC={SYSTEM_RUSTC} RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER={} \\\n    \
         cargo build --release --lib --target {TARGET} -Zbuild-std=std,panic_abort",
        linker(home).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_target_is_there_when_its_library_is() {
        let home = tempfile::tempdir().unwrap();
        assert!(!has_target(home.path()));
        let library = home.path().join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&library).unwrap();
        assert!(!has_target(home.path()));
        fs::write(library.join("libstd.rlib"), "").unwrap();
        assert!(has_target(home.path()));
    }

    #[test]
    fn the_way_out_is_printed_as_commands() {
        let home = tempfile::tempdir().unwrap();
        assert!(instructions(home.path()).contains("LINKER=rust-lld \\"));
        let bin = home.path().join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("rust-lld"), "").unwrap();
        let text = instructions(home.path());
        assert!(text.contains("apt-get install rustc-web rust-web-src\n"));
        assert!(text.contains(&format!("LINKER={} \\\n", bin.join("rust-lld").display())), "{text}");
        let toolchain = Toolchain::with_source(SYSTEM_RUSTC.as_ref(), home.path());
        assert_eq!(toolchain.arguments, ["-Zbuild-std=std,panic_abort"]);
    }
}
