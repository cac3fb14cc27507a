//! Loads a [`Config`] from a file and the environment.
//!
//! Each source becomes a [`Layer`] of settings that have the right shape. The layers are laid over
//! the defaults, and the types make the final check of each value. A wrong value is recorded as an
//! error and left out, so that the rest is checked as well.

mod file;
mod layer;
mod variables;

use std::{ffi::OsString, path::Path};

use toml::{Table, Value};

use self::layer::Layer;
use crate::{
    config::Config,
    error::{ConfigError, ConfigErrors, Origin, Problem},
    settings::Settings,
};

impl Config {
    /// Reads the configuration from `file`, if there is one, and from the variables in
    /// `environment`, which override the file.
    ///
    /// Variables whose name does not begin with `STOA_` are ignored, and so is `STOA_CONFIG`, which
    /// names the file and is handled by the caller.
    ///
    /// # Errors
    ///
    /// All errors in the file and the variables, in one [`ConfigErrors`].
    pub fn load<N, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigErrors>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut loader = Loader { settings: Settings::collect(), errors: Vec::new() };
        let mut layer = file.map(|path| loader.read_file(path)).unwrap_or_default();
        layer.cover_with(loader.read_variables(variables));
        let config = loader.build(layer);

        let mut errors = loader.errors;
        errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(errors)),
        }
    }
}

/// What the steps share: the list of settings, and the errors found so far.
struct Loader {
    settings: Settings,
    errors: Vec<ConfigError>,
}

impl Loader {
    fn refuse(&mut self, origin: &Origin, problem: Problem) {
        self.errors.push(ConfigError { origin: origin.clone(), problem });
    }

    /// Records an error about the value of a setting, showing it unless it is a secret.
    fn refuse_value(&mut self, path: &str, origin: &Origin, expected: String, value: Value) {
        let shown = self.settings.find(path).is_some_and(|setting| !setting.secret);
        self.refuse(origin, Problem::Value { expected, found: shown.then_some(value) });
    }

    /// Builds the configuration. A value that its type refuses becomes an error and is replaced by
    /// the default, until all remaining values are valid.
    fn build(&mut self, mut layer: Layer) -> Option<Config> {
        loop {
            let merged = self.merge(&layer);
            let error = match serde_path_to_error::deserialize::<_, Config>(merged) {
                Ok(config) => {
                    self.check(&config, &layer);
                    return Some(config);
                }
                Err(error) => error,
            };
            let path = error.path().to_string();
            let (value, origin) = layer.remove(&path)?;
            let expected = error.into_inner().message().to_owned();
            self.refuse_value(&path, &origin, expected, value);
        }
    }

    /// The layer laid over the defaults, in the form from which the types are deserialized.
    fn merge(&self, layer: &Layer) -> Table {
        let mut root = Table::new();
        // Every section exists, even if nothing in it is set.
        let sections = self.settings.sections.iter().filter(|section| !section.path.is_empty());
        for section in sections {
            insert(&mut root, &section.path, Table::new().into());
        }
        for setting in self.settings.iter() {
            if let Some(value) = layer.value(&setting.path).or(setting.default.as_ref()) {
                insert(&mut root, &setting.path, value.clone());
            }
        }
        root
    }

    /// Checks that involve more than one value. They run only if all values are valid, since
    /// otherwise a default may be in the place of what was meant.
    fn check(&mut self, config: &Config, layer: &Layer) {
        if !self.errors.is_empty() {
            return;
        }
        let conflict = config.database.conflict();
        if let (Some(problem), Some(origin)) = (conflict, layer.origin("database.direct_url")) {
            self.refuse(origin, Problem::Conflict(problem));
        }
    }
}

/// Puts a value at its path, and creates the sections on the way.
fn insert(root: &mut Table, path: &str, value: Value) {
    let mut keys = path.split('.').collect::<Vec<_>>();
    let last = keys.pop().unwrap_or_default();
    let table = keys.into_iter().try_fold(root, |table, key| {
        table.entry(key).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
    });
    if let Some(table) = table {
        table.insert(last.to_owned(), value);
    }
}
