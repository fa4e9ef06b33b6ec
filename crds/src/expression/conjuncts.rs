//! The parts of a condition that must all hold, so that a person can be told which one does not.

/// Splits a condition at its outermost `&&`, and each part again where it stands in brackets. A
/// condition with an outermost `||` or `?:` is one part. The parts together have the condition's
/// value: each is an expression where the whole is one.
#[must_use]
pub fn conjuncts(source: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    split(source, &mut parts);
    parts
}

fn split<'a>(source: &'a str, parts: &mut Vec<&'a str>) {
    let source = source.trim();
    let outline = Outline::of(source);
    if outline.is_one_bracket
        && let Some(inside) = source.get(1..source.len().saturating_sub(1))
        && !inside.trim().is_empty()
    {
        return split(inside, parts);
    }
    if outline.chooses || outline.ands.is_empty() {
        parts.push(source);
        return;
    }
    let mut begin = 0;
    for and in outline.ands {
        split(source.get(begin..and).unwrap_or_default(), parts);
        begin = and + 2;
    }
    split(source.get(begin..).unwrap_or_default(), parts);
}

/// What stands outside of all brackets and texts.
#[derive(Default)]
struct Outline {
    /// Where each `&&` begins.
    ands: Vec<usize>,
    /// There is a `||` or a `?:`.
    chooses: bool,
    /// The first bracket is a round one, and closes at the very end.
    is_one_bracket: bool,
}

impl Outline {
    fn of(source: &str) -> Self {
        let mut outline = Self::default();
        let bytes = source.as_bytes();
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let mut depth = 0_usize;
        let mut whole = at(0) == b'(';
        let mut place = 0;
        while place < bytes.len() {
            match at(place) {
                b'"' | b'\'' => {
                    let raw = place > 0 && {
                        let before = at(place - 1).to_ascii_lowercase();
                        let two = place > 1 && at(place - 2).eq_ignore_ascii_case(&b'r');
                        before == b'r' || (before == b'b' && two)
                    };
                    place = text_end(bytes, place, raw);
                    continue;
                }
                b'/' if at(place + 1) == b'/' => {
                    while place < bytes.len() && at(place) != b'\n' {
                        place += 1;
                    }
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    whole &= depth > 0 || place + 1 == bytes.len();
                }
                b'&' if depth == 0 && at(place + 1) == b'&' => {
                    outline.ands.push(place);
                    place += 1;
                }
                b'|' if depth == 0 && at(place + 1) == b'|' => outline.chooses = true,
                // `a.?b` is a field that may be missing.
                b'?' if depth == 0 && (place == 0 || at(place - 1) != b'.') => {
                    outline.chooses = true;
                }
                _ => {}
            }
            place += 1;
        }
        outline.is_one_bracket = whole && depth == 0;
        outline
    }
}

/// The place after a text that begins with the quote at `begin`.
fn text_end(bytes: &[u8], begin: usize, raw: bool) -> usize {
    let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let quote = at(begin);
    let triple = at(begin + 1) == quote && at(begin + 2) == quote;
    let mut place = begin + if triple { 3 } else { 1 };
    while place < bytes.len() {
        if at(place) == b'\\' && !raw {
            place += 2;
        } else if at(place) != quote {
            place += 1;
        } else if !triple {
            return place + 1;
        } else if at(place + 1) == quote && at(place + 2) == quote {
            return place + 3;
        } else {
            place += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_falls_apart_where_all_parts_must_hold() {
        for (source, parts) in [
            ("a", vec!["a"]),
            ("a && b&&c", vec!["a", "b", "c"]),
            ("(a && (b && c)) && d", vec!["a", "b", "c", "d"]),
            ("(a) && (b || c)", vec!["a", "b || c"]),
            ("a && b || c", vec!["a && b || c"]),
            ("a && b ? c : d", vec!["a && b ? c : d"]),
            ("a.?b.orValue(true) && c", vec!["a.?b.orValue(true)", "c"]),
            ("a[?'x'].hasValue() && c", vec!["a[?'x'].hasValue()", "c"]),
            ("(a) == (b)", vec!["(a) == (b)"]),
            (
                "a == '&& (' && b == \"\\\" && \"",
                vec!["a == '&& ('", "b == \"\\\" && \""],
            ),
            ("a == r'\\' && b", vec!["a == r'\\'", "b"]),
            ("a == '''it's && ''' && b", vec!["a == '''it's && '''", "b"]),
            ("a // && x\n && b", vec!["a // && x", "b"]),
            (
                "l.all(x, x > 1 && x < 3) && m",
                vec!["l.all(x, x > 1 && x < 3)", "m"],
            ),
            ("()", vec!["()"]),
            ("", vec![""]),
            ("'unclosed && b", vec!["'unclosed && b"]),
        ] {
            assert_eq!(conjuncts(source), parts, "{source}");
        }
    }
}
