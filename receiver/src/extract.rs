//! An event's attributes, read from its body and headers where the subscription's `fields` say.
//!
//! The body is read once, and no tree is built of it: the pointers form a small trie, what lies on
//! it is looked at, everything else is passed over. Text is borrowed from the body where it holds no
//! escapes.
//!
//! - A body is JSON here exactly where `serde_json` can read it as a value, so what is accepted as
//!   parseable can be routed. Its depth is bounded as there (128).
//! - Of members with the same name the last counts.
//! - Text stays text. Whole numbers of up to 64 bits and `true` and `false` become their text. Anything
//!   else, an empty text and one over [`LONGEST`] bytes count as missing: an event is never refused
//!   for an odd attribute.
//! - A time is RFC 3339, or a number of seconds or milliseconds since 1970, or the digits of one. From
//!   [`MILLISECONDS_FROM`] on, either side of zero, it is milliseconds: as seconds that would be the
//!   year 5138, and as milliseconds it is 1973.

use std::borrow::Cow;

use hookswitch_crds::snapshot::{FieldSource, Fields};
use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

mod body;

#[cfg(test)]
mod tests;

/// The longest text, in bytes, that is taken as an attribute, or as a `Content-Type`.
pub const LONGEST: usize = 1024;

/// The number from which a time is in milliseconds.
pub const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// A subscription's `fields`, made ready.
#[derive(Debug)]
pub struct Extractor {
    body: body::Node,
    headers: Vec<(Attribute, HeaderName)>,
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub struct Attributes<'a> {
    /// The body is JSON. Where it is not, attributes come from headers only.
    pub json: bool,
    /// The event type.
    pub r#type: Option<Cow<'a, str>>,
    /// The sender's id.
    pub id: Option<Cow<'a, str>>,
    /// The event's own time.
    pub time: Option<Timestamp>,
    /// The ordering key.
    pub subject: Option<Cow<'a, str>>,
    /// The kind of sender.
    pub sender: Option<Cow<'a, str>>,
}

/// The attributes that `fields` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Type,
    Id,
    Time,
    Subject,
    Sender,
}

/// A value that can be an attribute.
#[derive(Debug)]
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

/// The last value seen for each attribute.
#[derive(Debug, Default)]
struct Found<'a> {
    r#type: Option<Scalar<'a>>,
    id: Option<Scalar<'a>>,
    time: Option<Scalar<'a>>,
    subject: Option<Scalar<'a>>,
    sender: Option<Scalar<'a>>,
}

impl Extractor {
    /// Makes settings ready. A pointer or header name that can't be one is never found.
    #[must_use]
    pub fn new(fields: &Fields) -> Self {
        let Fields {
            r#type,
            id,
            time,
            subject,
            sender,
        } = fields;
        let mut extractor = Self {
            body: body::Node::default(),
            headers: Vec::new(),
        };
        for (attribute, source) in [
            (Attribute::Type, r#type),
            (Attribute::Id, id),
            (Attribute::Time, time),
            (Attribute::Subject, subject),
            (Attribute::Sender, sender),
        ] {
            match source {
                Some(FieldSource::Pointer(pointer)) => extractor.body.insert(pointer, attribute),
                Some(FieldSource::Header(name)) => extractor.headers.extend(
                    HeaderName::from_bytes(name.as_bytes())
                        .ok()
                        .map(|name| (attribute, name)),
                ),
                None => {}
            }
        }
        extractor
    }

    /// Reads the attributes of one request.
    #[must_use]
    pub fn extract<'a>(&self, headers: &'a HeaderMap, body: &'a [u8]) -> Attributes<'a> {
        let parsed = self.body.read(body);
        let json = parsed.is_some();
        let mut found = parsed.unwrap_or_default();
        for (attribute, name) in &self.headers {
            *found.slot(*attribute) = headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(|value| Scalar::Text(Cow::Borrowed(value.trim_ascii())));
        }
        Attributes {
            json,
            r#type: found.r#type.and_then(Scalar::into_text),
            id: found.id.and_then(Scalar::into_text),
            time: found.time.as_ref().and_then(Scalar::time),
            subject: found.subject.and_then(Scalar::into_text),
            sender: found.sender.and_then(Scalar::into_text),
        }
    }
}

impl<'a> Found<'a> {
    fn slot(&mut self, attribute: Attribute) -> &mut Option<Scalar<'a>> {
        match attribute {
            Attribute::Type => &mut self.r#type,
            Attribute::Id => &mut self.id,
            Attribute::Time => &mut self.time,
            Attribute::Subject => &mut self.subject,
            Attribute::Sender => &mut self.sender,
        }
    }
}

impl<'a> Scalar<'a> {
    fn into_text(self) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Text(text) => text,
            Self::Signed(number) => number.to_string().into(),
            Self::Unsigned(number) => number.to_string().into(),
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
            // It has no one text: two ids could become the same.
            Self::Float(_) => return None,
        };
        (1..=LONGEST).contains(&text.len()).then_some(text)
    }

    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => {
                let text = text.trim_ascii();
                if let Ok(number) = text.parse() {
                    whole(number)
                } else if text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'))
                {
                    fraction(text.parse().ok()?)
                } else {
                    text.parse().ok()
                }
            }
            Self::Signed(number) => whole(*number),
            Self::Unsigned(number) => whole(i64::try_from(*number).ok()?),
            Self::Float(number) => fraction(*number),
            Self::Bool(_) => None,
        }
    }
}

fn whole(number: i64) -> Option<Timestamp> {
    if number.unsigned_abs() < MILLISECONDS_FROM {
        Timestamp::from_second(number).ok()
    } else {
        Timestamp::from_millisecond(number).ok()
    }
}

/// To the microsecond: a double holds no more.
fn fraction(number: f64) -> Option<Timestamp> {
    // MILLISECONDS_FROM, as a double.
    let seconds = if number.abs() < 1e11 {
        number
    } else {
        number / 1e3
    };
    let micros = SignedDuration::try_from_secs_f64(seconds).ok()?.as_micros();
    Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
}
