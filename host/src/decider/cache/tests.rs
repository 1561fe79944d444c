use super::*;
use crate::decider::Limits;
use crate::decider::sandbox::Sandbox;
use crate::decider::testing::{Wat, honest};

fn file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut code: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "cwasm")).collect();
    assert_eq!(code.len(), 1);
    code.remove(0)
}

/// Compiles into a fresh cache and opens it again, as after a restart.
fn kept(dir: &Path, wat: &Wat) -> (Sandbox, Cache, Digest) {
    let sandbox = Sandbox::new(Limits::default(), Some(dir)).unwrap();
    let digest = sandbox.compile(&wat.bytes()).unwrap().digest();
    let cache = Cache::open(dir, sandbox.engine()).unwrap();
    (sandbox, cache, digest)
}

#[test]
fn kept_code_is_used_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, cache, digest) = kept(dir.path(), &honest());
    assert!(cache.load(sandbox.engine(), digest).is_some());
    assert!(cache.load(sandbox.engine(), Digest([0; 32])).is_none());
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(dir.path().join("key")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file(dir.path())).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn changed_code_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, cache, digest) = kept(dir.path(), &honest());
    let path = file(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 200).chain([0, MAC_BYTES - 1, MAC_BYTES, whole.len() - 1]) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&path, &changed).unwrap();
        assert!(cache.load(sandbox.engine(), digest).is_none(), "changed at {at}");
        assert!(!path.exists(), "what is not ours is removed");
    }
    for length in [0, 1, MAC_BYTES - 1, MAC_BYTES, MAC_BYTES + 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(cache.load(sandbox.engine(), digest).is_none(), "cut at {length}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(cache.load(sandbox.engine(), digest).is_none(), "longer");
    // And it compiles anew, and is kept again.
    sandbox.compile(&honest().bytes()).unwrap();
    assert!(cache.load(sandbox.engine(), digest).is_some());
}

#[test]
fn the_code_of_one_module_is_not_that_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, cache, digest) = kept(dir.path(), &honest());
    let mine = fs::read(file(dir.path())).unwrap();
    let other = Digest([7; 32]);
    fs::write(dir.path().join(cache.name(other)), mine).unwrap();
    assert!(cache.load(sandbox.engine(), other).is_none());
    assert!(cache.load(sandbox.engine(), digest).is_some());
}

#[test]
fn code_of_another_key_or_another_host_is_not_loaded() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sandbox, cache, digest) = kept(here.path(), &honest());
    kept(there.path(), &honest());
    fs::copy(file(there.path()), file(here.path())).unwrap();
    assert!(cache.load(sandbox.engine(), digest).is_none());
}

#[test]
fn a_key_that_others_could_read_is_worth_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, _, digest) = kept(dir.path(), &honest());
    let key = dir.path().join("key");
    let before = fs::read(&key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let cache = Cache::open(dir.path(), sandbox.engine()).unwrap();
    assert_ne!(fs::read(&key).unwrap(), before);
    assert!(cache.load(sandbox.engine(), digest).is_none());
    // Damaged is the same.
    fs::write(&key, b"short").unwrap();
    Cache::open(dir.path(), sandbox.engine()).unwrap();
    assert_eq!(fs::read(&key).unwrap().len(), KEY_BYTES);
}

#[test]
fn links_are_not_followed_and_old_code_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, cache, digest) = kept(dir.path(), &honest());
    let path = file(dir.path());
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(cache.load(sandbox.engine(), digest).is_none());
    for number in 0..FILES_MAX + 10 {
        fs::write(dir.path().join(format!("{number}.cwasm")), b"old").unwrap();
    }
    cache.prune().unwrap();
    let left = fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some());
    assert_eq!(left.count(), FILES_MAX);
}
