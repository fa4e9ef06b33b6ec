//! Word lists: their words, from wherever they stand.

use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route::{self as spec, EventRouteSpec};
use hookswitch_crds::expression::{self, Expression, Scope};
use hookswitch_crds::secret_ref::ConfigMapRef;
use hookswitch_crds::snapshot;
use hookswitch_crds::template::{Template, UrlTemplate};
use hookswitch_crds::words;
use serde_json::Value as Json;

use super::context::Context;
use super::problems::Problems;
use super::route;
use super::secrets::Use;

/// The most bytes of words that a route may have, all lists together: routes share the snapshot's
/// 1,000,000 compressed bytes with everyone.
pub(super) const MAX_ROUTE: usize = 512 << 10;

/// Resolves the lists of a route. One whose source is missing stays without words, and expressions that
/// ask it fail until it is there.
pub(super) fn resolve(
    lists: &[spec::WordList],
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<snapshot::WordList> {
    let mut total = 0;
    let resolved = lists.iter().enumerate().map(|(index, list)| {
        let field = format!("spec.wordLists[{index}]");
        let words = words(list, &field, context, problems);
        total += words.as_ref().map_or(0, String::len);
        snapshot::WordList {
            name: list.name.clone(),
            words,
        }
    });
    let resolved = resolved.collect();
    if total > MAX_ROUTE {
        problems.refused(
            "spec.wordLists",
            reason::WORD_LIST_INVALID,
            format!(
                "together they have {total} bytes, and a route may have {MAX_ROUTE}: spread them over several routes"
            ),
        );
    }
    resolved
}

fn words(
    list: &spec::WordList,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let spec::WordList {
        name: _,
        config_map_ref,
        secret_ref,
        inline,
    } = list;
    if let Some(reference) = config_map_ref {
        let field = format!("{field}.configMapRef");
        let text = from_config_map(reference, &field, context, problems)?;
        return read(&text, &field, problems);
    }
    if let Some(reference) = secret_ref {
        let field = format!("{field}.secretRef");
        let secret = context
            .secrets
            .resolve(reference, Use::Words, &field, problems);
        let value = secret.value?;
        let text = utf8(value.expose(), &field, problems)?;
        return read(&text, &field, problems);
    }
    match words::compact(&inline.join("\n")) {
        Ok(words) => Some(words),
        Err(error) => {
            // A word that the spec itself holds is a mistake of the spec.
            problems.refused(
                format!("{field}.inline"),
                reason::WORD_LIST_INVALID,
                error.to_string(),
            );
            None
        }
    }
}

fn from_config_map(
    reference: &ConfigMapRef,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let ConfigMapRef { name, key } = reference;
    let namespace = context.config_maps.namespace();
    let Some(data) = context.config_maps.config_map(name) else {
        problems.unresolved(
            field,
            reason::SECRET_NOT_FOUND,
            format!(
                "there is no ConfigMap {name} in namespace {namespace}: create it with the key {key}"
            ),
        );
        return None;
    };
    let Some(value) = data.get(key) else {
        problems.unresolved(
            field,
            reason::SECRET_KEY_MISSING,
            format!("the ConfigMap {namespace}/{name} has no key {key}: add it"),
        );
        return None;
    };
    utf8(value.expose(), field, problems)
}

fn utf8(bytes: &[u8], field: &str, problems: &mut Problems) -> Option<String> {
    let text = std::str::from_utf8(bytes);
    if text.is_err() {
        problems.unresolved(
            field,
            reason::WORD_LIST_INVALID,
            "it is no text in UTF-8: save it as such",
        );
    }
    text.ok().map(str::to_owned)
}

fn read(text: &str, field: &str, problems: &mut Problems) -> Option<String> {
    match words::compact(text) {
        Ok(words) => {
            if words.is_empty() {
                problems.warning(field, "it has no words, so it finds none");
            }
            Some(words)
        }
        Err(error) => {
            problems.unresolved(field, reason::WORD_LIST_INVALID, error.to_string());
            None
        }
    }
}

/// Refuses expressions that name a list which the route does not have. What does not compile at all is
/// told elsewhere.
pub(super) fn check_names(spec: &EventRouteSpec, problems: &mut Problems) {
    let known: Vec<&str> = spec.word_lists.iter().map(|it| it.name.as_str()).collect();
    for (field, source) in expressions(spec) {
        if source.contains(MENTION) {
            let compiled = SCOPES
                .iter()
                .find_map(|it| Expression::compile(source, *it).ok());
            let Some(compiled) = compiled else { continue };
            refuse(problems, field, compiled.check_word_lists(&known));
        }
    }
    for (rule_index, rule) in spec.rules.iter().enumerate() {
        for (index, look_up) in rule.enrich.iter().enumerate() {
            if let Ok(url) = UrlTemplate::compile(&look_up.http.url) {
                let field = format!("spec.rules[{rule_index}].enrich[{index}].http.url");
                refuse(problems, field, url.check_word_lists(&known));
            }
        }
        for (index, deliver) in rule.deliver.iter().enumerate() {
            let Some(body) = &deliver.body else { continue };
            let mut leaves = Vec::new();
            texts(body, &mut String::new(), &mut leaves);
            for (pointer, leaf) in leaves {
                let leaf = Json::from(leaf);
                let compiled = SCOPES
                    .iter()
                    .find_map(|it| Template::compile(&leaf, *it).ok());
                let checked = compiled.map_or(Ok(()), |it| it.check_word_lists(&known));
                let field = format!("spec.rules[{rule_index}].deliver[{index}].body");
                refuse(
                    problems,
                    format!("{field}{}", route::path(&pointer)),
                    checked,
                );
            }
        }
    }
}

fn refuse(problems: &mut Problems, field: String, checked: Result<(), expression::Error>) {
    if let Err(error) = checked {
        problems.refused(field, reason::INVALID_EXPRESSION, error.message);
    }
}

/// What an expression that names a list holds.
const MENTION: &str = "words";
/// An expression of one of these compiles in one of them.
const SCOPES: [Scope; 4] = [Scope::Event, Scope::Sent, Scope::Unless, Scope::Enriched];

/// The expressions of a spec but for those in bodies, with their fields.
fn expressions(spec: &EventRouteSpec) -> Vec<(String, &str)> {
    let mut found: Vec<(String, &str)> = Vec::new();
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = |field: &str| format!("spec.rules[{index}].{field}");
        found.extend(rule.when.as_deref().map(|it| (at("when"), it)));
        if let Some(transition) = &rule.transition {
            found.push((at("transition.key"), &transition.key));
            found.push((at("transition.rank"), &transition.rank));
            let reopen = transition.reopen_when.as_deref();
            found.extend(reopen.map(|it| (at("transition.reopenWhen"), it)));
        }
        if let Some(after) = &rule.after {
            found.push((at("after.key"), &after.key));
            let unless = after.unless.as_ref().and_then(|it| it.when.as_deref());
            found.extend(unless.map(|it| (at("after.unless.when"), it)));
        }
        for (index, deliver) in rule.deliver.iter().enumerate() {
            let once = deliver.once.as_ref();
            found.extend(
                once.map(|it| (at(&format!("deliver[{index}].once.key")), it.key.as_str())),
            );
        }
    }
    if let Some(echo) = spec.loop_guard.as_ref().and_then(|it| it.echo.as_ref()) {
        found.push(("spec.loopGuard.echo.sent".to_owned(), &echo.sent));
        found.push(("spec.loopGuard.echo.received".to_owned(), &echo.received));
    }
    found
}

/// The texts of a template that mention a list, each with its pointer.
fn texts<'a>(template: &'a Json, pointer: &mut String, found: &mut Vec<(String, &'a str)>) {
    let length = pointer.len();
    match template {
        Json::String(text) if text.contains(MENTION) => found.push((pointer.clone(), text)),
        Json::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                texts(element, pointer, found);
                pointer.truncate(length);
            }
        }
        Json::Object(members) => {
            for (name, member) in members {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                texts(member, pointer, found);
                pointer.truncate(length);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
