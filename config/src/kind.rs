use std::fmt;

use serde_json::Value as Json;
use toml::Value;

/// The kind of value that a setting takes, as far as its JSON schema says.
///
/// The types check the rest when they are deserialized. This much is checked here, so that errors
/// have the same words for all settings, and the text of a variable can become a number or a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Flag,
    Number { min: i64, max: i64 },
    Choice(Vec<String>),
    Text,
    List,
}

impl Kind {
    pub(crate) fn of(schema: &Json) -> Self {
        let choices = |list: &Json, pick: fn(&Json) -> Option<&str>| {
            list.as_array().map(|list| list.iter().filter_map(pick).map(str::to_owned).collect())
        };
        // An enum whose variants have doc comments becomes a list of constants.
        let documented = choices(&schema["oneOf"], |variant| variant["const"].as_str());
        if let Some(choices) = documented.or_else(|| choices(&schema["enum"], Json::as_str)) {
            return Self::Choice(choices);
        }
        match &schema["type"] {
            Json::String(kind) if kind == "boolean" => Self::Flag,
            Json::String(kind) if kind == "integer" => Self::Number {
                min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
                max: schema["maximum"].as_i64().unwrap_or(i64::MAX),
            },
            Json::Array(kinds) if kinds.iter().any(|kind| kind == "array") => Self::List,
            _ => Self::Text,
        }
    }

    pub(crate) fn allows(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Flag, Value::Boolean(_)) | (Self::Text | Self::List, Value::String(_)) => true,
            (Self::Number { min, max }, Value::Integer(number)) => (min..=max).contains(&number),
            (Self::Choice(choices), Value::String(text)) => choices.contains(text),
            (Self::List, Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        }
    }

    /// The value of an environment variable. If its text is not valid for this kind, the value is
    /// the text itself, which [`Self::allows`] then refuses.
    pub(crate) fn read(&self, text: &str) -> Value {
        let value = match self {
            Self::Flag => text.parse().ok().map(Value::Boolean),
            Self::Number { .. } => text.parse().ok().map(Value::Integer),
            Self::Choice(_) | Self::Text => None,
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(Value::from).collect()))
            }
        };
        value.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
                write!(f, "one of {}", quoted.join(", "))
            }
            Self::Text => f.write_str("a string"),
            Self::List => f.write_str("a string or a list of strings"),
        }
    }
}
