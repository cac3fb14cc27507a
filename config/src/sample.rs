use crate::{
    layout::{paragraphs, wrap},
    settings::{Section, Setting, Settings},
};

const INTRODUCTION: &str = "The configuration of Stoa. Every setting stands here with its \
    default, or with an example where there is none. Take away the `#` in front of a setting to \
    change it; `stoa check-config` says whether the file is right.";

/// A configuration file with a comment for each setting. All settings are commented out, so the
/// file as it is means the defaults.
pub fn sample_toml() -> String {
    let mut lines = comment(INTRODUCTION);
    for section in &Settings::collect().sections {
        lines.extend(of_section(section));
    }
    lines.join("\n") + "\n"
}

fn of_section(section: &Section) -> Vec<String> {
    let mut lines = Vec::new();
    if !section.path.is_empty() {
        lines.extend([String::new(), String::new()]);
        lines.extend(comment(&section.description));
        lines.push(format!("[{}]", section.path));
    }
    for setting in &section.settings {
        lines.push(String::new());
        lines.extend(comment(&setting.description));
        lines.push(format!("#{}", assignment(setting)));
    }
    lines
}

fn assignment(setting: &Setting) -> String {
    let value = setting.default.as_ref().or(setting.example.as_ref());
    let value = value.map(ToString::to_string).unwrap_or_default();
    format!("{} = {value}", setting.key())
}

/// A text as comment lines, with an empty comment line between paragraphs.
fn comment(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in paragraphs(text) {
        if !lines.is_empty() {
            lines.push("#".to_owned());
        }
        lines.extend(wrap(&paragraph, 96).iter().map(|line| format!("# {line}")));
    }
    lines
}
