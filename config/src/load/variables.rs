use std::ffi::OsString;

use super::{Layer, Loader};
use crate::{
    error::{Origin, Problem},
    settings::Setting,
    suggest,
};

/// The variable that names the configuration file. It is not a setting of the file.
const NAMES_THE_FILE: &str = "STOA_CONFIG";

impl Loader {
    /// Reads the settings from the environment variables.
    pub(super) fn read_variables(
        &mut self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in environment {
            // None of our names is outside of Unicode.
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix("STOA_") else { continue };
            if name == NAMES_THE_FILE || is_set_by_kubernetes(rest) {
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let Some(Setting { path, kind, .. }) =
                self.settings.iter().find(|setting| setting.variable() == name)
            else {
                let path = rest.to_lowercase().replace("__", ".");
                let hint = suggest::in_environment(&self.settings, &path);
                self.refuse(&origin, Problem::Unknown(hint));
                continue;
            };
            match value.to_str() {
                Some(text) => {
                    let (path, value) = (path.clone(), kind.read(text));
                    self.set(&mut layer, &path, value, origin);
                }
                None => self.refuse(&origin, Problem::NotText),
            }
        }
        self.read_secrets(&mut layer);
        layer
    }
}

/// Kubernetes gives each pod variables about other services. Those about a service called `stoa`
/// have the same prefix as ours: `STOA_SERVICE_HOST`, `STOA_PORT_8008_TCP`.
fn is_set_by_kubernetes(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}
