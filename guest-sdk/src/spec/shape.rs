//! What a value looks like to serde, spelled out: one line per leaf, with the path to it. Two values with the same lines
//! are the same to everything that reads them; a line also knows whether JSON could carry its leaf.
//!
//! Comparing lines needs no `PartialEq` of the author, finds that `Some(None)` is not `None`, and takes a NaN for equal
//! to itself. Comparing encoded bytes would do none of it.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt;

/// The lines of one value.
#[derive(Debug, PartialEq)]
pub(super) struct Shape {
    lines: Vec<String>,
    losses: Vec<String>,
    /// The last leaf was text or the name of a variant: fit for a key in JSON.
    text: bool,
}

impl Shape {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut shape = Self { lines: Vec::new(), losses: Vec::new(), text: false };
        if let Err(Refused(why)) = value.serialize(Probe { path: String::new(), shape: &mut shape, optional: false }) {
            shape.lines.push(format!("does not serialise: {why}"));
        }
        shape
    }

    fn loss(&mut self, path: &str, why: &str) {
        let path = if path.is_empty() { "itself" } else { path };
        self.losses.push(format!("{path} ({why})"));
    }

    /// Where JSON could not carry the value, and why: `Deposited.by_day (integer map keys)`.
    pub(super) fn json_losses(&self) -> &[String] {
        &self.losses
    }

    /// The first line that differs, as a text to read; `None` if none does.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.lines == other.lines {
            return None;
        }
        let same = self.lines.iter().zip(&other.lines).take_while(|(a, b)| a == b).count();
        let line = |lines: &[String]| lines.get(same).cloned().unwrap_or_else(|| "(nothing more)".to_owned());
        Some(format!("  was: {}\n  is:  {}", line(&self.lines), line(&other.lines)))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The value's own `Serialize` refused.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// A serializer that writes lines.
struct Probe<'a> {
    path: String,
    shape: &'a mut Shape,
    /// Directly inside a `Some`, where a `None` would be lost.
    optional: bool,
}

impl Probe<'_> {
    fn leaf(self, value: impl fmt::Display) -> Result<(), Refused> {
        self.shape.lines.push(format!("{} = {value}", self.path));
        Ok(())
    }

    fn text(self, value: impl fmt::Display) -> Result<(), Refused> {
        self.shape.text = true;
        self.leaf(value)
    }

    fn loss(&mut self, why: &str) {
        self.shape.loss(&self.path, why);
    }

    fn nothing(mut self, name: &str) -> Result<(), Refused> {
        if self.optional {
            self.loss("a `None` inside a `Some`");
        }
        self.leaf(name)
    }

    fn float(mut self, value: impl Into<f64>) -> Result<(), Refused> {
        let value = value.into();
        if !value.is_finite() {
            self.loss("a number that is not finite");
        }
        self.leaf(value)
    }

    fn wide(mut self, value: impl fmt::Display) -> Result<(), Refused> {
        self.loss("a 128-bit integer");
        self.leaf(value)
    }
}

fn joined(path: &str, name: impl fmt::Display) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// Inside a sequence, map or struct.
struct Parts<'a> {
    path: String,
    shape: &'a mut Shape,
    index: usize,
    key: String,
}

impl<'a> Parts<'a> {
    fn new(path: String, shape: &'a mut Shape) -> Self {
        // An empty container has no leaf, but is not the same as none.
        shape.lines.push(format!("{path}:"));
        Self { path, shape, index: 0, key: String::new() }
    }

    fn part<T: Serialize + ?Sized>(&mut self, name: impl fmt::Display, value: &T) -> Result<(), Refused> {
        value.serialize(Probe { path: joined(&self.path, name), shape: self.shape, optional: false })
    }

    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.index += 1;
        self.part(self.index - 1, value)
    }
}

macro_rules! leaves {
    ($how:ident: $($name:ident $type:ty),* $(,)?) => { $(
        fn $name(self, value: $type) -> Result<(), Refused> {
            self.$how(value)
        }
    )* };
}

impl<'a> Serializer for Probe<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    leaves! {
        leaf: serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64,
    }
    leaves! { wide: serialize_i128 i128, serialize_u128 u128 }
    leaves! { float: serialize_f32 f32, serialize_f64 f64 }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.text(format_args!("{value:?}"))
    }
    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.text(format_args!("{value:?}"))
    }
    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), Refused> {
        self.loss("bytes");
        self.leaf(format_args!("bytes {value:?}"))
    }
    fn serialize_none(self) -> Result<(), Refused> {
        self.nothing("None")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.shape.lines.push(format!("{}: Some", self.path));
        value.serialize(Probe { optional: true, ..self })
    }
    fn serialize_unit(self) -> Result<(), Refused> {
        self.nothing("()")
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Refused> {
        self.nothing(name)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(Probe { path: joined(&self.path, variant), shape: self.shape, optional: false })
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(self.path, self.shape))
    }
    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(self.path, self.shape))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(self.path, self.shape))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(joined(&self.path, variant), self.shape))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(self.path, self.shape))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(self.path, self.shape))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Refused> {
        Ok(Parts::new(joined(&self.path, variant), self.shape))
    }
}

macro_rules! sequences {
    ($($trait:ident: $method:ident),* $(,)?) => { $(
        impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Refused;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> { self.next(value) }
            fn end(self) -> Result<(), Refused> { Ok(()) }
        }
    )* };
}
sequences! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! structs {
    ($($trait:ident),* $(,)?) => { $(
        impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Refused;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.part(name, value)
            }
            fn end(self) -> Result<(), Refused> { Ok(()) }
        }
    )* };
}
structs! { SerializeStruct, SerializeStructVariant }

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        let key = Shape::of(key);
        if !key.text || key.lines.len() != 1 {
            self.shape.loss(&self.path, "map keys that are not text");
        }
        self.key = key.lines.join(",").replacen(" = ", "", 1).replace('"', "");
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let key = std::mem::take(&mut self.key);
        self.part(key, value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}
