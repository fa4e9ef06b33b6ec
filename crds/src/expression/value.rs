//! Values: from JSON to CEL, once per event, and back.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
    CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::{Number, Value as Json};

use super::lists::{self, WordLists};
use super::{ENV, EvalError, MAX_VALUE};

/// The variables of evaluations, converted once per event. Texts are borrowed from it.
#[derive(Debug, Clone)]
pub struct Variables<'a> {
    event: Arc<dyn Val + 'a>,
    request: Option<Arc<dyn Val + 'a>>,
    first: Option<Arc<dyn Val + 'a>>,
    enriched: Option<Arc<dyn Val + 'a>>,
    words: Option<WordLists>,
}

impl<'a> Variables<'a> {
    /// `event`, from its attributes and data. `time` is RFC 3339 and becomes a timestamp; an
    /// attribute that the event lacks is left out of the object.
    #[must_use]
    pub fn new(event: &'a Json) -> Self {
        let event = match event {
            Json::Object(attributes) => attributes
                .iter()
                .map(|(name, value)| {
                    let converted = match (name.as_str(), value) {
                        ("time", Json::String(text)) => {
                            timestamp(text).unwrap_or_else(|| from_json(value))
                        }
                        _ => from_json(value),
                    };
                    (key(name), converted)
                })
                .collect::<HashMap<_, _>>(),
            _ => HashMap::new(),
        };
        Self {
            event: Arc::new(CelMap::from(event)),
            request: None,
            first: None,
            enriched: None,
            words: None,
        }
    }

    /// The same with the word lists of a route.
    #[must_use]
    pub fn with_words(&self, words: &WordLists) -> Self {
        Self {
            words: Some(words.clone()),
            ..self.clone()
        }
    }

    /// The same with `request`.
    #[must_use]
    pub fn with_request<'b>(&self, request: &'b Json) -> Variables<'b>
    where
        'a: 'b,
    {
        Variables {
            event: self.event.clone(),
            request: Some(Arc::from(from_json(request))),
            first: self.first.clone(),
            enriched: self.enriched.clone(),
            words: self.words.clone(),
        }
    }

    /// The same with `enriched`: an object with a member for each look-up that has found something.
    #[must_use]
    pub fn with_enriched<'b>(&self, enriched: &'b Json) -> Variables<'b>
    where
        'a: 'b,
    {
        Variables {
            event: self.event.clone(),
            request: self.request.clone(),
            first: self.first.clone(),
            enriched: Some(Arc::from(from_json(enriched))),
            words: self.words.clone(),
        }
    }

    /// The same with `first`, an event like [`Self::new`]'s.
    #[must_use]
    pub fn with_first<'b>(&self, first: &'b Json) -> Variables<'b>
    where
        'a: 'b,
    {
        Variables {
            event: self.event.clone(),
            request: self.request.clone(),
            first: Some(Variables::new(first).event),
            enriched: self.enriched.clone(),
            words: self.words.clone(),
        }
    }

    /// A variable by its name.
    pub(super) fn get(&self, name: &str) -> Option<&(dyn Val + 'a)> {
        match name {
            "event" => Some(&*self.event),
            "request" => self.request.as_deref(),
            "first" => self.first.as_deref(),
            "enriched" => self.enriched.as_deref(),
            lists::VARIABLE => self
                .words
                .as_ref()
                .map(|it| -> &(dyn Val + 'a) { it.value() }),
            _ => None,
        }
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.get(variable).map(CowVal::Borrowed)
    }
}

fn key(name: &str) -> CelMapKey<'_> {
    CelMapKey::String(CelString::from(name))
}

/// JSON as a CEL value: whole numbers are `int`, or `uint` where they need it.
fn from_json(value: &Json) -> Box<dyn Val + '_> {
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => number_value(number),
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(elements) => Box::new(CelList::from(
            elements.iter().map(from_json).collect::<Vec<_>>(),
        )),
        Json::Object(members) => Box::new(CelMap::from(
            members
                .iter()
                .map(|(name, value)| (key(name), from_json(value)))
                .collect::<HashMap<_, _>>(),
        )),
    }
}

