//! The list of all settings, derived from the types.
//!
//! The schema describes each setting and the values that it takes. The serialized defaults give the
//! default values and the order in which the fields are declared, which a schema does not keep.

use schemars::generate::SchemaSettings;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value as Json, value::RawValue};
use toml::Value;

use crate::{config::Config, kind::Kind};

/// All sections in the order in which they are declared. The first has no name and contains the
/// settings outside of any `[section]`.
pub(crate) struct Settings {
    pub(crate) sections: Vec<Section>,
}

pub(crate) struct Section {
    /// The dotted path, as in `limits.messages`.
    pub(crate) path: String,
    pub(crate) description: String,
    pub(crate) settings: Vec<Setting>,
}

pub(crate) struct Setting {
    /// The dotted path, as in `limits.messages.burst`.
    pub(crate) path: String,
    pub(crate) description: String,
    pub(crate) kind: Kind,
    pub(crate) default: Option<Value>,
    /// An example to show if there is no default.
    pub(crate) example: Option<Value>,
    /// Whether the value must not be shown.
    pub(crate) secret: bool,
    /// If this setting names a file that contains a secret, the setting of that secret.
    pub(crate) holds: Option<String>,
}

/// The schema as generated from the types.
///
/// Types are inlined where they are used, so that a path through sections leads to a setting.
pub(crate) fn schema_of_types() -> Json {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// The schema at a dotted path.
fn schema_at<'a>(schema: &'a Json, path: &str) -> &'a Json {
    path.split('.').filter(|key| !key.is_empty()).fold(schema, |at, key| &at["properties"][key])
}

impl Settings {
    pub(crate) fn collect() -> Self {
        let schema = schema_of_types();
        let defaults = serde_json::to_string(&Config::default()).unwrap_or_default();
        let mut settings = Self { sections: Vec::new() };
        settings.add_section("", &schema, &defaults);
        settings
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.sections.iter().flat_map(|section| &section.settings)
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Setting> {
        self.iter().find(|setting| setting.path == path)
    }

    pub(crate) fn find_section(&self, path: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.path == path)
    }

    fn add_section(&mut self, path: &str, schema: &Json, defaults: &str) {
        let index = self.sections.len();
        let here = schema_at(schema, path);
        self.sections.push(Section {
            path: path.to_owned(),
            description: description(here),
            settings: Vec::new(),
        });
        let Ordered(fields) = serde_json::from_str(defaults).unwrap_or_default();
        for (key, default) in fields {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            let field = schema_at(schema, &path);
            if field.get("properties").is_some() {
                self.add_section(&path, schema, default.get());
            } else if let Some(section) = self.sections.get_mut(index) {
                section.add(Setting::new(path, field, default.get()));
            }
        }
    }
}

impl Section {
    /// Adds a setting and, after a secret, the setting that names a file with that secret.
    fn add(&mut self, setting: Setting) {
        let file = setting.secret.then(|| setting.file());
        self.settings.push(setting);
        self.settings.extend(file);
    }
}

impl Setting {
    fn new(path: String, schema: &Json, default: &str) -> Self {
        let value = |json: &Json| Value::try_from(json).ok();
        Self {
            path,
            description: description(schema),
            kind: Kind::of(schema),
            default: serde_json::from_str(default).ok().and_then(|json| value(&json)),
            example: value(&schema["examples"][0]),
            secret: schema["writeOnly"] == true,
            holds: None,
        }
    }

    fn file(&self) -> Self {
        let key = self.key();
        Self {
            path: format!("{}_path", self.path),
            description: format!(
                "A file with `{key}`, to keep it out of the configuration and the environment."
            ),
            kind: Kind::Text,
            default: None,
            example: Some(format!("/run/secrets/{}", self.path.replace(['.', '_'], "-")).into()),
            secret: false,
            holds: Some(self.path.clone()),
        }
    }

    /// The last part of the path: the key within its section.
    pub(crate) fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The environment variable that sets this.
    pub(crate) fn variable(&self) -> String {
        format!("STOA_{}", self.path.replace('.', "__").to_uppercase())
    }
}

fn description(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// The fields of a JSON object, in the order of its text.
#[derive(Default)]
struct Ordered(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
