use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::decider::Form;
use crate::decider::testing::{Wat, honest, sandbox};

/// A registry in a folder.
pub fn open(dir: &std::path::Path) -> Modules {
    Modules::open(Options { store_dir: dir.to_owned(), sandbox: sandbox() }).unwrap()
}

/// The honest module with other bytes.
pub fn version(number: u32) -> Wat {
    honest().tail(&format!(r#"(data (i32.const 0x800) "version {number}")"#))
}

/// Of another type.
pub fn of_type(name: &str) -> Wat {
    let mut wat = honest();
    wat.manifest.aggregate_type = name.to_owned();
    wat
}

/// With schemas whose state has this field.
fn with_state(field: &str, state_version: u32) -> Wat {
    let mut wat = honest();
    let state = format!(r#"{{"properties":{{"{field}":{{"type":"integer"}}}}}}"#);
    wat.schemas = Some(format!(r#"{{"command":{{}},"event":{{}},"rejection":{{}},"state":{state}}}"#).into_bytes());
    wat.manifest.state_version = state_version;
    wat
}

fn active(modules: &Modules, name: &str) -> Digest {
    modules.get_active(name).unwrap().module.digest()
}

#[test]
fn what_is_deployed_decides_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (v1, v2) = (version(1).bytes(), version(2).bytes());
    {
        let modules = open(dir.path());
        assert!(modules.get_active("sum").is_none());
        let first = modules.deploy(v1.clone(), "upload").unwrap();
        assert_eq!((first.aggregate_type.as_str(), first.unchanged), ("sum", false));
        assert!(modules.deploy(v1.clone(), "upload").unwrap().unchanged, "the same bytes again change nothing");
        modules.deploy(v2.clone(), "upload").unwrap();
        modules.deploy(of_type("other").bytes(), "upload").unwrap();
    }
    let modules = open(dir.path());
    assert_eq!(active(&modules, "sum"), Digest::of(&v2));
    assert_eq!(modules.get_active("sum").unwrap().generation, 2);
    let mut types = modules.types();
    types.sort();
    assert_eq!(types, ["other", "sum"]);
    let listing = modules.list();
    assert_eq!(listing.types[1].former, [Digest::of(&v1)]);

    let rules = RuleBook::active(&modules, "sum").unwrap();
    let mut decider = rules.instantiate().unwrap();
    let mut state = Vec::new();
    decider.load(0, &[]).unwrap();
    decider.snapshot(0, Form::Compact, &mut state).unwrap();
    assert_eq!(state, [0x91, 0xce, 0, 0, 0, 0]);

    modules.deploy(v1.clone(), "upload").unwrap();
    assert_eq!((active(&modules, "sum"), modules.get_active("sum").unwrap().generation), (Digest::of(&v1), 3));
    assert_eq!(modules.list().types[1].former, [Digest::of(&v2)]);
}

#[test]
fn what_is_refused_is_listed_and_the_active_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let modules = open(dir.path());
    let good = modules.deploy(version(1).bytes(), "upload").unwrap();
    assert_eq!(modules.deploy(b"no module".to_vec(), "upload").unwrap_err().rule, Rule::Invalid);
    let traps = version(2).body("ordain_decide", "unreachable");
    assert_eq!(modules.deploy(traps.bytes(), "upload").unwrap_err().rule, Rule::OwnWords);
    assert_eq!(active(&modules, "sum"), good.digest);
    let listing = modules.list();
    assert_eq!(listing.refused.len(), 1, "of no known type");
    assert_eq!(listing.types[0].refused[0].rule, Rule::OwnWords);
    assert!(listing.types[0].refused[0].reason.contains("sample 0"), "{:?}", listing.types[0].refused);
    for number in 0..200 {
        modules.deploy(vec![number], "upload").unwrap_err();
    }
    assert_eq!(modules.list().refused.len(), 64, "bounded");
}

#[test]
fn another_layout_needs_another_state_version() {
    let dir = tempfile::tempdir().unwrap();
    let modules = open(dir.path());
    modules.deploy(with_state("sum", 1).bytes(), "upload").unwrap();
    let tag = modules.get_active("sum").unwrap().state_tag();
    let refused = modules.deploy(with_state("total", 1).bytes(), "upload").unwrap_err();
    assert_eq!(refused.rule, Rule::StateVersion);
    assert!(refused.message.contains("raise STATE_VERSION"), "{refused}");
    modules.deploy(with_state("total", 2).bytes(), "upload").unwrap();
    assert_ne!(modules.get_active("sum").unwrap().state_tag(), tag);
    let same = with_state("total", 2).tail(r#"(data (i32.const 0x800) "x")"#);
    let tag = modules.get_active("sum").unwrap().state_tag();
    modules.deploy(same.bytes(), "upload").unwrap();
    assert_eq!(modules.get_active("sum").unwrap().state_tag(), tag, "the same layout in another module");
}

/// A type for which the log has no place became active, and its lanes ended the host: at once, and at every later start.
#[test]
fn a_type_without_a_place_gets_no_module() {
    let dir = tempfile::tempdir().unwrap();
    let modules = open(dir.path());
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    modules.admit_with(Arc::new(move |of| {
        if is_full.load(Ordering::Relaxed) { Err(format!("there is no topic for {of}: make one")) } else { Ok(()) }
    }));
    let refused = modules.deploy(version(1).bytes(), "upload").unwrap_err();
    assert_eq!((refused.rule, &*refused.message), (Rule::Log, "there is no topic for sum: make one"));
    assert!(modules.get_active("sum").is_none());
    full.store(false, Ordering::Relaxed);
    modules.deploy(version(1).bytes(), "upload").unwrap();
    full.store(true, Ordering::Relaxed);
    modules.deploy(version(2).bytes(), "upload").expect("it has its place");
}

#[test]
fn publication_is_told_after_it_happened_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let modules = Arc::new(open(dir.path()));
    let told = Arc::new(AtomicU64::new(0));
    let (seen, registry) = (Arc::clone(&told), Arc::downgrade(&modules));
    modules.subscribe(Arc::new(move |published: &Active| {
        let active = registry.upgrade().unwrap().get_active("sum").unwrap();
        assert_eq!(active.module.digest(), published.module.digest());
        assert_eq!(seen.fetch_add(1, Ordering::Relaxed) + 1, published.generation);
    }));
    for number in 0..5 {
        modules.deploy(version(number).bytes(), "upload").unwrap();
    }
    assert_eq!(told.load(Ordering::Relaxed), 5);
}

#[test]
fn a_damaged_store_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let digest = open(dir.path()).deploy(version(1).bytes(), "upload").unwrap().digest;
    let refusal = || Modules::open(Options { store_dir: dir.path().to_owned(), sandbox: sandbox() }).err().unwrap().0;
    let stored = dir.path().join(format!("{}.wasm", digest.hex()));
    let whole = std::fs::read(&stored).unwrap();
    std::fs::write(&stored, version(2).bytes()).unwrap();
    assert!(refusal().contains(&digest.hex()), "{}", refusal());
    std::fs::remove_file(&stored).unwrap();
    assert!(refusal().contains("not stored"), "{}", refusal());
    std::fs::write(&stored, whole).unwrap();
    open(dir.path());
    std::fs::write(dir.path().join("active.json"), b"{\"format\":1,").unwrap();
    assert!(refusal().contains("active.json"), "{}", refusal());
    std::fs::write(dir.path().join("active.json"), b"{\"format\":9,\"types\":{},\"files\":{}}").unwrap();
    assert!(refusal().contains("form 9"), "{}", refusal());
}
