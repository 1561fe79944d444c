//! What of a schema bears on how a value is laid out.

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

#[cfg(test)]
mod tests;

/// Nodes visited at most; types that mention each other often enough could ask for more.
const NODES_MAX: u32 = 100_000;
/// Words of JSON Schema that are for people only.
const FOR_PEOPLE: [&str; 6] = ["title", "description", "$comment", "$schema", "examples", "default"];
/// Words of JSON Schema whose value is an object keyed by names of the author's.
const KEYED_BY_NAMES: [&str; 2] = ["properties", "patternProperties"];
/// Words of JSON Schema that hold definitions, looked at only where they are referred to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// A hash of a schema's layout. The order of fields counts, since a compact snapshot is an array. Words for people do
/// not, nor do names of types: a changed comment or a renamed type is no changed state.
pub fn fingerprint(schema: &str) -> u64 {
    let Ok(root) = serde_json::from_str::<Node>(schema) else { return xxh3_64(schema.as_bytes()) };
    let mut walk = Walk { root: &root, hash: Xxh3::new(), within: Vec::new(), nodes: 0 };
    walk.node(&root, false);
    // Too large to follow: then every change of its text is one of the layout.
    if walk.nodes > NODES_MAX { xxh3_64(schema.as_bytes()) } else { walk.hash.digest() }
}

/// JSON with the keys of objects in the order of the text.
#[derive(Debug)]
enum Node {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

struct Walk<'a> {
    root: &'a Node,
    hash: Xxh3,
    /// Definitions that are being followed, outermost first.
    within: Vec<&'a str>,
    nodes: u32,
}

impl<'a> Walk<'a> {
    fn add(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update(&[kind]);
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn node(&mut self, node: &'a Node, keys_are_names: bool) {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return;
        }
        match node {
            Node::Null => self.add(b'n', &[]),
            Node::Bool(value) => self.add(b'b', &[u8::from(*value)]),
            Node::Number(bits) => self.add(b'i', &bits.to_le_bytes()),
            Node::Text(text) => self.add(b's', text.as_bytes()),
            Node::List(items) => {
                self.add(b'[', &[]);
                items.iter().for_each(|item| self.node(item, false));
                self.add(b']', &[]);
            }
            Node::Object(entries) => match node.get("$ref") {
                Some(Node::Text(target)) if !keys_are_names => self.follow(target),
                _ => self.object(entries, keys_are_names),
            },
        }
    }

    fn object(&mut self, entries: &'a [(String, Node)], keys_are_names: bool) {
        self.add(b'{', &[]);
        for (key, value) in entries {
            let word = key.as_str();
            if !keys_are_names && (FOR_PEOPLE.contains(&word) || DEFINITIONS.contains(&word)) {
                continue;
            }
            self.add(b'k', key.as_bytes());
            self.node(value, !keys_are_names && KEYED_BY_NAMES.contains(&word));
        }
        self.add(b'}', &[]);
    }

    /// Goes on with the definition that is referred to; one that is already being followed is named by its distance.
    fn follow(&mut self, target: &'a str) {
        if let Some(depth) = self.within.iter().rev().position(|one| *one == target) {
            return self.add(b'^', &(depth as u64).to_le_bytes());
        }
        let mut steps = target.strip_prefix("#/").unwrap_or_default().split('/');
        let found = steps.try_fold(self.root, |node, step| node.get(&step.replace("~1", "/").replace("~0", "~")));
        match found {
            Some(definition) if target.starts_with("#/") => {
                self.within.push(target);
                self.node(definition, false);
                self.within.pop();
            }
            _ => self.add(b'r', target.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON Schema")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as u64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object))
    }
}
