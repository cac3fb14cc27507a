use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::parse;

/// Shown in place of a secret wherever a configuration is displayed.
pub(crate) const HIDDEN: &str = "***";

/// A text that is never shown, neither by `Debug` nor in errors nor when serialized.
///
/// It does not implement `PartialEq`, since comparing secrets byte by byte reveals how much of them
/// is equal.
#[derive(Clone, JsonSchema)]
#[schemars(extend("writeOnly" = true))]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({HIDDEN})")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse::text(deserializer, "a string that is not empty", |text| {
            (!text.is_empty()).then(|| Self(text.to_owned()))
        })
    }
}
