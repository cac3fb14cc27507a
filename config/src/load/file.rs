use std::{fs, ops::Range, path::Path};

use serde::Deserialize;
use toml::{
    Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Layer, Loader};
use crate::{
    error::{Origin, Problem},
    settings::Settings,
    suggest,
};

impl Loader {
    /// Reads the settings in a file.
    pub(super) fn read_file(&mut self, path: &Path) -> Layer {
        let mut layer = Layer::default();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(&Origin::File(path.to_owned()), Problem::Unreadable(error));
                return layer;
            }
        };
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_at(&bytes, error.valid_up_to());
                let origin = Origin::Line { file: path.to_owned(), line, path: None };
                self.refuse(&origin, Problem::NotText);
                return layer;
            }
        };
        let file = File { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            self.read_table(&file, "", table.into_inner(), &mut layer);
            self.read_secrets(&mut layer);
        }
        for error in errors {
            // Only the message is used: the whole error quotes the line, which may contain a
            // secret.
            let origin = file.origin_of_error(error.span(), &self.settings);
            self.refuse(&origin, Problem::Syntax(error.message().to_owned()));
        }
        layer
    }

    fn read_table(
        &mut self,
        file: &File<'_>,
        section: &str,
        table: DeTable<'_>,
        layer: &mut Layer,
    ) {
        for (key, value) in table {
            let path = join(section, key.get_ref());
            let line = line_at(file.text.as_bytes(), key.span().start);
            let origin = file.origin(line, Some(path.clone()));
            if self.settings.find_section(&path).is_some() {
                match value.into_inner() {
                    DeValue::Table(table) => self.read_table(file, &path, table, layer),
                    _ => self.refuse(&origin, Problem::NotSection),
                }
            } else if let Some(setting) = self.settings.find(&path) {
                let expected = setting.kind.to_string();
                match Value::deserialize(ValueDeserializer::from(value)) {
                    Ok(value) => self.set(layer, &path, value, origin),
                    // The number is too large. The error would quote it, even if it is a secret.
                    Err(_) => self.refuse(&origin, Problem::Value { expected, found: None }),
                }
            } else {
                let hint = suggest::in_file(&self.settings, &path);
                self.refuse(&origin, Problem::Unknown(hint));
            }
        }
    }
}

/// A file and its text, used to find line numbers.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, line: usize, path: Option<String>) -> Origin {
        Origin::Line { file: self.path.to_owned(), line, path }
    }

    /// The place where the text stops being valid TOML, with the setting on that line if it can be
    /// recognized. Only the path of a known setting is shown, since any other text there may be
    /// part of a secret.
    fn origin_of_error(&self, span: Option<Range<usize>>, settings: &Settings) -> Origin {
        let line = line_at(self.text.as_bytes(), span.unwrap_or_default().start);
        let lines: Vec<_> = self.text.lines().take(line).map(str::trim).collect();
        let key = lines.last().and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
        let section = lines.iter().rev().find_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
        let path = key.map(|key| match section {
            Some(section) => format!("{section}.{key}"),
            None => key.to_owned(),
        });
        self.origin(line, path.filter(|path| settings.find(path).is_some()))
    }
}

/// The line, counted from one, of the byte at `offset`.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The dotted path of a key within a section. A key that contains a dot is quoted, as in TOML.
fn join(section: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let key =
        if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") };
    if section.is_empty() { key } else { format!("{section}.{key}") }
}