/// The same for JSON that nobody else has.
pub(super) fn owned(value: Json) -> Box<dyn Val> {
    match value {
        Json::String(text) => Box::new(CelString::from(text)),
        Json::Array(elements) => Box::new(CelList::from(
            elements.into_iter().map(owned).collect::<Vec<_>>(),
        )),
        Json::Object(members) => Box::new(CelMap::from(
            members
                .into_iter()
                .map(|(name, value)| (CelMapKey::String(CelString::from(name)), owned(value)))
                .collect::<HashMap<_, _>>(),
        )),
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(value)),
        Json::Number(number) => number_value(&number),
    }
}

fn number_value<'a>(number: &Number) -> Box<dyn Val + 'a> {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Box::new(CelInt::from(number)),
        (None, Some(number)) => Box::new(CelUInt::from(number)),
        (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}

/// A text as a CEL timestamp.
fn timestamp<'a>(text: &'a str) -> Option<Box<dyn Val + 'a>> {
    let arguments: Vec<CowVal<'a, 'a>> = vec![CowVal::owned(CelString::from(text))];
    let convert = ENV.find_overload("timestamp", &arguments)?;
    convert(arguments).ok().map(CowVal::into_owned)
}

/// A CEL value as JSON: bytes as base64; timestamps and durations as CEL's `string()` writes them;
/// an empty optional as null.
///
/// `room` is how many bytes of text it may still hold: one text in each element of a long list is
/// cheap in CEL, where they share it, and is not in JSON.
pub(super) fn to_json(value: &(dyn Val + '_), room: &mut usize) -> Result<Json, EvalError> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        take(room, text.inner().len())?;
        return Ok(Json::from(text.inner()));
    }
    if let Some(value) = value.downcast_ref::<CelBool>() {
        return Ok(Json::from(*value.inner()));
    }
    if let Some(number) = value.downcast_ref::<CelInt>() {
        return Ok(Json::from(*number.inner()));
    }
    if let Some(number) = value.downcast_ref::<CelUInt>() {
        return Ok(Json::from(*number.inner()));
    }
    if let Some(number) = value.downcast_ref::<CelDouble>() {
        return Number::from_f64(*number.inner())
            .map(Json::Number)
            .ok_or_else(|| EvalError::Failed("a number is not finite".to_owned()));
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(Json::Null);
    }
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        return list
            .inner()
            .iter()
            .map(|element| to_json(&**element, room))
            .collect();
    }
    if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        return map
            .inner()
            .iter()
            .map(|(key, value)| {
                let key = key_text(key);
                take(room, key.len())?;
                Ok((key, to_json(&**value, room)?))
            })
            .collect::<Result<serde_json::Map<_, _>, _>>()
            .map(Json::Object);
    }
    if let Some(optional) = value.downcast_ref::<CelOptional<'_>>() {
        return optional
            .option()
            .map_or(Ok(Json::Null), |value| to_json(value, room));
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        use base64::Engine as _;
        take(room, bytes.inner().len())?;
        return Ok(Json::from(
            base64::engine::general_purpose::STANDARD.encode(bytes.inner()),
        ));
    }
    text_of(value)
        .map(Json::from)
        .ok_or_else(|| EvalError::Type {
            want: "a value that JSON has",
            got: describe(value),
        })
}

fn take(room: &mut usize, bytes: usize) -> Result<(), EvalError> {
    *room = room.checked_sub(bytes).ok_or_else(|| {
        EvalError::Failed(format!("there are more than {MAX_VALUE} bytes of text"))
    })?;
    Ok(())
}

/// What CEL's `string()` makes of a value.
fn text_of(value: &(dyn Val + '_)) -> Option<String> {
    let arguments = vec![CowVal::Borrowed(value)];
    let convert = ENV.find_overload("string", &arguments)?;
    let text = convert(arguments).ok()?;
    Some(text.downcast_ref::<CelString<'_>>()?.inner().to_owned())
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::Bool(value) => value.inner().to_string(),
        CelMapKey::Int(number) => number.inner().to_string(),
        CelMapKey::UInt(number) => number.inner().to_string(),
    }
}

/// A value's type, for messages.
pub(super) fn describe(value: &(dyn Val + '_)) -> String {
    match value.get_type().name() {
        "null_type" => "null".to_owned(),
        name @ "int" => format!("an {name}"),
        name => format!("a {name}"),
    }
}
