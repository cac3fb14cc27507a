//! Text of a registration file in messages.

/// What a file says, as it may be shown in one line and on any terminal. Backslashes, which regular
/// expressions are full of, stay as they are.
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
