//! `CloudEvents` 1.0 in binary mode: the event's attributes as `ce-` headers
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).
//! `datacontenttype` is the `Content-Type` and has no header of its own.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::event::Event;

/// What section 3.1.3.2 wants encoded, besides all that is not ASCII: blanks, double quotes, percent
/// signs and what can't be printed.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Adds the event's attributes.
pub(super) fn insert(headers: &mut HeaderMap, event: &Event) {
    let mut set = |name: &'static str, value: &str| {
        let encoded = utf8_percent_encode(value, ENCODED).to_string();
        if let Ok(value) = HeaderValue::try_from(encoded) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("ce-specversion", "1.0");
    set("ce-id", &event.id);
    set("ce-source", &event.source());
    set("ce-type", event.cloud_event_type());
    if let Some(time) = event.time {
        set("ce-time", &time.to_string());
    }
    if let Some(subject) = event.subject.as_deref().filter(|text| !text.is_empty()) {
        set("ce-subject", subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::tests::event;
    use crate::event::UNTYPED;

    #[test]
    fn attributes_are_headers_and_percent_encoded() {
        let mut headers = HeaderMap::new();
        let mut event = event();
        event.id = "a 100% \"é\"\n".to_owned();
        event.subject = Some("客户".to_owned());
        event.time = Some("2026-01-02T03:04:05Z".parse().unwrap());
        insert(&mut headers, &event);
        let get = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(get("ce-specversion"), "1.0");
        assert_eq!(get("ce-id"), "a%20100%25%20%22%C3%A9%22%0A");
        assert_eq!(get("ce-source"), "/support/support");
        assert_eq!(get("ce-type"), "message.received");
        assert_eq!(get("ce-subject"), "%E5%AE%A2%E6%88%B7");
        assert_eq!(get("ce-time"), "2026-01-02T03:04:05Z");
        assert!(!headers.contains_key("ce-datacontenttype"));
    }

    #[test]
    fn what_an_event_lacks_is_left_out_but_its_type() {
        let mut headers = HeaderMap::new();
        let event = Event {
            r#type: String::new(),
            time: None,
            subject: None,
            ..event()
        };
        insert(&mut headers, &event);
        assert_eq!(headers.get("ce-type").unwrap(), UNTYPED);
        assert!(!headers.contains_key("ce-time") && !headers.contains_key("ce-subject"));
    }
}
