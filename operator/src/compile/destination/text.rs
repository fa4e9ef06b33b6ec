//! Templates that the compiler writes itself: bodies made from an event whose members are not known
//! for sure, since senders do not all publish them.

use hookswitch_crds::condition::reason;
use hookswitch_crds::expression::Scope;
use hookswitch_crds::template::Template;
use serde_json::{Map, Value as Json};

use crate::compile::problems::Problems;

/// What a person wrote, where the event has it.
pub(super) const MESSAGE: &str = "event.?data.?text.or(event.?data.?first_message)";

/// Who wrote, as a title: a user may have no name.
pub(super) const TITLE: &str =
    "Telegram user ${event.?data.?username.orValue('unknown')} new inquiry";

/// What the event is about, which it may not say.
pub(super) const SUBJECT: &str = "${event.?subject.orValue(event.id)}";

/// The event in a line for people: its type, what it is about and what was written.
pub(super) fn line() -> String {
    format!(
        "${{event.type}}${{event.?subject.hasValue() ? ' ' + event.subject : ''}}\
         ${{{MESSAGE}.hasValue() ? ': ' + string({MESSAGE}.value()) : ''}}"
    )
}

/// The event for people who will work on it: what was written, and where it comes from.
pub(super) fn paragraph() -> String {
    lines("\\n", "")
}

/// The same where HTML is wanted.
pub(super) fn html() -> String {
    lines("<br>", ".replace('&', '&amp;').replace('<', '&lt;')")
}

/// Lines with a break between them; each value goes through `escape`.
fn lines(line_break: &str, escape: &str) -> String {
    let member = |label: &str, name: &str| {
        format!(
            "${{event.?data.?{name}.hasValue() ? '{line_break}{label}: ' + string(event.data.{name}){escape} : ''}}"
        )
    };
    format!(
        "${{string({MESSAGE}.orValue(event.type)){escape}}}{}{}{}",
        member("User", "user_id"),
        member("Conversation", "conversation_id"),
        member("Link", "conversation_url"),
    )
}

/// A text in a template that stands for itself.
pub(super) fn literal(text: &str) -> Json {
    Json::from(text.replace("${", "$${"))
}

/// The message of a rule's body: an object is the API's own, a text is the message's.
///
/// # Errors
/// Where it is neither.
pub(super) fn message(
    written: Option<&Json>,
    member: impl FnOnce(Json) -> Map<String, Json>,
) -> Result<Map<String, Json>, String> {
    match written {
        None => Ok(member(Json::from(line()))),
        Some(text @ Json::String(_)) => Ok(member(text.clone())),
        Some(Json::Object(body)) => Ok(body.clone()),
        Some(_) => Err(
            "write the message's text, or an object as the API's documentation has it, or leave \
             the body out"
                .to_owned(),
        ),
    }
}

/// Compiles a template of text, to know that receivers can.
pub(super) fn check(template: &str, field: &str, problems: &mut Problems) {
    if let Err(errors) = Template::compile(&Json::from(template), Scope::Event) {
        for error in errors {
            problems.refused(field, reason::INVALID_EXPRESSION, error.source.message);
        }
    }
}
