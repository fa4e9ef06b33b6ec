//! The message that is signed, piece by piece: nothing is copied together.

use std::borrow::Cow;

use hookswitch_crds::snapshot::MessagePart;
use http::{Method, Uri};

/// What the parts of a message stand for in one request.
pub(super) struct Values<'a> {
    pub(super) id: &'a [u8],
    pub(super) timestamp: &'a [u8],
    pub(super) method: &'a Method,
    pub(super) public_url: &'a str,
    pub(super) path_and_query: &'a str,
    pub(super) body: &'a [u8],
}

/// Gives the pieces in order, with the delimiter between them.
pub(super) fn feed(
    parts: &[MessagePart],
    delimiter: &str,
    values: &Values<'_>,
    sink: &mut dyn FnMut(&[u8]),
) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            sink(delimiter.as_bytes());
        }
        match part {
            MessagePart::Id => sink(values.id),
            MessagePart::Timestamp => sink(values.timestamp),
            MessagePart::Method => sink(values.method.as_str().as_bytes()),
            MessagePart::Url => {
                sink(values.public_url.as_bytes());
                sink(values.path_and_query.as_bytes());
            }
            MessagePart::Body => sink(values.body),
            MessagePart::Literal(text) => sink(text.as_bytes()),
        }
    }
}

/// Path and query as the request has them.
pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |both| both.as_str())
}

/// Escapes that `HubSpot` undoes before it signs a URL
/// (<https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>).
const SIGNED_DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// The other form in which a sender may have signed the URL; `None` where it has only one.
pub(super) fn decoded(path_and_query: &str) -> Option<String> {
    if !path_and_query.contains('%') {
        return None;
    }
    let decoded =
        SIGNED_DECODED
            .iter()
            .fold(Cow::Borrowed(path_and_query), |text, (escape, plain)| {
                let lower = escape.to_ascii_lowercase();
                if text.contains(escape) || text.contains(&lower) {
                    Cow::Owned(text.replace(escape, plain).replace(&lower, plain))
                } else {
                    text
                }
            });
    match decoded {
        Cow::Owned(text) => Some(text),
        Cow::Borrowed(_) => None,
    }
}
