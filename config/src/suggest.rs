//! Suggestions for an unknown setting.

use std::collections::BTreeMap;

use crate::settings::Settings;

/// Suggests what was meant by an unknown dotted path in a file.
pub(crate) fn in_file(settings: &Settings, path: &str) -> String {
    let sections = settings.sections.iter().map(|section| &section.path);
    let paths = settings.iter().map(|setting| &setting.path).chain(sections);
    hint(path, paths.map(|path| (path.as_str(), format!("`{path}`"))).collect())
}

/// Suggests what was meant by an unknown variable, given its dotted path.
pub(crate) fn in_environment(settings: &Settings, path: &str) -> String {
    let settings = settings.iter();
    hint(path, settings.map(|setting| (setting.path.as_str(), setting.variable())).collect())
}

/// Names settings similar to `path`, or otherwise the settings of the same section. `known` maps
/// each path to the name to show.
fn hint(path: &str, mut known: BTreeMap<&str, String>) -> String {
    known.remove("");
    let near = near(path, &known);
    if !near.is_empty() {
        return format!("did you mean {}?", near.join(" or "));
    }
    let siblings: Vec<_> = known
        .iter()
        .filter(|(other, _)| section_of(other) == section_of(path))
        .map(|(_, name)| name.as_str())
        .collect();
    if siblings.is_empty() {
        return "`stoa generate-config` shows all settings".to_owned();
    }
    format!("possible here: {}", siblings.join(", "))
}

/// Up to three names, nearest first, that differ by a few letters or are the same key in another
/// section.
fn near<'a>(path: &str, known: &'a BTreeMap<&str, String>) -> Vec<&'a str> {
    let mut found: Vec<_> = known
        .iter()
        .filter_map(|(other, name)| {
            let distance = strsim::damerau_levenshtein(path, other);
            let close = distance <= 1 + other.len() / 6 || key_of(path) == key_of(other);
            close.then_some((distance, name.as_str()))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

fn section_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

fn key_of(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, key)| key)
}
