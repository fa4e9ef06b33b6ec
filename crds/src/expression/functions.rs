//! Functions of our own: what the CEL library lacks, and what it does in more time than a receiver
//! has. Each pays for what it reads and makes (see [`super::cost`]) before it does.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a function of the CEL library takes its arguments, and may fail"
)]

use base64::Engine as _;
use cel::common::functions::Function;
use cel::common::types::{self, CelBool, CelBytes, CelInt, CelList, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::cost::{self, spend, spend_text};
use super::{names, value};

type Values<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Given<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// What a dynamic pattern costs to compile, and the most that the compiled one may take: see
/// [`names::regex`].
const COMPILE: usize = 20_000;
/// Characters of a pattern for each reading of the text that is paid for.
const PATTERN: usize = 8;

/// All but the unreserved characters (RFC 3986, section 2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Declares them.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let text = || types::STRING_TYPE;
    let any = || types::DYN_TYPE;
    let int = || types::INT_TYPE;
    env.add_member_overload(
        "@matches",
        "@matches(string,int)",
        text(),
        vec![text(), int()],
        matches_known,
    )?;
    env.add_member_overload(
        "@matches",
        "@matches(string)",
        text(),
        vec![text()],
        matches,
    )?;
    env.add_member_overload(
        "@indexOf",
        "@indexOf(string)",
        text(),
        vec![text()],
        index_of,
    )?;
    env.add_member_overload(
        "@indexOf",
        "@indexOf(string,int)",
        text(),
        vec![text(), int()],
        index_of,
    )?;
    env.add_member_overload(
        "@lastIndexOf",
        "@lastIndexOf(string)",
        text(),
        vec![text()],
        last_index_of,
    )?;
    env.add_member_overload(
        "@lastIndexOf",
        "@lastIndexOf(string,int)",
        text(),
        vec![text(), int()],
        last_index_of,
    )?;
    env.add_member_overload(
        "@replace",
        "@replace(string,string)",
        text(),
        vec![text(), text()],
        replace,
    )?;
    env.add_member_overload(
        "@replace",
        "@replace(string,string,int)",
        text(),
        vec![text(), text(), int()],
        replace,
    )?;
    env.add_member_overload("@split", "@split(string)", text(), vec![text()], split)?;
    env.add_member_overload(
        "@split",
        "@split(string,int)",
        text(),
        vec![text(), int()],
        split,
    )?;
    env.add_member_overload("@join", "@join()", types::LIST_TYPE, vec![], join)?;
    env.add_member_overload(
        "@join",
        "@join(string)",
        types::LIST_TYPE,
        vec![text()],
        join,
    )?;
    env.add_member_overload(
        "@distinct",
        "@distinct()",
        types::LIST_TYPE,
        vec![],
        distinct,
    )?;
    let of_bytes: [(&str, Function); 4] = [
        ("hash.sha1", sha1),
        ("hash.sha256", sha256),
        ("hash.sha512", sha512),
        ("hex.encode", hex_encode),
    ];
    for (name, function) in of_bytes {
        for (kind, argument) in [("string", text()), ("bytes", types::BYTES_TYPE)] {
            env.add_overload(name, &format!("{name}({kind})"), vec![argument], function)?;
        }
    }
    env.add_overload(
        "base64.encode",
        "base64.encode(string)",
        vec![text()],
        base64_text,
    )?;
    env.add_overload("hex.decode", "hex.decode(string)", vec![text()], hex_decode)?;
    env.add_overload(
        "json.decode",
        "json.decode(string)",
        vec![text()],
        json_decode,
    )?;
    env.add_overload("json.encode", "json.encode(dyn)", vec![any()], json_encode)?;
    env.add_overload("url.decode", "url.decode(string)", vec![text()], url_decode)?;
    env.add_overload("url.encode", "url.encode(string)", vec![text()], url_encode)?;
    env.add_overload(
        "time.format",
        "time.format(timestamp,string)",
        vec![types::TIMESTAMP_TYPE, text()],
        time_format,
    )?;
    env.add_overload(
        "time.format",
        "time.format(timestamp,string,string)",
        vec![types::TIMESTAMP_TYPE, text(), text()],
        time_format,
    )
}

fn missing() -> ExecutionError {
    ExecutionError::missing_argument_or_target()
}

fn text<'a>(values: &'a Values<'_, '_>, place: usize) -> Result<&'a str, ExecutionError> {
    let value = values.get(place).ok_or_else(missing)?;
    value
        .downcast_ref::<CelString<'_>>()
        .map(CelString::inner)
        .ok_or_else(missing)
}

fn number(values: &Values<'_, '_>, place: usize) -> Option<i64> {
    let value = values.get(place)?;
    value.downcast_ref::<CelInt>().map(|it| *it.inner())
}

