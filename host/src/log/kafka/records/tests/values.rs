//! Any value that a guest may write, and whether two of them are one to a guest.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value as a guest sees it, read by the library that guests use and not by the code under test.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Nil,
    Bool(bool),
    Int(i128),
    Float(u64),
    Str(String),
    Bin(Vec<u8>),
    Seq(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

struct Grow;

impl<'de> Visitor<'de> for Grow {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Tree, E> {
        Ok(Tree::Int(n.into()))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Tree, E> {
        Ok(Tree::Int(n.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Tree, E> {
        Ok(Tree::Float(n.to_bits()))
    }
    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Str(text.into()))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bin(bytes.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            all.push(one);
        }
        Ok(Tree::Seq(all))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = from.next_entry()? {
            all.push(pair);
        }
        Ok(Tree::Map(all))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Grow)
    }
}

/// Whether a guest sees the same in both.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let tree = |bytes| rmp_serde::from_slice::<Tree>(bytes).ok();
    a == b || (tree(a).is_some() && tree(a) == tree(b))
}

fn packed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// MessagePack of anything that a guest may write.
pub fn anything() -> impl Strategy<Value = Vec<u8>> {
    use rmp::encode::*;
    let special =
        prop::sample::select(vec![0.0, -0.0, 0.1, 1e16, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, f64::MAX]);
    let leaf = prop_oneof![
        Just(vec![0xc0]),
        any::<bool>().prop_map(|value| vec![0xc2 + u8::from(value)]),
        prop_oneof![Just(u64::MAX), any::<u64>(), 0..300_u64]
            .prop_map(|n| packed(|out| assert!(write_uint(out, n).is_ok()))),
        prop_oneof![Just(i64::MIN), any::<i64>()].prop_map(|n| packed(|out| assert!(write_sint(out, n).is_ok()))),
        any::<u64>().prop_map(|n| packed(|out| write_u64(out, n).unwrap())),
        prop_oneof![special, any::<f64>()].prop_map(|n| packed(|out| write_f64(out, n).unwrap())),
        any::<f32>().prop_map(|n| packed(|out| write_f32(out, n).unwrap())),
        ".{0,20}".prop_map(|text| packed(|out| write_str(out, &text).unwrap())),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| packed(|out| write_bin(out, &bytes).unwrap())),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| packed(|out| {
            write_ext_meta(out, bytes.len() as u32, 5).unwrap();
            out.extend_from_slice(&bytes);
        })),
    ];
    let plain = prop_oneof![".{0,20}", "[a-z_]{1,8}"].prop_map(|text| packed(|out| write_str(out, &text).unwrap()));
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop_oneof![20 => plain.clone(), 1 => inner.clone()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|all| packed(|out| {
                write_array_len(out, all.len() as u32).unwrap();
                out.extend(all.concat());
            })),
            prop::collection::vec((key, inner), 0..20).prop_map(|all| packed(|out| {
                write_map_len(out, all.len() as u32).unwrap();
                all.iter().for_each(|(key, value)| out.extend([&key[..], value].concat()));
            })),
        ]
    })
}

/// An event: a tagged value.
pub fn tagged() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof!["[A-Z][a-z]{1,9}", ".{0,6}"];
    (name, prop::option::of(anything())).prop_map(|(name, content)| {
        packed(|out| {
            if content.is_some() {
                out.push(0x81);
            }
            rmp::encode::write_str(out, &name).unwrap();
            out.extend(content.unwrap_or_default());
        })
    })
}
