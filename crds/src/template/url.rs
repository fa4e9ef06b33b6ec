//! URLs whose path and query hold `${...}`.
//!
//! What an expression gives stands for a piece of a segment or of a value, and for nothing else: it is
//! percent-encoded whole, so that no `/`, `?`, `#` or `&` of an event's reaches another resource, nor does `..`.
//! An empty value has no URL either: `/users/` is not the user without an id.

use super::{scan, text};
use crate::expression::{self, EvalError, Expression, MAX_VALUE, Scope, Variables};

/// The longest URL.
const MAX_URL: usize = 8192;

/// A compiled URL.
#[derive(Debug)]
pub struct UrlTemplate {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Literal(String),
    Expression(Expression),
}

impl UrlTemplate {
    /// Compiles it, over `event`.
    ///
    /// # Errors
    /// Where an expression does not compile, or stands before the path.
    pub fn compile(template: &str) -> Result<Self, expression::Error> {
        let parts = scan::pieces(template)?
            .into_iter()
            .map(|piece| match piece {
                scan::Piece::Literal(text) => Ok(Part::Literal(text)),
                scan::Piece::Expression(source) => {
                    Expression::compile(source, Scope::Event).map(Part::Expression)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let host_is_written = match parts.first() {
            Some(Part::Literal(text)) => {
                parts.len() == 1
                    || text
                        .split_once("://")
                        .is_some_and(|(_, rest)| rest.contains(['/', '?']))
            }
            Some(Part::Expression(_)) | None => false,
        };
        if !host_is_written {
            return Err(expression::Error {
                message: "write https://host/path?query: the host is written out, and ${...} may stand in path and query only".to_owned(),
            });
        }
        Ok(Self { parts })
    }

    /// Checks that the word lists that it names are among these.
    ///
    /// # Errors
    /// That of the first expression that names another.
    pub fn check_word_lists(&self, known: &[&str]) -> Result<(), expression::Error> {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(_) => Ok(()),
            Part::Expression(expression) => expression.check_word_lists(known),
        })
    }

    /// The URL for an event.
    ///
    /// # Errors
    /// Where an expression has no value, or one that is empty or can't be a piece of a URL.
    pub fn render(&self, variables: &Variables<'_>) -> Result<String, EvalError> {
        let mut url = String::new();
        let mut room = MAX_VALUE;
        for part in &self.parts {
            match part {
                Part::Literal(text) => url.push_str(text),
                Part::Expression(expression) => {
                    let value = expression.evaluate_within(variables, &mut room)?;
                    let value = text(&value);
                    if value.is_empty() {
                        return Err(EvalError::Failed("a value in the URL is empty".to_owned()));
                    }
                    encode(&value, &mut url);
                }
            }
            if url.len() > MAX_URL {
                return Err(EvalError::Failed(format!(
                    "the URL has more than {MAX_URL} bytes"
                )));
            }
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        if path.split('/').any(is_dots) {
            return Err(EvalError::Failed(
                "a value would lead out of the URL's path".to_owned(),
            ));
        }
        Ok(url)
    }
}

/// Whether a segment means this folder or the one above, as every client reads it
/// (<https://url.spec.whatwg.org/#double-dot-path-segment>).
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// Everything but what is unreserved (RFC 3986, 2.3).
fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
            url.push('%');
            url.extend(
                digits
                    .into_iter()
                    .flatten()
                    .map(|it| it.to_ascii_uppercase()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, id: &serde_json::Value) -> Result<String, EvalError> {
        let event = json!({"data": {"id": id}});
        UrlTemplate::compile(template)
            .unwrap()
            .render(&Variables::new(&event))
    }

    #[test]
    fn a_value_is_one_piece_of_the_url_whatever_it_holds() {
        let url = "https://a.example/users/${event.data.id}?q=${event.data.id}&x=1";
        for (id, encoded) in [
            (json!("u-1_~."), "u-1_~."),
            (json!(17), "17"),
            (json!("a/b?c#d&e=f%"), "a%2Fb%3Fc%23d%26e%3Df%25"),
            (json!("ä b+"), "%C3%A4%20b%2B"),
            (json!("\r\nHost: x"), "%0D%0AHost%3A%20x"),
        ] {
            assert_eq!(
                render(url, &id),
                Ok(format!("https://a.example/users/{encoded}?q={encoded}&x=1"))
            );
        }
    }

    #[test]
    fn no_value_leads_to_another_resource() {
        let url = "https://a.example/users/${event.data.id}/profile";
        for id in ["..", ".", "", "%2e%2e"] {
            let rendered = render(url, &json!(id));
            assert!(
                rendered.is_err()
                    || rendered == Ok("https://a.example/users/%252e%252e/profile".to_owned()),
                "{id}: {rendered:?}"
            );
        }
        assert!(
            render(
                "https://a.example/${event.data.id}${event.data.id}",
                &json!(".")
            )
            .is_err()
        );
        assert!(render(url, &json!(null)).is_err());
        assert!(matches!(
            render("https://a.example/${event.data.none}", &json!("")),
            Err(EvalError::MissingField(_))
        ));
        assert!(render(url, &json!("x".repeat(9000))).is_err());
    }

    #[test]
    fn the_host_is_written_out() {
        for template in [
            "https://${event.data.id}/x",
            "https://a.example${event.data.id}",
            "${event.data.id}",
            "https://a.example/${event.data",
            "https://a.example/${evnt.data}",
        ] {
            assert!(UrlTemplate::compile(template).is_err(), "{template}");
        }
        for template in ["https://a.example", "https://a.example?x=${event.id}"] {
            assert!(UrlTemplate::compile(template).is_ok(), "{template}");
        }
    }
}
