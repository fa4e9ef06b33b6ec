//! What telephone numbers, email addresses and numbers of payment cards look like.
//!
//! Where it can't be known it is masked: a telephone number too much is a smaller harm than one that
//! gets out. What is plainly something else stays: dates, times, IPv4 addresses, sums of money with
//! points, parts of identifiers and of URLs.
//!
//! Sources: digits of a telephone number, 15 at most: ITU-T E.164,
//! <https://www.itu.int/rec/T-REC-E.164/>. Numbers of cards: ISO/IEC 7812-1, with the check digit of
//! its annex B (Luhn); the networks' first digits:
//! <https://en.wikipedia.org/wiki/Payment_card_number#Issuer_identification_number_(IIN)>.

use std::sync::LazyLock;

use hookswitch_crds::words;
use regex::Regex;

use super::digits::{self, Group, Span};

/// What stands where a pattern was found.
const EMAIL: &str = "[email]";
const CARD: &str = "[card]";
const PHONE: &str = "[phone]";

/// An address as mail programs make a link of it; letters of every script.
#[expect(clippy::unwrap_used, reason = "a literal pattern that a test compiles")]
static EMAIL_ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{L}\p{M}\p{N}._%+'-]+[@＠](?:[\p{L}\p{M}\p{N}](?:[\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?\.)+[\p{L}\p{M}][\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}]").unwrap()
});

/// Which patterns are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patterns {
    pub(super) phone: bool,
    pub(super) email: bool,
    pub(super) card: bool,
}

impl Patterns {
    pub(super) fn any(self) -> bool {
        self.phone || self.email || self.card
    }

    /// The text with what was found masked; `None` where nothing was.
    pub(super) fn mask(self, text: &str) -> Option<String> {
        let mut masked = None;
        let current = |masked: &Option<String>| masked.clone().unwrap_or_else(|| text.to_owned());
        if self.email && text.contains(['@', '＠']) && EMAIL_ADDRESS.is_match(text) {
            masked = Some(EMAIL_ADDRESS.replace_all(text, EMAIL).into_owned());
        }
        if self.card {
            masked = digits::replace(&current(&masked), CARD, card).or(masked);
        }
        if self.phone {
            let phone =
                |before: &str, groups: &[Group], after: &str| phone(before, groups, after, false);
            masked = digits::replace(&current(&masked), PHONE, phone).or(masked);
        }
        masked
    }

    /// The same for a JSON number, of which only cards are masked.
    pub(super) fn mask_number(self, number: &str) -> Option<String> {
        let digits = number.bytes().all(|c| c.is_ascii_digit());
        (self.card && digits)
            .then(|| digits::replace(number, CARD, card))
            .flatten()
    }

    /// Whether one stands in an identifier. Bare digits are the identifier itself.
    pub(super) fn marks(self, text: &str) -> bool {
        let spelled = |before: &str, groups: &[Group], after: &str| {
            card(before, groups, after).filter(|_| groups.len() > 1)
        };
        let marked =
            |before: &str, groups: &[Group], after: &str| phone(before, groups, after, true);
        (self.email && EMAIL_ADDRESS.is_match(text))
            || (self.card && digits::replace(text, CARD, spelled).is_some())
            || (self.phone && digits::replace(text, PHONE, marked).is_some())
    }
}

/// 13 to 19 digits that begin as a network's do, with the right check digit.
fn card(_: &str, groups: &[Group], _: &str) -> Option<Span> {
    let digits: Vec<u32> = groups.iter().flat_map(|it| &it.digits).copied().collect();
    let length = (13..=19).contains(&digits.len());
    (length && is_issued(&digits) && luhn(&digits)).then(|| Span::of(groups))?
}

/// Whether a network gives out numbers that begin so.
fn is_issued(digits: &[u32]) -> bool {
    let first = |count: usize| {
        digits
            .iter()
            .take(count)
            .fold(0, |number, digit| number * 10 + digit)
    };
    matches!(first(1), 4)
        || matches!(first(2), 34 | 36..=39 | 50..=69)
        || matches!(first(3), 300..=305)
        || matches!(first(4), 2014 | 2149 | 2200..=2204 | 2221..=2720 | 3528..=3589 | 9792)
}

