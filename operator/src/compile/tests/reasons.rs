//! Each reason, once: what causes it, which field it names, and what else it says.

use hookswitch_crds::condition::reason;

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited, told};
use crate::compile::Effect;

/// An edit of the two objects that work, and the one problem that it causes.
struct Case {
    from: &'static str,
    to: &'static str,
    object: &'static str,
    effect: Effect,
    reason: &'static str,
    field: &'static str,
    /// A part of the message: the remedy where there is one.
    says: &'static str,
}

#[test]
fn each_mistake_has_its_reason_its_field_and_its_remedy() {
    for case in cases() {
        let Case {
            from,
            to,
            object,
            effect,
            reason,
            field,
            says,
        } = case;
        let compiled = compiled(&edited(&all(&[SUBSCRIPTION, ROUTE]), from, to));
        let (problems, conditions) = match compiled.routes.get(&super::key(object)) {
            Some(route) if object == "support/crm" => (&route.problems, &route.conditions),
            _ => {
                let report = compiled.subscription(object);
                (&report.problems, &report.conditions)
            }
        };
        let found = problems.iter().find(|it| it.field == field);
        let found = found.unwrap_or_else(|| panic!("`{to}`: not {field} but {}", told(problems)));
        assert_eq!(
            (found.reason, found.effect),
            (reason, effect),
            "`{to}`: {found}"
        );
        assert!(found.message.contains(says), "`{to}`: {found}");
        let condition = match reason {
            reason::SECRET_NOT_FOUND | reason::SECRET_KEY_MISSING | reason::SECRET_INVALID => {
                &conditions.resolved_refs
            }
            _ => &conditions.accepted,
        };
        assert_eq!(condition.status, effect == Effect::Warning, "`{to}`");
        assert_eq!(condition.reason, reason, "`{to}`");
        assert!(
            condition.message.contains(&format!("{field}: ")),
            "{}",
            condition.message
        );
    }
}

