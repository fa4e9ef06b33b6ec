//! A signature scheme: where a signature stands, how it is written and what it is over.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::snapshot::{
    Hmac, HmacAlgorithm, MessagePart, SignatureEncoding, SignatureLayout, TimestampUnit,
};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::key::{Key, LONGEST, STANDARD, Tag, URL_SAFE, tag_len};
use super::message::{self, Values};
use super::timestamp::{self, Problem};
use super::{Error, Repeated, Request, Unusable, Unverified, single};

/// Signatures that are looked at in one header. Senders give one for each secret in rotation.
const MOST_SIGNATURES: usize = 16;

/// The parameter that holds the timestamp, with [`SignatureLayout::Parameters`]
/// (<https://docs.stripe.com/webhooks#verify-manually>).
const TIMESTAMP_PARAMETER: &str = "t=";

/// A scheme with its keys.
#[derive(Debug)]
pub(super) struct Scheme {
    header: HeaderName,
    algorithm: HmacAlgorithm,
    encoding: SignatureEncoding,
    prefix: Option<String>,
    layout: SignatureLayout,
    message: Vec<MessagePart>,
    delimiter: String,
    id_header: Option<HeaderName>,
    timestamp: Option<TimestampRule>,
    public_url: Option<String>,
    /// Each with its place in the settings' list.
    keys: Vec<(usize, Key)>,
}

/// Where the timestamp is, and how far it may be from now.
#[derive(Debug)]
struct TimestampRule {
    /// `None`: a parameter of the signature header.
    header: Option<HeaderName>,
    unit: TimestampUnit,
    tolerance: Option<Duration>,
}

impl Scheme {
    /// # Errors
    /// Where the settings can't verify anything.
    pub(super) fn new(settings: &Hmac) -> Result<Self, Unusable> {
        let name = |header: &str, field| {
            HeaderName::from_bytes(header.as_bytes()).map_err(|_| Unusable::Field(field))
        };
        let signs = |part: &MessagePart| settings.message.contains(part);

        let id_header = if signs(&MessagePart::Id) {
            let header = settings.id_header.as_deref().unwrap_or_default();
            Some(name(header, "hmac.idHeader")?)
        } else {
            None
        };
        let timestamp = if signs(&MessagePart::Timestamp) || settings.tolerance.is_some() {
            let header = match (&settings.timestamp_header, settings.layout) {
                (None, SignatureLayout::Parameters) => None,
                (header, _) => Some(name(
                    header.as_deref().unwrap_or_default(),
                    "hmac.timestampHeader",
                )?),
            };
            Some(TimestampRule {
                header,
                unit: settings.timestamp_unit,
                tolerance: settings.tolerance,
            })
        } else {
            None
        };
        if signs(&MessagePart::Url) && settings.public_url.is_none() {
            return Err(Unusable::Field("hmac.publicUrl"));
        }
        if !settings
            .message
            .iter()
            .any(|part| matches!(part, MessagePart::Body))
        {
            return Err(Unusable::Field("hmac.message (the body is not in it)"));
        }
        let keys: Vec<_> = settings
            .secrets
            .iter()
            .enumerate()
            .filter_map(|(place, secret)| {
                let secret = secret.usable()?;
                Key::new(settings.algorithm, settings.secret_encoding, secret)
                    .map(|key| (place, key))
            })
            .collect();
        if keys.is_empty() {
            let references: Vec<&str> = settings
                .secrets
                .iter()
                .map(|secret| secret.reference.as_str())
                .collect();
            return Err(Unusable::Secrets(references.join(", ")));
        }
        Ok(Self {
            header: name(&settings.header, "hmac.header")?,
            algorithm: settings.algorithm,
            encoding: settings.encoding,
            prefix: settings.prefix.clone(),
            layout: settings.layout,
            message: settings.message.clone(),
            delimiter: settings.delimiter.clone(),
            id_header,
            timestamp,
            public_url: settings
                .public_url
                .as_ref()
                .map(|url| url.trim_end_matches('/').to_owned()),
            keys,
        })
    }

    /// The place of the secret that matched.
    pub(super) fn check(
        &self,
        request: &Request<Unverified>,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let malformed = |header: &HeaderName, problem| Error::SignatureMalformed {
            header: header.clone(),
            problem,
        };
        let value = single(&request.headers, &self.header)
            .map_err(|_| malformed(&self.header, Repeated::PROBLEM))?
            .ok_or_else(|| Error::SignatureMissing(self.header.clone()))?;
        let value = std::str::from_utf8(value)
            .map_err(|_| malformed(&self.header, "holds bytes that are not text"))?;
        if self.written(value).count() > MOST_SIGNATURES {
            return Err(malformed(&self.header, "holds too many signatures"));
        }
        if !self.written(value).any(|text| self.decode(text).is_some()) {
            return Err(malformed(
                &self.header,
                "holds no signature of the expected prefix, encoding and length",
            ));
        }
        let timestamp = match &self.timestamp {
            Some(rule) => self.timestamp(rule, &request.headers, value, now)?,
            None => &[],
        };
        let id = match &self.id_header {
            Some(header) => single(&request.headers, header)
                .map_err(|_| malformed(header, Repeated::PROBLEM))?
                .ok_or_else(|| malformed(header, "is missing, and the signature covers it"))?,
            None => &[],
        };

        let path_and_query = message::path_and_query(&request.uri);
        let decoded = if self.public_url.is_some() {
            message::decoded(path_and_query)
        } else {
            None
        };
        for path_and_query in [Some(path_and_query), decoded.as_deref()]
            .into_iter()
            .flatten()
        {
            let values = Values {
                id,
                timestamp,
                method: &request.method,
                public_url: self.public_url.as_deref().unwrap_or_default(),
                path_and_query,
                body: &request.body,
            };
            for (place, key) in &self.keys {
                let tag =
                    key.tag(|sink| message::feed(&self.message, &self.delimiter, &values, sink));
                let matches = |text| self.decode(text).is_some_and(|claim| tag.matches(&claim));
                if self.written(value).any(matches) {
                    return Ok(*place);
                }
            }
        }
        Err(Error::SignatureMismatch(self.header.clone()))
    }

