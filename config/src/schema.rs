use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{
    Config,
    settings::{Setting, Settings},
};

/// The JSON schema of the configuration file, for editors that check and complete TOML by it.
pub fn json_schema() -> String {
    let mut schema = of_types();
    simplify(&mut schema);
    for setting in Settings::collect().iter() {
        describe(&mut schema, setting);
    }
    format!("{schema:#}\n")
}

/// The schema as it follows from the types.
///
/// Types are put where they are used, so that a path through sections leads to a setting.
pub(crate) fn of_types() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// The schema of what stands at a dotted path.
pub(crate) fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|key| !key.is_empty()).fold(schema, |at, key| &at["properties"][key])
}

/// Takes out what follows from Rust and not from the configuration: fields that are required
/// because defaults are laid under them, and `null`, which TOML does not have.
fn simplify(schema: &mut Value) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    let Value::Object(object) = schema else { return };
    object.remove("required");
    object.remove("format");
    object.remove("default");
    for property in
        object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        simplify(property.1);
    }
}

/// Adds what the list of settings knows: the default, and the setting itself where it is not a
/// field.
fn describe(schema: &mut Value, setting: &Setting) {
    let (section, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
    let section = section.split('.').filter(|key| !key.is_empty());
    let section = section.fold(schema, |at, key| &mut at["properties"][key]);
    let property = &mut section["properties"][key];
    if property.is_null() {
        *property = json!({ "type": "string", "description": setting.description });
    }
    if let Some(default) = &setting.default {
        property["default"] = json!(default);
    }
}
