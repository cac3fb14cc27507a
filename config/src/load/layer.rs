use std::{collections::BTreeMap, fs, path::PathBuf};

use toml::Value;

use super::Loader;
use crate::{
    error::{Origin, Problem},
    settings::Setting,
};

/// Settings from one source by their dotted paths, each with the place where it was set.
#[derive(Default)]
pub(super) struct Layer(BTreeMap<String, (Value, Origin)>);

impl Layer {
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        self.0.get(path).map(|(value, _)| value)
    }

    pub(super) fn origin(&self, path: &str) -> Option<&Origin> {
        self.0.get(path).map(|(_, origin)| origin)
    }

    pub(super) fn remove(&mut self, path: &str) -> Option<(Value, Origin)> {
        self.0.remove(path)
    }

    /// Lays another layer over this one, which it overrides.
    pub(super) fn cover_with(&mut self, upper: Self) {
        self.0.extend(upper.0);
    }

    fn insert(&mut self, path: &str, value: Value, origin: Origin) {
        self.0.insert(path.to_owned(), (value, origin));
    }
}

impl Loader {
    /// Puts a value into a layer if its shape is right.
    pub(super) fn set(&mut self, layer: &mut Layer, path: &str, value: Value, origin: Origin) {
        let Some(Setting { kind, .. }) = self.settings.find(path) else { return };
        if kind.allows(&value) {
            layer.insert(path, value, origin);
        } else {
            let expected = kind.to_string();
            self.refuse_value(path, &origin, expected, value);
        }
    }

    /// Replaces each setting that names a file with a secret by the secret itself.
    pub(super) fn read_secrets(&mut self, layer: &mut Layer) {
        let holders = self.settings.iter();
        let holders = holders.filter_map(|setting| Some((&setting.path, setting.holds.as_ref()?)));
        let holders: Vec<_> = holders.map(|(path, held)| (path.clone(), held.clone())).collect();
        for (path, held) in holders {
            let Some((Value::String(file), origin)) = layer.remove(&path) else { continue };
            let file = PathBuf::from(file);
            if layer.value(&held).is_some() {
                self.refuse(&origin, Problem::SecretTwice(held));
                continue;
            }
            match fs::read_to_string(&file) {
                // Editors end a file with a line break, which is not part of the secret.
                Ok(secret) => {
                    let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
                    layer.insert(&held, Value::String(secret), origin);
                }
                Err(error) => self.refuse(&origin, Problem::SecretFile { file, error }),
            }
        }
    }
}
