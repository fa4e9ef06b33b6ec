//! Look-ups of a rule, resolved.

use std::collections::BTreeSet;

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{self, OnEnrichFailure};
use hookswitch_crds::template::{Template, UrlTemplate};
use url::Url;

use super::context::Context;
use super::problems::Problems;
use super::{destination, headers, network};

/// The whole of a request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a failure is used again.
const CACHE_FAILURES: Duration = Duration::from_secs(10);
/// Requests under way at once.
const CONCURRENCY: u32 = 16;

/// Resolves the look-ups of a rule. One whose URL can't be used is left out, and is among the problems.
pub(super) fn resolve(
    enrich: &[spec::Enrich],
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<snapshot::Enrich> {
    let resolved = enrich
        .iter()
        .enumerate()
        .filter_map(|(index, it)| one(it, &format!("{field}.enrich[{index}]"), context, problems));
    resolved.collect()
}

fn one(
    enrich: &spec::Enrich,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<snapshot::Enrich> {
    let spec::Enrich {
        name,
        http,
        timeout,
        cache,
        cache_failures,
        concurrency,
        rate_limit,
        on_failure,
    } = enrich;
    let spec::EnrichHttp {
        url,
        method,
        headers,
        allow_private_network,
    } = http;
    let field = format!("{field}.http");
    let url_field = format!("{field}.url");
    if let Err(error) = UrlTemplate::compile(url) {
        problems.refused(url_field, reason::INVALID_EXPRESSION, error.message);
        return None;
    }
    // The host is written out, so all that a URL says about addresses stands before the first `${`.
    let written = url.split("${").next().unwrap_or_default();
    let parsed = match Url::parse(written) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.refused(url_field, reason::UNREADABLE, format!("no URL: {error}"));
            return None;
        }
    };
    let allow = allow_private_network.unwrap_or(false);
    Some(snapshot::Enrich {
        name: name.clone(),
        url: url.clone(),
        method: method.map_or("GET".to_owned(), |method| {
            destination::http::method(Some(method))
        }),
        headers: headers::resolve(headers, &[], &field, context, problems),
        private_networks: network::resolve(&parsed, allow, &field, "url", context, problems),
        timeout: timeout.unwrap_or(TIMEOUT),
        cache: cache.unwrap_or(Duration::from_secs(0)),
        cache_failures: cache_failures.unwrap_or(CACHE_FAILURES),
        concurrency: concurrency.unwrap_or(CONCURRENCY),
        rate_limit: rate_limit.map(destination::rate_limit),
        on_failure: match on_failure {
            Some(spec::OnEnrichFailure::Retry) => OnEnrichFailure::Retry,
            Some(spec::OnEnrichFailure::DeadLetter) => OnEnrichFailure::DeadLetter,
            Some(spec::OnEnrichFailure::Continue) | None => OnEnrichFailure::Continue,
        },
    })
}

/// Refuses look-ups that a body names and the rule does not have; gives those that it names.
pub(super) fn named<'a>(
    body: &'a Template,
    enrich: &'a [spec::Enrich],
    field: &str,
    problems: &mut Problems,
) -> BTreeSet<&'a str> {
    let names = || enrich.iter().map(|it| it.name.as_str());
    let mut found = BTreeSet::new();
    for named in body.enriched() {
        match named {
            None => found.extend(names()),
            Some(name) if names().any(|it| it == name) => {
                found.insert(name);
            }
            Some(name) => {
                let known: Vec<&str> = names().collect();
                let message = if known.is_empty() {
                    format!(
                        "the rule looks nothing up, so there is no enriched.{name}: add it to enrich"
                    )
                } else {
                    format!(
                        "the rule has no look-up {name}: use one of {}, or add it to enrich",
                        known.join(", ")
                    )
                };
                problems.refused(field, reason::INVALID_EXPRESSION, message);
            }
        }
    }
    found
}

/// Warns of look-ups that no body names: they are not made.
pub(super) fn unused(
    enrich: &[spec::Enrich],
    named: &BTreeSet<&str>,
    field: &str,
    problems: &mut Problems,
) {
    for (index, it) in enrich.iter().enumerate() {
        if !named.contains(it.name.as_str()) {
            problems.warning(
                format!("{field}.enrich[{index}]"),
                format!(
                    "no body of this rule names enriched.{0}, so it is not looked up: put \
                     ${{enriched.?{0}}} where its answer is to stand",
                    it.name
                ),
            );
        }
    }
}
