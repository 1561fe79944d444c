//! Properties of librdkafka that are passed through. Their values are text; some are secrets, and never shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::log::kafka::options::is_secret;

/// Names and values. Numbers and booleans may be written as such.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

impl Properties {
    /// The same with [`HIDDEN`] in place of every secret.
    pub fn hidden(&self) -> Self {
        let shown = |name: &str, value: &str| if is_secret(name) { HIDDEN.to_owned() } else { value.to_owned() };
        Self(self.0.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hidden().0.fmt(f)
    }
}

/// A value as people write it in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Flag(bool),
    Whole(i64),
    Real(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, Value>::deserialize(deserializer).map_err(|e| {
            serde::de::Error::custom(format!(
                "{e} (a name with dots stands in quotation marks: \"security.protocol\" = \"SASL_SSL\")"
            ))
        })?;
        let text = |value| match value {
            Value::Flag(flag) => flag.to_string(),
            Value::Whole(whole) => whole.to_string(),
            Value::Real(real) => real.to_string(),
            Value::Text(text) => text,
        };
        Ok(Self(values.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}
