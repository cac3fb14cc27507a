//! Quoting the text of a registration file in messages.

/// Makes text from a file safe to show on one line of a terminal. Backslashes stay as they are,
/// since regular expressions are full of them.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            '\\' | '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
