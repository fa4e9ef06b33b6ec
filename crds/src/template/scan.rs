//! Splits a text into literals and the sources of its expressions.

use crate::expression;

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it stands, with `$${` made `${`.
    Literal(String),
    /// What is between `${` and its brace.
    Expression(&'a str),
}

/// The pieces in order; no two literals follow each other, and none is empty.
///
/// # Errors
/// Where an expression is not closed.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, expression::Error> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("$${") {
            literal.push_str("${");
            rest = after;
        } else if let Some(after) = from.strip_prefix("${") {
            let (source, after) =
                expression_source(after).ok_or_else(|| expression::Error {
                    message: format!(
                        "the `${{` at character {} has no closing `}}`; write `$${{` for a literal `${{`",
                        text.chars().count() - from.chars().count() + 1
                    ),
                })?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Expression(source));
            rest = after;
        } else {
            literal.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Splits at the brace that closes the expression.
fn expression_source(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut at = 0;
    let mut raw = false;
    while let Some(c) = text.get(at..)?.chars().next() {
        let mut next = at + c.len_utf8();
        match c {
            '}' if depth == 0 => return Some((text.get(..at)?, text.get(next..)?)),
            '}' => depth -= 1,
            '{' => depth += 1,
            '\'' | '"' => next = at + quoted(text.get(at..)?, raw)?,
            // A comment runs to the end of its line.
            '/' if text.get(next..)?.starts_with('/') => {
                next = at + text.get(at..)?.find('\n')?;
            }
            _ => {}
        }
        raw = is_raw_prefix(text.get(..next)?);
        at = next;
    }
    None
}

/// Whether a quote behind this opens a raw text: `r'..'`, `b` before or after the `r`.
fn is_raw_prefix(before: &str) -> bool {
    let word = before
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .map_or(Some(before), |end| {
            before
                .get(end..)
                .map(|rest| rest.get(1..).unwrap_or_default())
        })
        .unwrap_or_default();
    matches!(word.to_ascii_lowercase().as_str(), "r" | "br" | "rb")
}

/// The length of the text that begins here, quotes included.
fn quoted(text: &str, raw: bool) -> Option<usize> {
    let single = text.get(..1)?;
    let triple = single.repeat(3);
    let quote = if text.starts_with(&triple) {
        triple.as_str()
    } else {
        single
    };
    let mut at = quote.len();
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(quote) {
            return Some(at + quote.len());
        }
        let mut chars = rest.chars();
        let first = chars.next()?;
        at += first.len_utf8();
        if first == '\\' && !raw {
            at += chars.next()?.len_utf8();
        }
    }
}
