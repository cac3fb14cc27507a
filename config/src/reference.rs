use crate::{
    layout::paragraphs,
    settings::{Section, Setting, Settings},
};

const INTRODUCTION: &str = "\
# Configuration

Stoa reads one [TOML](https://toml.io) file: the one given by `--config PATH`, otherwise by the \
variable `STOA_CONFIG`, otherwise `stoa.toml` in the folder in which it is started. It also runs \
without one: every setting has a default or can be left out.

- `stoa generate-config` prints a file with every setting and a comment, to start from.
- `stoa check-config` reads the configuration as `stoa serve` does and reports what is wrong with it.
- [`config/stoa.schema.json`](../config/stoa.schema.json) lets an editor check and complete the \
file: put `#:schema PATH-TO/stoa.schema.json` in its first line.

Every setting can also be given as an environment variable, which overrides the file; its name is \
listed with the setting. In a variable, commas separate the items of a list; an empty variable is \
an empty list.

A secret can be kept in a file of its own, named by a second setting that ends in `_path`. Line \
breaks at the end of that file are ignored.

Unknown settings, and unknown variables that begin with `STOA_`, are errors, except for \
`STOA_CONFIG` and the variables that Kubernetes sets for a service named `stoa` (`STOA_PORT…`, \
`STOA_SERVICE_…`).
";

/// The reference of all settings, as Markdown.
pub fn reference_markdown() -> String {
    let settings = Settings::collect();
    let sections = settings.sections.iter().map(of_section);
    let blocks: Vec<_> = sections.flatten().collect();
    format!("{INTRODUCTION}\n{}\n", blocks.join("\n\n"))
}

fn of_section(section: &Section) -> Vec<String> {
    let title = match section.path.as_str() {
        "" => "## Outside any section".to_owned(),
        path => format!("## `[{path}]`"),
    };
    let described = paragraphs(&section.description).filter(|_| !section.path.is_empty());
    let mut blocks = vec![title];
    blocks.extend(described);
    blocks.extend(section.settings.iter().flat_map(of_setting));
    blocks
}

fn of_setting(setting: &Setting) -> Vec<String> {
    let mut facts = vec![format!("- Takes: {}", setting.kind)];
    facts.push(match &setting.default {
        Some(default) => format!("- Default: `{default}`"),
        None => "- Not set by default".to_owned(),
    });
    facts.extend(setting.example.iter().map(|example| format!("- Example: `{example}`")));
    facts.push(format!("- Variable: `{}`", setting.variable()));

    let mut blocks = vec![format!("### `{}`", setting.path)];
    blocks.extend(paragraphs(&setting.description));
    blocks.push(facts.join("\n"));
    blocks
}
