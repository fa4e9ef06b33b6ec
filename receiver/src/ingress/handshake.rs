//! What senders ask of a URL before they send events to it. None of it is an event: nothing is kept.
//!
//! - Slack posts a challenge, signed as an event is, and wants it back:
//!   <https://docs.slack.dev/reference/events/url_verification>.
//! - Intercom asks with HEAD whether anything is there, before it signs anything:
//!   <https://developers.intercom.com/docs/webhooks/setting-up-webhooks>.

use serde::Deserialize;

/// The provider that sends challenges.
const SLACK: &str = "Slack";
/// The type of a challenge.
const URL_VERIFICATION: &str = "url_verification";

#[derive(Deserialize)]
struct Challenge {
    r#type: String,
    challenge: String,
}

/// The challenge that a verified body holds, to be sent back as it is.
pub(super) fn challenge(provider: &str, body: &[u8]) -> Option<String> {
    if provider != SLACK {
        return None;
    }
    let Challenge { r#type, challenge } = serde_json::from_slice(body).ok()?;
    (r#type == URL_VERIFICATION).then_some(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slack_challenges() {
        let body = br#"{"token": "t", "challenge": "3eZbrw1aBm2r", "type": "url_verification"}"#;
        assert_eq!(challenge("Slack", body), Some("3eZbrw1aBm2r".to_owned()));
        assert_eq!(challenge("Generic", body), None);
        for other in [
            r#"{"type": "event_callback", "challenge": "x"}"#,
            r#"{"type": "url_verification"}"#,
            "[]",
            "",
        ] {
            assert_eq!(challenge("Slack", other.as_bytes()), None, "{other}");
        }
    }
}
