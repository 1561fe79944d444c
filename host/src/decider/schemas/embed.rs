//! A module's schemas as parts of a larger document: every reference in them leads somewhere in it.
//!
//! They are a module's own words: whatever they hold becomes data of the document, never structure of it.

use serde_json::{Map, Value, json};

use super::Schemas;
use crate::message::Digest;

/// Where components lie in OpenAPI and AsyncAPI alike.
pub const COMPONENTS: &str = "#/components/schemas/";
/// Keywords whose values are data and no schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose values hold schemas by names, which are no keywords whatever they are.
const NAMED: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// The schemas of one aggregate type, made to lie in a document's components.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The aggregate type.
    pub name: String,
    /// Its active module.
    pub module: Digest,
    command: Value,
    event: Value,
    rejection: Value,
    state: Value,
}

/// One variant of a type in serde's externally tagged form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Where the schema of its content lies below the type's own; none for a unit variant.
    pub content: Option<String>,
}

impl Embedded {
    /// The schemas of a type's active module. Where its build attached none, anything may come.
    pub fn new(name: &str, module: Digest, schemas: Option<&Schemas>) -> Self {
        let embed = |part: &str, of: fn(&Schemas) -> &str| match schemas {
            Some(schemas) => embed(of(schemas), &format!("{COMPONENTS}{name}.{part}")),
            None => json!({"description": "the module was built without schemas: see `ordain build`"}),
        };
        Self {
            name: name.to_owned(),
            module,
            command: embed("command", |schemas| schemas.command.get()),
            event: embed("event", |schemas| schemas.event.get()),
            rejection: embed("rejection", |schemas| schemas.rejection.get()),
            state: embed("state", |schemas| schemas.state.get()),
        }
    }

    /// Its schemas by the names of their components, which [`Self::reference`] gives.
    pub fn components(&self) -> Map<String, Value> {
        let parts = [
            ("command", &self.command),
            ("event", &self.event),
            ("rejection", &self.rejection),
            ("state", &self.state),
        ];
        parts.into_iter().map(|(part, schema)| (format!("{}.{part}", self.name), schema.clone())).collect()
    }

    /// A reference to one of its components: `command`, `event`, `rejection`, `state`, or one that the document adds.
    pub fn reference(&self, part: &str) -> Value {
        json!({"$ref": format!("{COMPONENTS}{}.{part}", self.name)})
    }

    /// The names of the events, if the schema is that of an enum.
    pub fn events(&self) -> Option<Vec<String>> {
        variants(&self.event).map(|all| all.into_iter().map(|one| one.name).collect())
    }

    /// The part `rejection` of an outcome: code, and details where there are any.
    pub fn rejection_in_outcome(&self) -> Value {
        let Some(variants) = variants(&self.rejection) else {
            return json!({"type": "object", "properties": {"code": {"type": "string"}, "details": true}});
        };
        let one = |variant: Variant| match variant.content {
            Some(below) => json!({
                "type": "object",
                "properties": {
                    "code": {"const": variant.name},
                    "details": {"$ref": format!("{COMPONENTS}{}.rejection{below}", self.name)},
                },
                "required": ["code", "details"],
            }),
            None => {
                json!({"type": "object", "properties": {"code": {"const": variant.name}}, "required": ["code"]})
            }
        };
        json!({"oneOf": variants.into_iter().map(one).collect::<Vec<_>>()})
    }
}

/// The variants of an enum as schemars describes it: one schema per variant with content, and names of those without.
fn variants(schema: &Value) -> Option<Vec<Variant>> {
    let unit = |name: &Value| name.as_str().map(|name| Variant { name: name.to_owned(), content: None });
    let units = |schema: &Value| match schema.get("enum") {
        Some(Value::Array(names)) => names.iter().map(unit).collect::<Option<Vec<_>>>(),
        _ => schema.get("const").and_then(unit).map(|one| vec![one]),
    };
    let Some(Value::Array(all)) = schema.get("oneOf") else { return units(schema) };
    let mut variants = Vec::new();
    for (at, one) in all.iter().enumerate() {
        if let Some(units) = units(one) {
            variants.extend(units);
            continue;
        }
        let properties = one.get("properties")?.as_object()?;
        let (name, _) = properties.iter().next().filter(|_| properties.len() == 1)?;
        let below = format!("/oneOf/{at}/properties/{}", pointer_part(name));
        variants.push(Variant { name: name.clone(), content: Some(below) });
    }
    Some(variants)
}

