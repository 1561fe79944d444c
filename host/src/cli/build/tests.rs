use super::*;
use crate::decider::describe::describe;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The content of a custom section.
fn section<'a>(wasm: &'a [u8], name: &str) -> Option<&'a [u8]> {
    wasmparser::Parser::new(0).parse_all(wasm).find_map(|part| match part.unwrap() {
        wasmparser::Payload::CustomSection(section) if section.name() == name => Some(section.data()),
        _ => None,
    })
}

fn imports_and_exports(wasm: &[u8]) -> (u32, Vec<String>) {
    let (mut imports, mut exports) = (0, Vec::new());
    for part in wasmparser::Parser::new(0).parse_all(wasm) {
        match part.unwrap() {
            wasmparser::Payload::ImportSection(section) => imports += section.count(),
            wasmparser::Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn a_module_is_built_with_its_schemas_beside_its_code() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("modules/account.wasm");
    let options = Options {
        path: repository().join("examples/bank-account/src"),
        features: vec!["v3".to_owned()],
        out: Some(path.clone()),
        quiet: true,
        ..Options::default()
    };
    let built = build_module(&options, &describe).unwrap();
    assert_eq!((built.aggregate_type.as_str(), built.state_version), ("account", 2));
    let wasm = fs::read(&path).unwrap();
    assert_eq!((built.digest, built.bytes), (Digest::of(&wasm), wasm.len() as u64));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside the module");

    let schemas: serde_json::Value = serde_json::from_slice(section(&wasm, SECTION_SCHEMAS).unwrap()).unwrap();
    assert_eq!(schemas["state"]["properties"]["deposits"]["type"], "integer");
    for kind in ["command", "event", "rejection"] {
        assert!(schemas[kind]["oneOf"].is_array(), "{kind}: {}", schemas[kind]);
    }
    let (imports, exports) = imports_and_exports(&wasm);
    assert_eq!(imports, 0);
    assert!(exports.iter().any(|name| name == "ordain_decide"));
    assert!(!exports.iter().any(|name| name == "ordain_schemas"), "the code that makes schemas is not in the module");
    let text = String::from_utf8_lossy(&wasm);
    assert!(!text.contains("schemars"), "the derive costs the module nothing");
    assert!(!text.contains(&repository().display().to_string()), "no path of this machine is in the module");
    // Once it was not: the end-to-end tests cut modules between two sections, and the daemon let the halves decide.
    assert_eq!(seal::check(&wasm), Ok(true), "a half of it is never taken for the whole");
    // What the daemon will see of the module itself.
    assert_eq!(describe(&wasm).unwrap().manifest.aggregate_type, "account");
    assert_eq!(describe(&wasm).unwrap().schemas, None);
}

#[test]
fn what_is_no_module_is_refused_with_what_to_do() {
    let failure = |path: &Path| {
        let options = Options { path: path.to_owned(), ..Options::default() };
        format!("{:#}", build_module(&options, &describe).unwrap_err())
    };
    let empty = tempfile::tempdir().unwrap();
    assert!(failure(empty.path()).contains("`ordain new NAME` makes one"));
    assert!(failure(&empty.path().join("nowhere")).contains("looking for a crate in"));
    assert!(failure(repository()).contains("is a workspace, not a crate"));
    assert!(failure(&repository().join("host")).contains("crate-type = [\"cdylib\", \"rlib\"]"));
}

#[test]
fn both_compilations_set_the_profile_themselves() {
    let package = Package::find(&repository().join("examples/counter")).unwrap();
    let options = Options { features: vec!["a".into(), "b".into()], ..Options::default() };
    let text = |purpose| {
        let arguments = cargo_arguments(&package, &options, purpose, Path::new("/t"));
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let module = text(Purpose::Module);
    for setting in ["opt-level=3", "lto=\"fat\"", "codegen-units=1", "panic=\"abort\"", "overflow-checks=true"] {
        assert!(module.contains(&format!("--config profile.release.{setting}")), "{module}");
    }
    assert!(module.contains("--features a,b --config"), "{module}");
    assert!(text(Purpose::Schemas).contains("--features a,b,ordain-sdk/schemas --config"));
}

#[test]
fn a_module_with_a_section_still_parses() {
    let module = with_section(b"\0asm\x01\0\0\0".to_vec(), "x", b"data");
    assert_eq!(section(&module, "x"), Some(&b"data"[..]));
}
