//! What is kept of an answer: its beginning, without the secrets that the request held. Some
//! destinations repeat a request's headers in their errors.

use hookswitch_crds::secret::SecretBytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// The most that is kept of an answer, in bytes.
pub(super) const LENGTH: usize = 1024;

/// Put where a secret was.
const REDACTED: &str = "[redacted]";

/// The secrets of a destination, in every spelling that an answer may repeat them in.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    spellings: Vec<SecretBytes>,
    longest: usize,
}

impl Secrets {
    /// Adds a secret: as it is, in JSON (with `/` escaped or not), and percent-encoded.
    pub(super) fn add(&mut self, secret: &[u8]) {
        let secret = secret.trim_ascii();
        if secret.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(secret);
        let quoted = serde_json::Value::from(text.as_ref()).to_string();
        let json = quoted.trim_matches('"').to_owned();
        let escaped = json.replace('/', "\\/");
        let percent = percent_encode(secret, NON_ALPHANUMERIC).to_string();
        for spelling in [text.into_owned(), json, escaped, percent] {
            self.longest = self.longest.max(spelling.len());
            self.spellings.push(SecretBytes::new(spelling.into_bytes()));
        }
        // The longest first: one secret may begin with another.
        self.spellings
            .sort_by_key(|spelling| std::cmp::Reverse(spelling.expose().len()));
        self.spellings.dedup();
    }

    /// The beginning of an answer without secrets; `None` where there is nothing.
    ///
    /// The end of what was read may be the beginning of a secret, so where `whole` is false as much as
    /// the longest secret is left out there.
    pub(super) fn excerpt(&self, answer: &[u8], whole: bool) -> Option<String> {
        let mut text = self.clear(String::from_utf8_lossy(answer).into_owned());
        let kept = if whole {
            text.len()
        } else {
            text.len().saturating_sub(self.longest)
        };
        text.truncate(text.floor_char_boundary(kept.min(LENGTH)));
        (!text.is_empty()).then_some(text)
    }

    /// A text without secrets.
    pub(super) fn clear(&self, mut text: String) -> String {
        for spelling in &self.spellings {
            let spelling = String::from_utf8_lossy(spelling.expose());
            if text.contains(spelling.as_ref()) {
                text = text.replace(spelling.as_ref(), REDACTED);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(of: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for secret in of {
            secrets.add(secret.as_bytes());
        }
        secrets
    }

    #[test]
    fn r57_an_excerpt_holds_no_secret_in_any_spelling() {
        let secrets = secrets(&["pa/ss\"word+1", "pa/ss", "\n"]);
        for answer in [
            "token pa/ss\"word+1 is wrong",
            r#"{"authorization":"pa/ss\"word+1"}"#,
            r#"{"authorization":"pa\/ss\"word+1"}"#,
            "token=pa%2Fss%22word%2B1&x",
        ] {
            let excerpt = secrets.excerpt(answer.as_bytes(), true).unwrap();
            assert!(excerpt.contains(REDACTED), "{excerpt}");
            assert!(!excerpt.contains("word"), "{excerpt}");
        }
    }

    #[test]
    fn r57_a_secret_that_is_cut_off_does_not_show_its_beginning() {
        let secrets = secrets(&["0123456789"]);
        let excerpt = secrets.excerpt(b"it was 01234567", false).unwrap();
        assert!(!excerpt.contains("0123"), "{excerpt}");
        // Nor does the limit on the length cut through one.
        let long = format!("{}0123456789", "x".repeat(LENGTH - 4));
        let excerpt = secrets.excerpt(long.as_bytes(), true).unwrap();
        assert!(!excerpt.contains("0123"));
        assert_eq!(excerpt.len(), LENGTH);
    }

    #[test]
    fn an_excerpt_is_bounded_text() {
        let secrets = Secrets::default();
        let long = "é".repeat(LENGTH);
        assert!(secrets.excerpt(long.as_bytes(), true).unwrap().len() <= LENGTH);
        assert_eq!(secrets.excerpt(b"", true), None);
        assert_eq!(secrets.excerpt(b"a\xffb", true).unwrap(), "a\u{fffd}b");
    }
}
