use serde_json::{Value, json};

use crate::settings::{Setting, Settings, schema_of_types};

/// The JSON schema of the configuration file, with which editors check and complete TOML.
pub fn json_schema() -> String {
    let mut schema = schema_of_types();
    simplify(&mut schema);
    for setting in Settings::collect().iter() {
        describe(&mut schema, setting);
    }
    format!("{schema:#}\n")
}

/// Removes what comes from Rust and not from the configuration: required fields, since all have
/// defaults or can be left out, and `null`, which TOML does not have.
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

/// Adds what the list of settings knows: defaults, and settings that are not fields.
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