/// What works has nothing to tell, so that each case's edit is all that its problem can be of.
#[test]
fn objects_that_are_right_are_accepted_without_a_word() {
    let compiled = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let subscription = compiled.subscription("support/support");
    let route = compiled.route("support/crm");
    assert_eq!(told(&subscription.problems) + &told(&route.problems), "");
    assert_eq!(compiled.refusals("support/support"), (None, None));
    assert_eq!(compiled.refusals("support/crm"), (None, None));
    assert_eq!(subscription.conditions.programmed, None);
    assert_eq!(route.conditions.programmed, None);
    assert_eq!(subscription.attached_routes, 1);
    assert_eq!(
        subscription.url.as_deref(),
        Some("https://hooks.example.com/support/support")
    );
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    const HMAC: &str = "{hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}";
    const TICKETS: &str = "{name: tickets, http: {url: 'https://crm.example.com/tickets'}}";
    const DELIVER: &str = "deliver: [{destination: tickets}]";
    let subscription = |from, to, effect, reason, field, says| Case {
        from,
        to,
        object: "support/support",
        effect,
        reason,
        field,
        says,
    };
    let route = |from, to, effect, reason, field, says| Case {
        object: "support/crm",
        ..subscription(from, to, effect, reason, field, says)
    };
    vec![
        subscription(
            "provider: TGStaff",
            "provider: TGStaff\n  path: /sales/support",
            Effect::Refused,
            reason::PATH_NOT_ALLOWED,
            "spec.path",
            "choose a path under it",
        ),
        subscription(
            "key: signing-key}",
            "key: other-key}",
            Effect::Unresolved,
            reason::SECRET_KEY_MISSING,
            "spec.verification.hmac.secretRefs[0]",
            "support/tg-staff has no key other-key: add it",
        ),
        subscription(
            "signing-key: the-signing-key",
            "signing-key: ''",
            Effect::Unresolved,
            reason::SECRET_KEY_MISSING,
            "spec.verification.hmac.secretRefs[0]",
            "is empty",
        ),
        subscription(
            "signing-key: the-signing-key",
            "signing-key: \"the-signing-key\\n\"",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.verification.hmac.secretRefs[0]",
            "ends with a line break",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {secretEncoding: Base64, secretRefs",
            Effect::Unresolved,
            reason::SECRET_INVALID,
            "spec.verification.hmac.secretRefs[0]",
            "is not base64",
        ),
        subscription(
            "provider: TGStaff",
            "provider: StandardWebhooks",
            Effect::Unresolved,
            reason::SECRET_INVALID,
            "spec.verification.hmac.secretRefs[0]",
            "is not whsec_ and base64",
        ),
        subscription(
            HMAC,
            "{headers: [{name: Authorization, secretRef: {name: tg-staff, key: two-lines}}]}",
            Effect::Unresolved,
            reason::SECRET_INVALID,
            "spec.verification.headers[0].secretRef",
            "no header may have",
        ),
        subscription(
            HMAC,
            "{headers: [{name: Authorization, secretRef: {name: other, key: token}}]}",
            Effect::Unresolved,
            reason::SECRET_NOT_FOUND,
            "spec.verification.headers[0].secretRef",
            "no Secret other in namespace support",
        ),
        subscription(
            HMAC,
            "{hmac: {secretRefs: [{name: hookswitch-snapshot-0, key: snapshot}]}}",
            Effect::Refused,
            reason::SECRET_NOT_FOUND,
            "spec.verification.hmac.secretRefs[0]",
            "may not be referenced",
        ),
        subscription(
            HMAC,
            "{sourceRanges: [203.0.113.0/24]}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification",
            "sourceRanges alone do not",
        ),
        subscription(
            "provider: TGStaff",
            "provider: Generic",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.header",
            "name the header",
        ),
        subscription(
            "provider: TGStaff",
            "provider: Telegram",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.header",
            "X-Telegram-Bot-Api-Secret-Token",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {message: [Id], secretRefs",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.message",
            "Body",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {message: [Id, Body], secretRefs",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.idHeader",
            "name its header",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {message: [Timestamp, Body], secretRefs",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.timestampHeader",
            "name its header",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {tolerance: 5m, secretRefs",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.tolerance",
            "proves nothing",
        ),
        subscription(
            "{hmac: {secretRefs",
            "{hmac: {layout: SpaceSeparated, secretRefs",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.hmac.prefix",
            "name those that count",
        ),
        subscription(
            HMAC,
            "{hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}, sourceRanges: [203.0.113.0/33]}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.verification.sourceRanges[0]",
            "203.0.113.0/24",
        ),
        subscription(
            "provider: TGStaff",
            "provider: HubSpot",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.fields.id",
            "remembered for 15m",
        ),
        subscription(
            "provider: TGStaff",
            "provider: TGStaff\n  limits: {storedBytes: 1Ti}",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.limits.storedBytes",
            "the operator's ceiling",
        ),
        subscription(
            "provider: TGStaff",
            "provider: TGStaff\n  retention: 9999h",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.retention",
            "2160h is served",
        ),
        subscription(
            "provider: TGStaff",
            "provider: TGStaff\n  allowedRoutes: {namespaces: {from: Selector}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.allowedRoutes.namespaces.selector",
            "which labels",
        ),
        route(
            "subscriptionRefs: [{name: support}]",
            "subscriptionRefs: [{name: supprot}]",
            Effect::Unresolved,
            reason::NO_MATCHING_SUBSCRIPTION,
            "spec.subscriptionRefs[0]",
            "there is no subscription support/supprot: create it",
        ),
        route(
            "types: [conversation.created]",
            "when: event.typo == 1",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].when",
            "typo",
        ),
        route(
            "types: [conversation.created]",
            "when: event.data.?vip",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].when",
            "end it with `.orValue(false)`",
        ),
        route(
            "types: [conversation.created]",
            "when: event.data.text.matches('(refund')",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].when",
            "unclosed group",
        ),
        route(
            DELIVER,
            "deliver: [{destination: tickets, body: {ticket: {tags: ['${nothing}']}}}]",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].deliver[0].body.ticket.tags[0]",
            "nothing",
        ),
        route(
            DELIVER,
            "enrich: [{name: profile, http: {url: 'https://a.example/${event.data.id}'}}]\n    deliver: [{destination: tickets, body: {x: '${enriched.?profil}'}}]",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].deliver[0].body",
            "the rule has no look-up profil: use one of profile",
        ),
        route(
            DELIVER,
            "deliver: [{destination: tickets, body: {x: '${enriched.profile.name}'}}]",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].deliver[0].body",
            "add it to enrich",
        ),
        route(
            "types: [conversation.created]",
            "when: enriched.profile.vip\n    enrich: [{name: profile, http: {url: 'https://a.example/'}}]",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].when",
            "once the rule has fired",
        ),
        route(
            DELIVER,
            "enrich: [{name: profile, http: {url: 'https://a.example/${evnt.id}'}}]\n    deliver: [{destination: tickets, body: '${enriched}'}]",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.rules[0].enrich[0].http.url",
            "evnt",
        ),
        route(
            DELIVER,
            "enrich: [{name: profile, http: {url: 'https://10.0.0.1/'}}]\n    deliver: [{destination: tickets, body: '${enriched}'}]",
            Effect::Refused,
            reason::NETWORK_NOT_ALLOWED,
            "spec.rules[0].enrich[0].http.url",
            "allowPrivateNetwork: true",
        ),
        route(
            DELIVER,
            "enrich: [{name: profile, http: {url: 'https://a.example/', headers: [{name: Authorization, secretRef: {name: none, key: token}}]}}]\n    deliver: [{destination: tickets, body: '${enriched}'}]",
            Effect::Unresolved,
            reason::SECRET_NOT_FOUND,
            "spec.rules[0].enrich[0].http.headers[0].secretRef",
            "there is no Secret none in namespace support",
        ),
        route(
            DELIVER,
            "enrich: [{name: profile, http: {url: 'https://a.example/'}}]\n    deliver: [{destination: tickets}]",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.rules[0].enrich[0]",
            "put ${enriched.?profile} where",
        ),
        route(
            DELIVER,
            "deliver: [{destination: tickets}]\n  loopGuard: {echo: {sent: request.text, received: request.text}}",
            Effect::Refused,
            reason::INVALID_EXPRESSION,
            "spec.loopGuard.echo.received",
            "request",
        ),
        route(
            DELIVER,
            "deliver: [{destination: tickets}]\n  loopGuard: {maxHops: 2}",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.loopGuard",
            "guards nothing",
        ),
        route(
            DELIVER,
            "deliver: [{destination: ticktes}]",
            Effect::Refused,
            reason::DESTINATION_NOT_FOUND,
            "spec.rules[0].deliver[0].destination",
            "use one of tickets",
        ),
        route(
            "provider: TGStaff",
            "provider: TGStaff\n  types: [conversation.closed]",
            Effect::Warning,
            reason::ACCEPTED,
            "spec.rules[0].types",
            "no subscription of this route accepts conversation.created",
        ),
        route(
            TICKETS,
            "{name: tickets}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0]",
            "name exactly one kind",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'http://crm.example.com'}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].http",
            "use https://",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://10.0.0.1/tickets'}}",
            Effect::Refused,
            reason::NETWORK_NOT_ALLOWED,
            "spec.destinations[0].http.url",
            "set allowPrivateNetwork: true",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.internal/', allowPrivateNetwork: true}}",
            Effect::Refused,
            reason::NETWORK_NOT_ALLOWED,
            "spec.destinations[0].http.allowPrivateNetwork",
            "privateNetworks",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.example.com/${event.id}'}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].http.url",
            "into the body",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.example.com', headers: [{name: A, secretRef: {name: crm, key: token}}]}}",
            Effect::Unresolved,
            reason::SECRET_NOT_FOUND,
            "spec.destinations[0].http.headers[0].secretRef",
            "create it with the key token",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.example.com', headers: [{name: Host, value: a}]}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].http.headers[0].name",
            "set by Hookswitch itself",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.example.com', headers: [{name: X-A, value: a}, {name: x-a, value: b}]}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].http.headers[1].name",
            "twice",
        ),
        route(
            TICKETS,
            "{name: tickets, tgstaff: {baseUrl: 'https://a.example', path: /m, headers: [{name: Authorization, value: a}], tokenSecretRef: {name: tg-staff, key: api-token}}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].tgstaff.headers[0].name",
            "set by Hookswitch itself",
        ),
        route(
            TICKETS,
            "{name: tickets, http: {url: 'https://crm.example.com', headers: [{name: webhook-id, value: a}], sign: {standardWebhooks: {secretRefs: [{name: tg-staff, key: gone}]}}}}",
            Effect::Refused,
            reason::UNREADABLE,
            "spec.destinations[0].http.headers[0].name",
            "set by Hookswitch itself",
        ),
        route(
            TICKETS,
            "{name: tickets, tgstaff: {baseUrl: 'https://a.example', path: /m, tokenSecretRef: {name: tg-staff, key: gone}}}",
            Effect::Unresolved,
            reason::SECRET_KEY_MISSING,
            "spec.destinations[0].tgstaff.tokenSecretRef",
            "add it",
        ),
    ]
}

#[test]
fn a_long_list_of_problems_is_told_in_part() {
    let references: Vec<String> = (0..12).map(|it| format!("{{name: n{it}}}")).collect();
    let references = format!("subscriptionRefs: [{}]", references.join(", "));
    let route = edited(ROUTE, "subscriptionRefs: [{name: support}]", &references);
    let report = compiled(&route).route("support/crm").clone();
    assert_eq!(report.problems.len(), 12);
    assert!(report.conditions.accepted.message.ends_with("; and 4 more"));
}

#[test]
fn a_long_message_is_told_in_part() {
    let when = format!("when: event.data.{} + event.typo", "a".repeat(3000));
    let route = edited(ROUTE, "types: [conversation.created]", &when);
    let report = compiled(&route).route("support/crm").clone();
    assert!(report.conditions.accepted.message.len() < 1000);
    assert_eq!(
        report.conditions.accepted.reason,
        reason::INVALID_EXPRESSION
    );
}
