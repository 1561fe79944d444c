//! Compiled code on disk. Loading it runs it, so nothing is loaded that this host did not write itself: every file
//! carries an HMAC under a key that only this user can read, over its name and all of its bytes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use xxhash_rust::xxh3::Xxh3;

use crate::message::Digest;

#[cfg(test)]
mod tests;

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
/// Files kept; the ones not written for longest go first.
const FILES_MAX: usize = 64;
/// Largest file that is read back: code is about three times its module.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A folder of compiled code that only this host's own writing is read back from.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    /// Keyed, with nothing authenticated yet.
    mac: Hmac<Sha256>,
    /// Version and settings of the engine, as far as code depends on them.
    engine: u64,
}

impl Cache {
    /// Opens the folder, making it and its key if they are not there.
    pub fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        let mut hash = Xxh3::new();
        engine.precompile_compatibility_hash().hash(&mut hash);
        let mac = Mac::new_from_slice(&key(&dir.join("key"))?).map_err(io::Error::other)?;
        Ok(Self { dir: dir.to_owned(), mac, engine: hash.finish() })
    }

    /// The code of a module, if it was kept by this host and is unchanged.
    pub fn load(&self, engine: &Engine, digest: Digest) -> Option<wasmtime::Module> {
        let name = self.name(digest);
        let path = self.dir.join(&name);
        let file = match read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "kept code is unreadable; the module is compiled anew");
                return None;
            }
        };
        let (mac, code) = file.split_first_chunk::<MAC_BYTES>().unwrap_or((&[0; MAC_BYTES], &[]));
        if self.mac(&name, code).verify_slice(mac).is_err() {
            tracing::warn!(
                path = %path.display(),
                "kept code was not written by this host or was changed; it is removed and the module compiled anew"
            );
            let _ = fs::remove_file(&path); // it is written over in a moment anyway
            return None;
        }
        #[allow(
            unsafe_code,
            reason = "loading code runs it: the check above proves that it is this host's own, unchanged"
        )]
        // SAFETY: `deserialize` asks for unmodified output of this very engine. The HMAC covers all bytes, and the name
        // with the module's digest and the engine's version and settings; the bytes checked are the bytes loaded.
        let loaded = unsafe { wasmtime::Module::deserialize(engine, code) };
        loaded.map_err(|error| tracing::warn!(path = %path.display(), %error, "kept code is not used")).ok()
    }

    /// Keeps the code of a module. Failing to is no error: it is compiled anew next time.
    pub fn store(&self, code: &wasmtime::Module, digest: Digest) {
        let written = code.serialize().map_err(io::Error::other).and_then(|code| {
            let name = self.name(digest);
            let partial = self.dir.join(format!("{name}.{}.tmp", std::process::id()));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(&self.mac(&name, &code).finalize().into_bytes())?;
            file.write_all(&code)?;
            drop(file);
            fs::rename(&partial, self.dir.join(name))?;
            self.prune()
        });
        if let Err(error) = written {
            tracing::warn!(dir = %self.dir.display(), %error, "the compiled module is not kept");
        }
    }

    fn name(&self, digest: Digest) -> String {
        format!("{}-{:016x}.cwasm", digest.hex(), self.engine)
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(b"ordain compiled module\0");
        mac.update(name.as_bytes());
        mac.update(b"\0");
        mac.update(code);
        mac
    }

    /// Removes the oldest files beyond [`FILES_MAX`], and what a crash left half written.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let (path, modified) = (entry.path(), entry.metadata()?.modified()?);
            if path.extension().is_some_and(|end| end == "cwasm" || end == "tmp") {
                files.push((modified, path));
            }
        }
        files.sort_unstable();
        let surplus = files.len().saturating_sub(FILES_MAX);
        for (_, path) in files.drain(..surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Reads the key, or makes one. One that others can read is worth nothing and is replaced, and with it all kept code.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Ok(mut file) = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path) {
        let about = file.metadata()?;
        let mut key = [0; KEY_BYTES];
        let ours = about.is_file() && about.mode() & 0o077 == 0 && about.uid() == rustix::process::geteuid().as_raw();
        if ours && about.len() == KEY_BYTES as u64 && file.read_exact(&mut key).is_ok() {
            return Ok(key);
        }
        tracing::warn!(path = %path.display(), "the key of kept code is damaged or was readable for others: a new one is made");
    }
    let _ = fs::remove_file(path); // if it cannot be removed, the next line says why
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

/// `O_NOFOLLOW`, `O_NONBLOCK`: a link or a pipe in the folder is not ours.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits() as i32;

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("it is no regular file of a sane size"));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
