use super::*;

/// A module whose answer to `describe` is this code, with `data` at address 16 and `panic` at 4096.
fn module(describe: &str, data: &str, panic: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (data (i32.const 16) "{data}")
            (data (i32.const 4096) "{panic}")
            (func (export "ordain_init"))
            (func (export "ordain_describe") (result i64) {describe})
            (func (export "ordain_panic") (result i64) (i64.const {})))"#,
        (4096_u64 << 32) | panic.len() as u64
    );
    wat::parse_str(text).unwrap()
}

fn failure(wasm: &[u8]) -> String {
    format!("{:#}", describe(wasm).unwrap_err())
}

/// Text with every byte escaped, as the text format wants it.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

fn answering(manifest: &Manifest) -> Vec<u8> {
    let answer = [&[STATUS_OK | STATUS_LOGGED][..], &rmp_serde::to_vec_named(manifest).unwrap()].concat();
    let packed = (16_u64 << 32) | answer.len() as u64;
    module(&format!("(i64.const {packed})"), &escaped(&answer), "")
}

fn manifest() -> Manifest {
    Manifest {
        contract: CONTRACT_VERSION,
        sdk: "0.1.0".to_owned(),
        aggregate_type: "account".to_owned(),
        state_version: 1,
        samples: vec![],
    }
}

#[test]
fn a_manifest_is_read() {
    let description = describe(&answering(&manifest())).unwrap();
    assert_eq!(description, Description { manifest: manifest(), schemas: None });
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    let other = Manifest { contract: CONTRACT_VERSION + 1, ..manifest() };
    assert!(failure(&answering(&other)).contains("build it with the SDK of this ordain"));
    let odd = Manifest { aggregate_type: "Account!".to_owned(), ..manifest() };
    assert!(failure(&answering(&odd)).contains("`TYPE` of the decider"));
}

#[test]
fn a_module_that_wants_something_is_refused_by_name() {
    let wasm = wat::parse_str(r#"(module (import "env" "now" (func)))"#).unwrap();
    assert!(failure(&wasm).contains("the module imports env.now"));
}

#[test]
fn a_module_without_the_macro_is_told_so() {
    let wasm = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap();
    assert!(failure(&wasm).contains("ordain_sdk::export!"));
    assert!(failure(b"no wasm at all").len() > 10);
}

#[test]
fn a_trap_is_explained_by_the_panic() {
    assert!(failure(&module("unreachable", "", "no such rule")).contains("`ordain_describe` failed: no such rule"));
    assert!(failure(&module("unreachable", "", "")).contains("unreachable"));
}

#[test]
fn an_endless_loop_ends() {
    assert!(failure(&module("(loop (br 0)) (i64.const 0)", "", "")).contains("fuel"));
}

#[test]
fn memory_is_bounded() {
    let grow = "(if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) (i64.const 0)";
    assert!(failure(&module(grow, "", "")).contains("answered nothing"), "the growth was not refused");
}

#[test]
fn an_answer_has_to_lie_in_the_memory() {
    assert!(failure(&module("(i64.const -1)", "", "")).contains("longer than"));
    assert!(failure(&module(&format!("(i64.const {})", (65536_u64 << 32) | 1), "", "")).contains("outside"));
    assert!(failure(&module("(i64.const 0)", "", "")).contains("answered nothing"));
    let refused = module(&format!("(i64.const {})", (16_u64 << 32) | 5), "\\02oops", "");
    assert!(failure(&refused).contains("answered 2: oops"), "{}", failure(&refused));
}
