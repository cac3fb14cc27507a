//! Takes a Rust file apart just far enough to tell code, strings and comments from one another.

/// The parts of a Rust file that rules are about; comments are in neither.
#[derive(Debug, Default)]
pub(crate) struct RustSource {
    /// The code, with each comment and each literal replaced by a space.
    pub(crate) code: String,
    pub(crate) strings: Vec<StringLiteral>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StringLiteral {
    /// As written, escapes and all.
    pub(crate) text: String,
    /// The line it starts on, from 1.
    pub(crate) line: usize,
}

impl RustSource {
    pub(crate) fn parse(text: &str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment_length(rest)
            } else if let Some(literal) = string_literal(rest, &source.code) {
                let before = text.len() - rest.len();
                source.strings.push(StringLiteral {
                    text: literal.content.to_owned(),
                    line: text[..before].matches('\n').count() + 1,
                });
                literal.length
            } else if let Some(length) = char_literal_length(rest) {
                length
            } else {
                source.code.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            };
            source.code.push(' ');
            rest = &rest[length..];
        }
        source
    }

    /// Whether the code uses `name` as a word.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.code.split(|c: char| !is_word(c)).any(|word| word == name)
    }
}

struct Literal<'a> {
    content: &'a str,
    length: usize,
}

/// The string literal that `rest` starts with; `before` is the code that stands before it.
fn string_literal<'a>(rest: &'a str, before: &str) -> Option<Literal<'a>> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r'))?;
    // In `bar"`, which only a macro could be given, the letters are the end of a word.
    if prefix > 2 || before.ends_with(is_word) {
        return None;
    }
    let is_raw = rest[..prefix].ends_with('r');
    let body = &rest[prefix..];
    let hashes = if is_raw { body.len() - body.trim_start_matches('#').len() } else { 0 };
    let start = prefix + hashes + 1;
    if !body[hashes..].starts_with('"') {
        return None;
    }
    let inner = &rest[start..];
    let end = if is_raw {
        inner.find(&format!("\"{}", "#".repeat(hashes))).unwrap_or(inner.len())
    } else {
        end_of_quoted(inner, '"')
    };
    let length = (start + end + 1 + hashes).min(rest.len());
    Some(Literal { content: &inner[..end], length })
}

/// The length of the character literal that `rest` starts with, if it is not a lifetime.
fn char_literal_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let mut characters = inner.chars();
    let first = characters.next()?;
    let is_literal = first == '\\' || characters.next() == Some('\'');
    is_literal.then(|| (end_of_quoted(inner, '\'') + 2).min(rest.len()))
}

/// Where in `inner` the closing quote stands.
fn end_of_quoted(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return index,
            _ => {}
        }
    }
    inner.len()
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < rest.len() {
        if rest[index..].starts_with("/*") {
            depth += 1;
            index += 2;
        } else if rest[index..].starts_with("*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += rest[index..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        RustSource::parse(text).strings.into_iter().map(|string| string.text).collect()
    }

    fn words(text: &str) -> String {
        RustSource::parse(text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_dropped() {
        assert_eq!(words("a // b \"c\"\nd /* e /* f */ \" g */ h"), "a d h");
        assert_eq!(words("/// uses `serde`\n//! and\nfn f() {}"), "fn f() {}");
        assert_eq!(words("a /* ä never closed"), "a");
    }

    #[test]
    fn strings_of_every_kind_are_found() {
        assert_eq!(strings(r#"f("a // b", b"c", "say \"d\"")"#), ["a // b", "c", "say \\\"d\\\""]);
        assert_eq!(strings("r\"\\\" r#\"x \"y\" \"# br##\"z\"# \"##"), ["\\", "x \"y\" ", "z\"# "]);
        assert_eq!(strings("c\"d\" \"\""), ["d", ""]);
        assert_eq!(words("let x = \"y\";"), "let x = ;");
    }

    #[test]
    fn the_line_is_where_the_string_starts() {
        let source = RustSource::parse("\n\nf(\n  \"one\n  two\",\n \"three\")");
        let lines: Vec<_> = source.strings.iter().map(|string| string.line).collect();
        assert_eq!(lines, [4, 6]);
    }

    #[test]
    fn characters_and_lifetimes_are_distinguished() {
        assert_eq!(strings(r#"'"' "a" '\'' "b" '\\' "c" b'"' "d""#), ["a", "b", "c", "d"]);
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> &'static str"),
            "fn f<'a>(x: &'a str) -> &'static str"
        );
        assert_eq!(strings("fn f<'a>(x: &'a str) { \"s\" }"), ["s"]);
    }

    #[test]
    fn a_broken_file_ends_the_last_literal() {
        assert_eq!(strings("f(\"never closed"), ["never closed"]);
        assert_eq!(strings("f(r#\"never closed\""), ["never closed\""]);
    }

    #[test]
    fn only_whole_words_are_mentions() {
        let source = RustSource::parse("use serde_json::Value; // serde\nlet s = \"sqlx\";");
        assert!(source.mentions("serde_json"));
        assert!(!source.mentions("serde"));
        assert!(!source.mentions("sqlx"));
    }
}
