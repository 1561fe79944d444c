use super::*;
use crate::cli::build::{Options, build_module};
use crate::decider::describe::describe;
use std::process::Command;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn a_new_crate_passes_its_tests_and_its_module_runs() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("stock item");
    let made = run(&NewArgs { name: "stock-item".to_owned(), path: Some(folder.clone()), sdk: None }).unwrap();
    assert_eq!(made, folder);

    let target = checkout().join("target/ordain/new-crate");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--quiet", "--lib", "--target-dir"])
        .arg(&target)
        .current_dir(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("3 passed"), "{text}");

    let out = home.path().join("stock-item.wasm");
    let target_dir = Some(target); // where the dependencies are compiled already, from the second time on
    let options = Options { path: folder, out: Some(out), quiet: true, target_dir, ..Options::default() };
    let built = build_module(&options, &describe).unwrap();
    assert_eq!(built.aggregate_type, "stock-item");
}

#[test]
fn the_source_carries_the_new_name_and_nothing_of_the_example() {
    let text = source("stock-item");
    assert!(text.starts_with("//! The rules of `stock-item`."), "{text}");
    assert!(text.contains("pub struct StockItem {") && text.contains("ordain_sdk::export!(StockItem);"));
    assert!(text.contains("const TYPE: &'static str = \"stock-item\";"));
    assert!(!text.contains("Counter") && !text.contains("allow(missing_docs"), "{text}");
}

#[test]
fn names_that_cannot_work_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("crate");
    let refused = |name: &str| {
        let args = NewArgs { name: name.to_owned(), path: Some(path.clone()), sdk: None };
        run(&args).unwrap_err().to_string()
    };
    for name in ["", "Account", "9lives", "a_b", "modules"] {
        assert!(refused(name).contains("aggregate type"), "{name}: {}", refused(name));
    }
    assert!(refused("match").contains("choose another name"));
    assert!(!path.exists(), "a refused name leaves nothing behind");
    fs::create_dir(&path).unwrap();
    assert!(refused("account").contains("is there already"));
}

#[test]
fn type_names_do_not_meet_those_of_the_source() {
    assert_eq!(type_name("account"), "Account");
    assert_eq!(type_name("stock-item--2b"), "StockItem2b");
    assert_eq!(type_name("event"), "EventState");
    assert_eq!(type_name("option"), "OptionState");
}

#[test]
fn the_sdk_is_found_or_named() {
    let folder = checkout().join(SDK_FOLDER);
    assert_eq!(Sdk::nearby().unwrap(), Sdk::Folder(folder.clone()));
    assert_eq!(Sdk::parse(&checkout().display().to_string()).unwrap(), Sdk::Folder(folder.clone()));
    assert_eq!(Sdk::parse(&folder.display().to_string()).unwrap(), Sdk::Folder(folder));
    assert_eq!(Sdk::parse("0.1").unwrap(), Sdk::Version("0.1".to_owned()));
    assert!(Sdk::parse("/nowhere").unwrap_err().to_string().contains("there is no ordain-sdk in /nowhere"));
    assert!(manifest("x", &Sdk::Version("0.1".to_owned())).contains("ordain-sdk = \"0.1\"\n"));
}