/// The bytes of a text or of bytes, paid for.
fn bytes<'a>(values: &'a Values<'_, '_>) -> Result<&'a [u8], ExecutionError> {
    let value = values.first().ok_or_else(missing)?;
    let bytes = match value.downcast_ref::<CelBytes<'_>>() {
        Some(bytes) => bytes.inner(),
        None => text(values, 0)?.as_bytes(),
    };
    spend_text(bytes.len())?;
    Ok(bytes)
}

fn new_text<'b, 'v>(text: String) -> Given<'b, 'v> {
    Ok(CowVal::owned(CelString::from(text)))
}

fn new_list<'b, 'v>(parts: Vec<String>) -> Given<'b, 'v> {
    let parts = parts.into_iter();
    let parts = parts.map(|part| -> Box<dyn Val> { Box::new(CelString::from(part)) });
    Ok(CowVal::owned(CelList::from(parts.collect::<Vec<_>>())))
}

fn failed(function: &str) -> ExecutionError {
    ExecutionError::function_error(function, "failed")
}

/// A search reads the text once for each piece of the pattern, at worst.
fn spend_search(text: &str, pattern: usize) -> Result<(), ExecutionError> {
    spend((text.len() / 16 + 1).saturating_mul(pattern / PATTERN + 1))
}

fn matches_known<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&values, 0)?;
    let regex = number(&values, 2).and_then(cost::regex);
    let regex = regex.ok_or_else(|| failed("matches"))?;
    spend_search(text, regex.as_str().len())?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text))))
}

fn matches<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let (text, pattern) = (text(&values, 0)?, self::text(&values, 1)?);
    spend(COMPILE)?;
    let regex = names::regex(pattern).map_err(|_| failed("matches"))?;
    spend_search(text, pattern.len())?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text))))
}

/// Where character number `count` begins; `None` behind the end.
fn place_of(text: &str, count: i64) -> Option<usize> {
    let count = usize::try_from(count).ok()?;
    let ends = text.char_indices().map(|(at, _)| at);
    ends.chain([text.len()]).nth(count)
}

fn characters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn new_place<'b, 'v>(text: &str, at: Option<usize>) -> Given<'b, 'v> {
    let place = at.and_then(|at| text.get(..at)).map_or(-1, characters);
    Ok(CowVal::owned(CelInt::from(place)))
}

fn index_of<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let (text, sought) = (text(&values, 0)?, self::text(&values, 1)?);
    spend_text(text.len().saturating_mul(2).saturating_add(sought.len()))?;
    let from = match number(&values, 2) {
        Some(from) if sought.is_empty() => {
            let from = from.min(characters(text));
            place_of(text, from).ok_or_else(|| failed("indexOf"))?
        }
        Some(from) => place_of(text, from)
            .filter(|at| *at < text.len())
            .ok_or_else(|| failed("indexOf"))?,
        None => 0,
    };
    let found = text.get(from..).and_then(|rest| rest.find(sought));
    new_place(text, found.map(|at| at + from))
}

fn last_index_of<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let (text, sought) = (text(&values, 0)?, self::text(&values, 1)?);
    spend_text(text.len().saturating_mul(2).saturating_add(sought.len()))?;
    let until = match number(&values, 2) {
        // It may begin at this character, and end behind it.
        Some(last) if sought.is_empty() => {
            let last = last.min(characters(text));
            place_of(text, last).ok_or_else(|| failed("lastIndexOf"))?
        }
        Some(last) => place_of(text, last)
            .filter(|at| *at < text.len())
            .map(|at| at.saturating_add(sought.len()).min(text.len()))
            .ok_or_else(|| failed("lastIndexOf"))?,
        None => text.len(),
    };
    // The end may fall into a character, where nothing can end.
    let until = (0..=until).rev().find(|at| text.is_char_boundary(*at));
    let found = until.and_then(|until| text.get(..until)?.rfind(sought));
    new_place(text, found)
}

fn replace<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let (text, from, to) = (
        text(&values, 0)?,
        self::text(&values, 1)?,
        self::text(&values, 2)?,
    );
    spend_text(text.len())?;
    let limit = number(&values, 3).and_then(|it| usize::try_from(it).ok());
    let limit = limit.unwrap_or(usize::MAX);
    let count = text.matches(from).take(limit).count();
    spend_text(text.len().saturating_add(count.saturating_mul(to.len())))?;
    new_text(text.replacen(from, to, count))
}

