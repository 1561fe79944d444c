use super::super::tests::Host;
use super::super::{percent_encoded, routes};
use super::*;
use crate::decider::schemas::Schemas;
use crate::decider::schemas::embed::dangling;

/// A type with each kind of schema that schemars makes of an enum.
fn account() -> Embedded {
    let schemas = br##"{
        "command": {"oneOf": [{"type": "object", "properties": {"Open": {"$ref": "#/$defs/Open"}}, "required": ["Open"]}],
                    "$defs": {"Open": {"type": "object"}}},
        "event": {"oneOf": [{"type": "object", "properties": {"Opened": {"type": "object"}}, "required": ["Opened"]}]},
        "rejection": {"oneOf": [{"type": "string", "enum": ["Closed"]},
                      {"type": "object", "properties": {"Short": {"type": "object"}}, "required": ["Short"]}]},
        "state": {"type": "object"}
    }"##;
    Embedded::new("account", Digest([1; 32]), Some(&Schemas::parse(schemas).unwrap()))
}

#[test]
fn every_reference_leads_somewhere() {
    for types in [vec![], vec![account()], vec![account(), Embedded::new("light", Digest([2; 32]), None)]] {
        assert_eq!(dangling(&document(&types)), [""; 0]);
    }
}

#[test]
fn each_type_has_paths_and_schemas_of_its_own() {
    let document = document(&[account()]);
    let send = &document["paths"]["/v1/account/{id}/commands"]["post"];
    assert_eq!(
        send["requestBody"]["content"][JSON]["schema"]["$ref"], "#/components/schemas/account.command",
        "{send}"
    );
    let outcome = &document["components"]["schemas"]["account.outcome"]["properties"];
    assert_eq!(outcome["events"]["items"]["properties"]["event"]["$ref"], "#/components/schemas/account.event");
    assert_eq!(outcome["rejection"]["oneOf"][1]["properties"]["code"]["const"], "Short");
    assert!(document["paths"].get("/v1/{type}").is_none(), "a type's own paths say more");
}

#[test]
fn names_of_components_and_operations_are_what_openapi_allows() {
    let document = document(&[account()]);
    for kind in ["schemas", "parameters", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
        }
    }
    let mut ids = Vec::new();
    for item in document["paths"].as_object().unwrap().values() {
        ids.extend(["get", "post"].iter().filter_map(|method| item[*method]["operationId"].as_str()));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

/// Both ways: what the router takes is described, and what is described is taken.
#[tokio::test]
async fn what_the_router_takes_is_what_is_described() {
    let document = document(&[]);
    let described = document["paths"].as_object().unwrap();
    let mut paths: Vec<&str> = routes().iter().map(|(path, _)| *path).collect();
    paths.sort_unstable();
    assert_eq!(paths, described.keys().map(String::as_str).collect::<Vec<_>>());
    let host = Host::start().await;
    for (path, item) in described {
        let at =
            path.replace("{type}", "account").replace("{digest}", "sha256:00").replace("{id}", &percent_encoded("a b"));
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let (status, _, _) = host.ask(method, &at.replace("{command_id}", "c-1"), &[], "").await;
            let known = item.get(method.to_ascii_lowercase()).is_some();
            assert_eq!(status != 405, known, "{method} {at}: {status}");
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn the_documents_are_served() {
    let host = Host::start().await;
    let (status, headers, api) = host.get("/openapi.json").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap(), &api["openapi"]), (200, JSON, &json!("3.1.0")));
    let (status, headers, page) = host.get("/docs").await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(status == 200 && policy.starts_with("default-src 'none'"), "{status} {policy}");
    let page = page.as_str().unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    for foreign in ["http://", "https://", "src=", "@import", "innerHTML"] {
        assert!(!page.contains(foreign), "the page brings everything along: {foreign}");
    }
    // The log is not on Kafka.
    let (status, _, problem) = host.get("/asyncapi.json").await;
    assert_eq!((status, &problem["type"]), (404, &json!("urn:ordain:problem:no-route")));
    host.stop().await;
}