/// The check digit of ISO/IEC 7812-1.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A telephone number: with `+` and 7 to 15 digits, or in groups, or 10 to 15 digits as they are.
/// `strict` takes the first form, and groups behind an area code in brackets.
fn phone(before: &str, groups: &[Group], after: &str, strict: bool) -> Option<Span> {
    let count: usize = groups.iter().map(|it| it.digits.len()).sum();
    if !(7..=15).contains(&count) {
        return None;
    }
    let mut span = Span::of(groups)?;
    // A bracket that closes behind the number is around it, and not around its area code.
    let bracket = before.ends_with(['(', '（']) && !after.starts_with([')', '）']);
    let lead = before.trim_end_matches(['(', '（']);
    let plus = lead.ends_with(['+', '＋']);
    let signed = lead.trim_end_matches(['+', '＋']);
    if plus {
        span.start -= before.len() - signed.len();
    } else if bracket {
        span.start -= before.len() - lead.len();
    }
    let lead = signed;
    // Scripts without spaces put a number right beside a word.
    if lead.ends_with(words::in_word) || after.starts_with(words::in_word) {
        return None;
    }
    if plus {
        return Some(span);
    }
    if strict {
        return (bracket && groups.len() > 1).then_some(span);
    }
    let plain = !is_inside(lead, after)
        && match groups {
            [_] => count >= 10,
            _ => !is_date(groups) && !is_address(groups) && !is_years(groups),
        };
    plain.then_some(span)
}

/// Whether it is a part of an identifier, a path, a decimal number or a time.
fn is_inside(before: &str, after: &str) -> bool {
    let joins = |c: Option<char>| matches!(c, Some('-' | '.' | '/' | ':'));
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut back = before.chars().rev();
    let mut ahead = after.chars();
    let (last, next) = (back.next(), ahead.next());
    matches!(last, Some('#' | '@'))
        || (joins(last) && last != Some(':') && word(back.next()))
        || (joins(next) && word(ahead.next()))
}

/// Year, month and day in one of the usual orders, alone or with a time's hours behind them.
fn is_date(groups: &[Group]) -> bool {
    let number = |index: usize| {
        groups
            .get(index)
            .map(|it| it.digits.iter().fold(0, |all, digit| all * 10 + digit))
    };
    let year = |index: usize| {
        groups.get(index).is_some_and(|it| it.digits.len() == 4)
            && matches!(number(index), Some(1900..=2099))
    };
    let day = |index: usize| {
        groups.get(index).is_some_and(|it| it.digits.len() <= 2)
            && matches!(number(index), Some(1..=31))
    };
    groups.len() <= 4 && ((year(0) && day(1) && day(2)) || (day(0) && day(1) && year(2)))
}

/// From one year to another.
fn is_years(groups: &[Group]) -> bool {
    let year = |it: &Group| matches!(it.digits.as_slice(), [1, 9, _, _] | [2, 0, _, _]);
    matches!(groups, [from, to] if year(from) && year(to))
}

/// An IPv4 address, or a sum such as 1.000.000 or 1 000 000.
fn is_address(groups: &[Group]) -> bool {
    let between = |gap: fn(char) -> bool| {
        let apart = groups.iter().skip(1);
        let touching = groups.windows(2).all(|pair| match pair {
            [left, right] => right
                .gap
                .is_some_and(|c| left.end + c.len_utf8() == right.start),
            _ => true,
        });
        touching && apart.into_iter().all(|it| it.gap.is_some_and(gap))
    };
    let length = |index: usize| groups.get(index).map_or(0, |it| it.digits.len());
    let points = between(|c| c == '.');
    let address = points && groups.len() == 4 && groups.iter().all(|it| it.digits.len() <= 3);
    let thousands = groups.iter().skip(1).all(|it| it.digits.len() == 3);
    let spaced = between(char::is_whitespace) && length(0) <= 2;
    address || (thousands && ((points && length(0) <= 3) || spaced))
}