fn split<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let (text, separator) = (text(&values, 0)?, self::text(&values, 1)?);
    spend_text(text.len())?;
    let limit = number(&values, 2).and_then(|it| usize::try_from(it).ok());
    let limit = limit.unwrap_or(usize::MAX);
    if limit == 0 {
        return new_list(Vec::new());
    }
    if separator.is_empty() {
        let count = text.chars().count().min(limit);
        spend(count)?;
        let mut parts: Vec<String> = Vec::with_capacity(count);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = if parts.len() + 1 == limit {
                rest.len()
            } else {
                c.len_utf8()
            };
            let (part, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            parts.push(part.to_owned());
            rest = after;
        }
        return new_list(parts);
    }
    spend(text.matches(separator).take(limit).count() + 1)?;
    new_list(text.splitn(limit, separator).map(str::to_owned).collect())
}

fn join<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let list = values.first().and_then(|it| it.as_iterable());
    let mut elements = list.ok_or_else(missing)?.iter();
    let separator = if values.len() > 1 {
        text(&values, 1)?
    } else {
        ""
    };
    let mut joined = String::new();
    let mut first = true;
    while let Some(element) = elements.next() {
        let part = element.downcast_ref::<CelString<'_>>();
        let part = part.ok_or_else(|| failed("join"))?.inner();
        spend_text(part.len().saturating_add(separator.len()))?;
        if !std::mem::take(&mut first) {
            joined.push_str(separator);
        }
        joined.push_str(part);
    }
    new_text(joined)
}

/// The first of equal elements, in order. Each comparison is paid for: there may be very many.
fn distinct<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let list = values.first().and_then(|it| it.as_iterable());
    let mut elements = list.ok_or_else(missing)?.iter();
    let mut kept: Vec<&(dyn Val + 'v)> = Vec::new();
    while let Some(element) = elements.next() {
        let weight = cost::weight(element, cost::MAX_COST);
        spend(weight.saturating_mul(kept.len() / 4 + 1))?;
        if !kept.iter().any(|it| element.equals(*it)) {
            kept.push(element);
        }
    }
    let kept: Vec<Box<dyn Val + 'v>> = kept.into_iter().map(Val::clone_as_boxed).collect();
    Ok(CowVal::owned(CelList::from(kept)))
}

fn digest<'b, 'v, D: Digest>(values: &Values<'_, '_>) -> Given<'b, 'v> {
    let bytes = bytes(values)?;
    spend_text(bytes.len().saturating_mul(2))?;
    new_text(hex::encode(D::digest(bytes)))
}

fn sha1<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    digest::<Sha1>(&values)
}

fn sha256<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    digest::<Sha256>(&values)
}

fn sha512<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    digest::<Sha512>(&values)
}

fn hex_encode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let bytes = bytes(&values)?;
    spend_text(bytes.len())?;
    new_text(hex::encode(bytes))
}

fn hex_decode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let decoded = hex::decode(bytes(&values)?).map_err(|_| failed("hex.decode"))?;
    Ok(CowVal::owned(CelBytes::from(decoded)))
}

fn base64_text<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let bytes = bytes(&values)?;
    new_text(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn url_encode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&values, 0)?;
    spend_text(text.len().saturating_mul(3))?;
    new_text(utf8_percent_encode(text, COMPONENT).to_string())
}

fn url_decode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&values, 0)?;
    spend_text(text.len())?;
    let decoded = percent_decode_str(text).decode_utf8();
    new_text(decoded.map_err(|_| failed("url.decode"))?.into_owned())
}

fn json_encode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let value = values.first().ok_or_else(missing)?;
    let mut room = super::MAX_VALUE;
    let json = value::to_json(&**value, &mut room).map_err(|_| failed("json.encode"))?;
    new_text(json.to_string())
}

fn json_decode<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&values, 0)?;
    // An element takes two bytes of text at least.
    spend(text.len() / 2)?;
    let json = serde_json::from_str(text).map_err(|_| failed("json.decode"))?;
    Ok(CowVal::Owned(value::owned(json)))
}

fn time_format<'b, 'v>(values: Values<'b, 'v>) -> Given<'b, 'v> {
    use std::fmt::Write as _;

    let time = values.first().ok_or_else(missing)?;
    let time = time.downcast_ref::<CelTimestamp>().ok_or_else(missing)?;
    let layout = text(&values, 1)?;
    spend_text(layout.len().saturating_mul(16))?;
    let zone = if values.len() > 2 {
        text(&values, 2)?
    } else {
        "UTC"
    };
    let zone: chrono_tz::Tz = zone.parse().map_err(|_| failed("time.format"))?;
    let mut formatted = String::new();
    let time = time.inner().with_timezone(&zone);
    write!(formatted, "{}", time.format(layout)).map_err(|_| failed("time.format"))?;
    new_text(formatted)
}
