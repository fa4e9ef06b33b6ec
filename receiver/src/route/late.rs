//! Bodies that are rendered after the plan, once their look-ups have ended. Pure, like all of routing.

use std::borrow::Cow;

use bytes::Bytes;
use hookswitch_crds::expression::{self, EvalError, Expression, Scope, Variables, WordLists};
use hookswitch_crds::template::{self, Template};
use serde_json::Value as Json;

use crate::event::Event;
use crate::plan::{EchoMark, Unrendered};
use crate::redact::{Hidden, Redactor};

use super::{render, rules};

/// A body that can be sent.
#[derive(Debug)]
pub struct Late {
    /// Its bytes.
    pub body: Bytes,
    /// What to leave behind before it is sent.
    pub echo: Option<EchoMark>,
    /// Why there is no mark, where the echo guard's expression failed.
    pub no_mark: Option<EvalError>,
}

/// Why a body can't be rendered, now or ever.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expression has no value.
    #[error("body: {0}")]
    Evaluate(#[from] EvalError),
    /// The template does not compile: another version of this program has planned it.
    #[error("body: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Template(Vec<template::Error>),
    /// The echo guard's expression does not.
    #[error("loopGuard.echo.sent: {0}")]
    Echo(expression::Error),
}

/// Renders a body with what its look-ups have found: an object with a member for each that did.
/// `hidden` is what the request hides, and `words` are the lists of the route as they are now.
///
/// # Errors
/// Where it can't be rendered; another try would not change that.
pub fn render_late(
    event: &Event,
    unrendered: &Unrendered,
    hidden: Hidden,
    enriched: &Json,
    words: Option<&WordLists>,
) -> Result<Late, Error> {
    let template = Template::read(&unrendered.body, Scope::Enriched).map_err(Error::Template)?;
    let redactor = unrendered.redact.as_ref().map(Redactor::new);
    let (seen, enriched) = match &redactor {
        None => (Cow::Borrowed(event), Cow::Borrowed(enriched)),
        Some(redactor) => (
            Cow::Owned(redactor.seen(event, hidden)),
            Cow::Owned(redactor.enriched(enriched)),
        ),
    };
    let attributes = render::expression_event(&seen);
    let body = template.render(&variables(&attributes, words).with_enriched(&enriched))?;
    let (mut echo, mut no_mark) = (None, None);
    if let Some(guard) = &unrendered.echo {
        let sent = Expression::compile(&guard.sent, Scope::Sent).map_err(Error::Echo)?;
        let marked = match &redactor {
            None => attributes,
            Some(_) => render::marked_event(event, attributes.get("data")),
        };
        match rules::digest(&sent, &variables(&marked, words).with_request(&body)) {
            Ok(key) => {
                echo = Some(EchoMark {
                    key,
                    window: guard.window,
                });
            }
            // As for a body that is rendered with the plan: no mark is left.
            Err(error) => no_mark = Some(error),
        }
    }
    Ok(Late {
        body: render::late(&seen, unrendered.enveloped, &body),
        echo,
        no_mark,
    })
}

fn variables<'a>(event: &'a Json, words: Option<&WordLists>) -> Variables<'a> {
    let variables = Variables::new(event);
    match words {
        Some(words) => variables.with_words(words),
        None => variables,
    }
}