    /// The signatures in the header's value, as they are written, without their prefix.
    fn written<'a>(&'a self, value: &'a str) -> impl Iterator<Item = &'a str> {
        let layout = self.layout;
        value
            .split(move |character: char| match layout {
                SignatureLayout::Single => false,
                SignatureLayout::SpaceSeparated => character.is_ascii_whitespace(),
                SignatureLayout::Parameters => character == ',',
            })
            .filter_map(move |piece| {
                let piece = piece.trim_ascii();
                let Some(prefix) = &self.prefix else {
                    return Some(piece);
                };
                match layout {
                    SignatureLayout::Single => Some(piece.strip_prefix(prefix).unwrap_or(piece)),
                    _ => piece.strip_prefix(prefix),
                }
            })
    }

    /// The bytes that a signature claims; `None` where it has another encoding or length.
    fn decode(&self, text: &str) -> Option<Tag> {
        let len = tag_len(self.algorithm);
        // A few bytes more, since base64 is decoded in groups.
        let mut bytes = [0; LONGEST + 8];
        let hex = |text: &str, bytes: &mut [u8]| {
            let bytes = bytes.get_mut(..len)?;
            hex::decode_to_slice(text, bytes).ok()?;
            Some(Tag::new(bytes))
        };
        match self.encoding {
            SignatureEncoding::Hex => hex(text, &mut bytes),
            SignatureEncoding::Base64 => base64(&STANDARD, text, len, &mut bytes),
            SignatureEncoding::Auto => {
                let text = self.without_algorithm(text);
                if text.len() == 2 * len {
                    hex(text, &mut bytes)
                } else {
                    base64(&STANDARD, text, len, &mut bytes)
                        .or_else(|| base64(&URL_SAFE, text, len, &mut bytes))
                }
            }
        }
    }

    /// A signature without the algorithm's name before it: `sha256=`, `HMAC-SHA256=` and the like.
    fn without_algorithm<'a>(&self, text: &'a str) -> &'a str {
        let expected = match self.algorithm {
            HmacAlgorithm::SHA1 => "sha1",
            HmacAlgorithm::SHA256 => "sha256",
            HmacAlgorithm::SHA512 => "sha512",
        };
        let Some((name, rest)) = text.split_once('=') else {
            return text;
        };
        let mut letters = name
            .bytes()
            .filter(|byte| !matches!(byte, b'-' | b'_'))
            .map(|byte| byte.to_ascii_lowercase());
        let hmac = name
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("hmac"));
        if hmac {
            letters.by_ref().take(4).for_each(drop);
        }
        if letters.eq(expected.bytes()) {
            rest
        } else {
            text
        }
    }

    /// The timestamp as it was sent, once it is known to be near enough to now.
    fn timestamp<'a>(
        &self,
        rule: &TimestampRule,
        headers: &'a HeaderMap,
        signature: &'a str,
        now: Timestamp,
    ) -> Result<&'a [u8], Error> {
        let error = |problem| Error::Timestamp {
            header: rule.header.as_ref().unwrap_or(&self.header).clone(),
            problem,
        };
        let text = if let Some(header) = &rule.header {
            single(headers, header)
                .map_err(|_| error(Problem::Repeated))?
                .ok_or_else(|| error(Problem::Missing))?
        } else {
            let mut found = signature
                .split(',')
                .filter_map(|piece| piece.trim_ascii().strip_prefix(TIMESTAMP_PARAMETER));
            let text = found.next().ok_or_else(|| error(Problem::Missing))?;
            if found.next().is_some() {
                return Err(error(Problem::Repeated));
            }
            text.as_bytes()
        };
        let at = timestamp::parse(text, rule.unit).ok_or_else(|| error(Problem::Unreadable))?;
        if let Some(tolerance) = rule.tolerance {
            timestamp::check(at, now, tolerance).map_err(error)?;
        }
        Ok(text)
    }
}

/// Base64 of exactly `len` bytes.
fn base64(engine: &impl base64::Engine, text: &str, len: usize, bytes: &mut [u8]) -> Option<Tag> {
    let decoded = engine.decode_slice(text, bytes).ok()?;
    (decoded == len).then(|| Tag::new(bytes.get(..len).unwrap_or_default()))
}
