//! Senders' words in our log lines.

use std::fmt::{self, Write as _};

/// The most characters that are shown.
const MOST: usize = 256;

/// Shows a sender's text so that it can neither begin a new line, nor steer a terminal, nor run the
/// wrong way.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MOST) {
            if steers(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        if characters.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, marks of direction and of no width.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_log() {
        let shown = Printable("a\r\nlevel=ERROR \x1b[31m\u{202e}ß").to_string();
        assert_eq!(shown, "a\\u{d}\\u{a}level=ERROR \\u{1b}[31m\\u{202e}ß");
        let long = "x".repeat(MOST + 1);
        assert_eq!(
            Printable(&long).to_string(),
            format!("{}...", "x".repeat(MOST))
        );
        assert_eq!(Printable(&long[1..]).to_string(), long[1..]);
    }
}