/// A name as a part of a JSON pointer in a URI's fragment.
fn pointer_part(name: &str) -> String {
    let escaped = name.replace('~', "~0").replace('/', "~1");
    let mut out = String::with_capacity(escaped.len());
    for byte in escaped.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'$' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What a fragment says once its percent signs are read; `None` if it is not UTF-8 then.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// A schema as the component at `place`.
fn embed(schema: &str, place: &str) -> Value {
    // The gate has read it; one that cannot be read now says nothing about anything.
    let root: Value = serde_json::from_str(schema).unwrap_or(Value::Bool(true));
    let mut embedded = root.clone();
    rewrite(&mut embedded, &root, place);
    embedded
}

/// Lets references lead to `place` instead of the schema's own root. One that led nowhere is taken out: what it stood for
/// may be anything. So are words that would give a part an address of its own.
fn rewrite(schema: &mut Value, root: &Value, place: &str) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(|one| rewrite(one, root, place)),
        Value::Object(all) => {
            for word in ["$schema", "$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"] {
                if all.get(word).is_some_and(Value::is_string) {
                    all.remove(word);
                }
            }
            if let Some(Value::String(to)) = all.get("$ref") {
                let below = to.strip_prefix('#').filter(|below| {
                    below.is_empty() || decoded(below).is_some_and(|below| root.pointer(&below).is_some())
                });
                match below.map(|below| format!("{place}{below}")) {
                    Some(to) => all.insert("$ref".to_owned(), Value::String(to)),
                    None => all.remove("$ref"),
                };
            }
            for (word, one) in all.iter_mut().filter(|(word, _)| !DATA.contains(&word.as_str())) {
                match one {
                    Value::Object(named) if NAMED.contains(&word.as_str()) => {
                        named.values_mut().for_each(|one| rewrite(one, root, place));
                    }
                    one => rewrite(one, root, place),
                }
            }
        }
        _ => {}
    }
}

/// Every reference of a document that does not lead to a part of it.
#[cfg(test)]
pub fn dangling(document: &Value) -> Vec<String> {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| walk(one, found)),
            Value::Object(all) => {
                found.extend(all.get("$ref").and_then(Value::as_str));
                all.values().for_each(|one| walk(one, found));
            }
            _ => {}
        }
    }
    let mut references = Vec::new();
    walk(document, &mut references);
    assert!(!references.is_empty(), "a document without references tests nothing");
    let leads =
        |to: &&str| to.strip_prefix('#').and_then(decoded).is_some_and(|pointer| document.pointer(&pointer).is_some());
    references.into_iter().filter(|to| !leads(to)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(rejection: &str) -> Schemas {
        let command = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","oneOf":[{"type":"object",
            "properties":{"Tree":{"$ref":"#/$defs/A%3CB%3E"}},"required":["Tree"]}],
            "$defs":{"A<B>":{"properties":{"self":{"$ref":"#"},"gone":{"$ref":"#/$defs/Gone"},
            "far":{"$ref":"https://example.com/x","description":"d"},"const":{"$ref":"#/oneOf/0"}},
            "default":{"$ref":"#/$defs/Data"}}}}"##;
        let all =
            format!(r#"{{"command":{command},"event":true,"rejection":{rejection},"state":{{"type":"object"}}}}"#);
        Schemas::parse(all.as_bytes()).unwrap()
    }

    /// A document of components, without the reference that is data.
    fn document(components: Map<String, Value>) -> Value {
        let mut document = json!({"components": {"schemas": components}});
        document["components"]["schemas"]["tree.command"]["$defs"]["A<B>"]["default"] = Value::Null;
        document
    }

    fn embedded(rejection: &str) -> Embedded {
        Embedded::new("tree", Digest([7; 32]), Some(&schemas(rejection)))
    }

    #[test]
    fn references_lead_into_the_document_and_those_that_led_nowhere_are_gone() {
        let components = embedded("{}").components();
        let command = &components["tree.command"];
        assert_eq!(
            command["oneOf"][0]["properties"]["Tree"]["$ref"],
            "#/components/schemas/tree.command/$defs/A%3CB%3E"
        );
        let tree = &command["$defs"]["A<B>"];
        assert_eq!(tree["properties"]["self"]["$ref"], "#/components/schemas/tree.command");
        assert_eq!(tree["properties"]["gone"], json!({}));
        assert_eq!(tree["properties"]["far"], json!({"description": "d"}));
        assert_eq!(
            tree["properties"]["const"]["$ref"], "#/components/schemas/tree.command/oneOf/0",
            "a name, no keyword"
        );
        assert_eq!(tree["default"]["$ref"], "#/$defs/Data", "data is left alone");
        assert!(command.get("$schema").is_none());
        assert_eq!(dangling(&document(components)), [""; 0]);
    }

    #[test]
    fn a_rejection_is_told_by_its_code_and_its_details() {
        let rejection = r#"{"oneOf":[{"type":"string","enum":["Closed","NotOpen"]},{"type":"string","const":"Odd"},
            {"type":"object","properties":{"Too/Much":{"type":"object"}},"required":["Too/Much"]}]}"#;
        let tree = embedded(rejection);
        let outcome = tree.rejection_in_outcome();
        let codes: Vec<_> = (0..4).map(|at| outcome["oneOf"][at]["properties"]["code"]["const"].clone()).collect();
        assert_eq!(codes, ["Closed", "NotOpen", "Odd", "Too/Much"]);
        let mut document = document(tree.components());
        document["outcome"] = outcome;
        assert_eq!(dangling(&document), [""; 0]);
        let details = &document["outcome"]["oneOf"][3]["properties"]["details"]["$ref"];
        assert_eq!(details, "#/components/schemas/tree.rejection/oneOf/2/properties/Too~1Much");
    }

    #[test]
    fn what_is_no_enum_is_left_open() {
        for open in ["{\"type\":\"object\"}", "true", "{\"oneOf\":[{\"type\":\"integer\"}]}"] {
            assert!(embedded(open).rejection_in_outcome().get("oneOf").is_none(), "{open}");
        }
        let without = Embedded::new("tree", Digest([7; 32]), None);
        assert_eq!(without.events(), None);
        assert!(without.components()["tree.state"]["description"].is_string());
    }
}
