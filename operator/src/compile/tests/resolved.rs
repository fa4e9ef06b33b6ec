//! What is left out gets its default; what is written wins.

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::snapshot::{
    DestinationKind, FieldSource, GuardMode, HeaderValue, OnAmbiguous, Ordering, SignatureEncoding,
    Snapshot,
};

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited, http, objects, settings};
use crate::compile::{Ceilings, PrivateGrant, Settings, compile};

const REPLY: &str = "
kind: EventRoute
metadata: {name: reply, namespace: support}
spec:
  subscriptionRefs: [{name: support}]
  destinations:
  - name: reply
    tgstaff: {baseUrl: 'https://api.tg-staff.example/v1/', path: /messages, tokenSecretRef: {name: tg-staff, key: api-token}}
  - name: qa
    http: {url: 'https://qa.example.com/scan'}
  rules:
  - {name: all, deliver: [{destination: reply, body: {text: '${event.data.text}'}}, {destination: qa}]}
";

#[test]
fn tgstaff_is_http_with_its_facts_filled_in() {
    let compiled = compiled(&all(&[SUBSCRIPTION, REPLY]));
    let entry = compiled.route_entry("support/reply").unwrap();
    let reply = &entry.destinations[0];
    assert_eq!(reply.kind, DestinationKind::Tgstaff);
    assert_eq!(http(reply).url, "https://api.tg-staff.example/v1/messages");
    assert_eq!(http(reply).method, "POST");
    let [token] = http(reply).headers.as_slice() else {
        panic!("{:?}", http(reply).headers)
    };
    assert_eq!(token.name, "Authorization");
    let HeaderValue::Secret { prefix, secret } = &token.value else {
        panic!("{token:?}")
    };
    assert_eq!(prefix, "Bearer ");
    assert_eq!(secret.reference, "tg-staff/api-token");
    assert_eq!(secret.usable().unwrap().expose(), b"the-api-token");
}

#[test]
fn r53_a_segment_of_tgstaffs_path_may_be_an_expression() {
    let with = |path: &str| REPLY.replace("path: /messages", &format!("path: '{path}'"));
    let objects = with("/users/${event.data.user_id}/tags");
    let compiled = compiled(&all(&[SUBSCRIPTION, &objects]));
    let route = compiled.route_entry("support/reply").unwrap();
    let reply = &route.destinations[0];
    assert_eq!(
        http(reply).url,
        "https://api.tg-staff.example/v1/users/%7Baddress%7D/tags"
    );
    assert_eq!(reply.address.as_deref(), Some("${event.data.user_id}"));
    for wrong in [
        "/users/u-${event.data.user_id}",
        "/users/${event.data.user_id}/tags/${event.data.tag}",
        "/users/${evnt.id}",
    ] {
        let compiled = super::compiled(&all(&[SUBSCRIPTION, &with(wrong)]));
        assert!(compiled.route_entry("support/reply").is_none(), "{wrong}");
    }
}

#[test]
fn r28_r29_the_loop_guard_looks_at_the_sender_and_only_where_a_destination_writes_back() {
    let compiled = compiled(&all(&[SUBSCRIPTION, REPLY]));
    let subscription = compiled.subscription_entry("support/support").unwrap();
    assert_eq!(
        subscription.fields.sender,
        Some(FieldSource::Pointer("/sender_type".to_owned()))
    );
    let route = compiled.route_entry("support/reply").unwrap();
    let writes_back: Vec<bool> = route.destinations.iter().map(|it| it.writes_back).collect();
    assert_eq!(writes_back, [true, false]);
    let guard = &route.loop_guard;
    assert_eq!(guard.mode, GuardMode::Enforce);
    assert_eq!(guard.senders, ["agent", "system"]);
    assert_eq!(guard.max_hops, 4);
    let limit = guard.per_subject.unwrap();
    assert_eq!((limit.limit, limit.window), (20, Duration::from_secs(60)));
}

#[test]
fn any_destination_may_write_back_and_tgstaff_may_not() {
    let yaml = edited(
        REPLY,
        "    http: {url: 'https://qa.example.com/scan'}",
        "    http: {url: 'https://qa.example.com/scan'}\n    writesBack: true",
    );
    let yaml = edited(
        &yaml,
        "key: api-token}}",
        "key: api-token}}\n    writesBack: false",
    );
    let compiled = compiled(&all(&[SUBSCRIPTION, &yaml]));
    let route = compiled.route_entry("support/reply").unwrap();
    let writes_back: Vec<bool> = route.destinations.iter().map(|it| it.writes_back).collect();
    assert_eq!(writes_back, [false, true]);
}

#[test]
fn deliveries_have_defaults_and_each_may_be_set_alone() {
    let compiled_with = |delivery: &str| {
        let yaml = edited(
            ROUTE,
            "http: {url: 'https://crm.example.com/tickets'}",
            &format!("http: {{url: 'https://crm.example.com/tickets'}}, delivery: {delivery}"),
        );
        let compiled = compiled(&all(&[SUBSCRIPTION, &yaml]));
        compiled.route_entry("support/crm").unwrap().destinations[0]
            .delivery
            .clone()
    };
    let defaults = compiled_with("{}");
    assert_eq!(defaults.timeout, Duration::from_secs(10));
    assert_eq!(defaults.give_up_after, Duration::from_secs(48 * 3600));
    assert_eq!(defaults.backoff_initial, Duration::from_secs(2));
    assert_eq!(defaults.backoff_max, Duration::from_secs(600));
    assert_eq!(defaults.on_ambiguous, OnAmbiguous::Retry);
    assert_eq!(defaults.rate_limit, None);
    assert_eq!(defaults.ordering, Ordering::None);
    assert_eq!(defaults.circuit_breaker.failures, 10);
    assert_eq!(defaults.circuit_breaker.open_for, Duration::from_secs(30));

    let slow = compiled_with("{backoff: {initial: 20m}, circuitBreaker: {failures: 3}}");
    assert_eq!(slow.backoff_initial, Duration::from_secs(1200));
    assert_eq!(
        slow.backoff_max,
        Duration::from_secs(1200),
        "never below the first"
    );
    assert_eq!(slow.circuit_breaker.failures, 3);
    assert_eq!(slow.circuit_breaker.open_for, Duration::from_secs(30));

    let limited = compiled_with("{rateLimit: {perSecond: 0.5}, ordering: PerSubject}");
    assert_eq!(limited.rate_limit.unwrap().burst, 1);
    assert_eq!(limited.ordering, Ordering::PerSubject);
}

#[test]
fn r12_verification_is_optional_and_its_encoding_a_setting() {
    let of = |verification: &str| {
        let yaml = edited(
            SUBSCRIPTION,
            "{hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}",
            verification,
        );
        let compiled = compiled(&yaml);
        compiled
            .subscription_entry("support/support")
            .unwrap()
            .verification
            .clone()
    };
    let unverified = of("{unverified: true}");
    assert!(unverified.unverified && unverified.hmac.is_none());
    let header =
        of("{headers: [{name: Authorization, secretRef: {name: tg-staff, key: authorization}}]}");
    assert!(header.hmac.is_none() && !header.unverified);
    assert_eq!(
        header.headers[0].secret.usable().unwrap().expose(),
        b"Bearer the-token"
    );
    let default = of("{hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}");
    assert_eq!(default.hmac.unwrap().encoding, SignatureEncoding::Auto);
    let hex = of("{hmac: {encoding: Hex, prefix: 'sha256=', secretRefs: [{name: tg-staff, key: signing-key}]}}").hmac.unwrap();
    assert_eq!(hex.encoding, SignatureEncoding::Hex);
    assert_eq!(hex.prefix.as_deref(), Some("sha256="));
    assert_eq!(hex.header, "X-TG-Staff-Signature");
}

#[test]
fn r13_source_ranges_are_optional_and_parsed() {
    let yaml = edited(
        SUBSCRIPTION,
        "key: signing-key}]}}",
        "key: signing-key}]}, sourceRanges: [203.0.113.0/24, '2001:db8::/32']}",
    );
    let compiled = compiled(&yaml);
    let entry = compiled.subscription_entry("support/support").unwrap();
    let ranges: Vec<String> = entry
        .verification
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["203.0.113.0/24", "2001:db8::/32"]);
}

/// 30 s, 2 min and 5 min: the sender is done after seven and a half minutes.
#[test]
fn r14_ids_are_remembered_far_longer_than_the_sender_retries() {
    let retries = Duration::from_secs(30 + 120 + 300);
    let compiled = compiled(SUBSCRIPTION);
    let entry = compiled.subscription_entry("support/support").unwrap();
    assert_eq!(entry.deduplication_window, Duration::from_secs(24 * 3600));
    assert!(super::super::subscription::HASH_WINDOW >= Duration::from_millis(2 * 450_000));
    assert!(entry.deduplication_window > retries);
}

#[test]
fn an_optional_secret_may_be_missing() {
    let yaml = edited(
        SUBSCRIPTION,
        "{name: tg-staff, key: signing-key}",
        "{name: tg-staff, key: signing-key}, {name: tg-staff, key: previous, optional: true}, {name: gone, key: k, optional: true}",
    );
    let compiled = compiled(&yaml);
    assert_eq!(compiled.refusals("support/support"), (None, None));
    let entry = compiled.subscription_entry("support/support").unwrap();
    let secrets = &entry.verification.hmac.as_ref().unwrap().secrets;
    let usable: Vec<bool> = secrets.iter().map(|it| it.usable().is_some()).collect();
    assert_eq!(usable, [true, false, false]);
}

/// Each may be missing, and all of them may not: the receiver answers 503 then.
#[test]
fn optional_secrets_may_not_all_be_missing() {
    let yaml = edited(
        &all(&[SUBSCRIPTION, ROUTE]),
        "{name: tg-staff, key: signing-key}",
        "{name: tg-staff, key: next, optional: true}, {name: gone, key: k, optional: true}",
    );
    let yaml = edited(
        &yaml,
        "'https://crm.example.com/tickets'",
        "'https://crm.example.com/tickets', sign: {standardWebhooks: {secretRefs: [{name: gone, key: k, optional: true}]}}",
    );
    let compiled = compiled(&yaml);
    let missing = (None, Some(reason::SECRET_NOT_FOUND));
    assert_eq!(compiled.refusals("support/support"), missing);
    assert_eq!(compiled.refusals("support/crm"), missing);
    let told = &compiled.subscription("support/support").problems[0];
    assert_eq!(told.field, "spec.verification.hmac.secretRefs");
    assert!(told.message.contains("503"), "{told}");
}

/// Served all the same: the receiver answers 503 until the Secret is there.
#[test]
fn a_missing_secret_is_served_as_missing() {
    let compiled = compiled(&edited(
        SUBSCRIPTION,
        "name: tg-staff, namespace: support",
        "name: tg-staff, namespace: sales",
    ));
    let entry = compiled.subscription_entry("support/support").unwrap();
    assert_eq!(
        entry.verification.hmac.as_ref().unwrap().secrets[0].value,
        None
    );
    assert_eq!(
        compiled
            .subscription("support/support")
            .conditions
            .programmed,
        None
    );
}

#[test]
fn ceilings_bound_what_is_asked_for_and_what_is_left_out() {
    let settings = Settings {
        ceilings: Ceilings {
            body_bytes: 1000,
            stored_bytes: 2000,
            events_per_second: Some(50),
            ..Ceilings::default()
        },
        ..settings()
    };
    let of = |yaml: &str| {
        let compiled = compile(&objects(yaml), &Snapshot::empty(), &settings);
        let limits = compiled
            .subscription_entry("support/support")
            .unwrap()
            .limits
            .clone();
        (
            limits,
            compiled.subscription("support/support").problems.len(),
        )
    };
    let (limits, problems) = of(SUBSCRIPTION);
    assert_eq!((limits.body_bytes, limits.stored_bytes), (1000, 2000));
    assert_eq!(
        (limits.events_per_second, limits.burst),
        (Some(50), Some(50))
    );
    assert_eq!(problems, 0, "nothing was asked for");
    let (limits, problems) = of(&edited(
        SUBSCRIPTION,
        "provider: TGStaff",
        "provider: TGStaff\n  limits: {bodyBytes: 900, eventsPerSecond: 60, burst: 5}",
    ));
    assert_eq!(
        (limits.body_bytes, limits.events_per_second, limits.burst),
        (900, Some(50), Some(5))
    );
    assert_eq!(problems, 1);
}

/// Both are needed: the route's own word and the operator's.
#[test]
fn private_addresses_need_the_routes_word_and_the_operators() {
    let granted = Settings {
        private_networks: vec![PrivateGrant {
            namespaces: ["support"].into_iter().collect(),
            cidrs: vec![
                "10.1.0.0/16".parse().unwrap(),
                "10.0.0.0/24".parse().unwrap(),
            ],
        }],
        ..settings()
    };
    for (http, accepted) in [
        ("{url: 'http://10.0.0.1', allowPrivateNetwork: true}", true),
        (
            "{url: 'https://crm.internal', allowPrivateNetwork: true}",
            true,
        ),
        ("{url: 'http://10.0.0.1'}", false),
        ("{url: 'http://crm.example.com'}", false),
        ("{url: 'https://10.0.0.1'}", false),
        ("{url: 'https://localhost:8443'}", false),
        ("{url: 'http://10.0.1.1', allowPrivateNetwork: true}", false),
        (
            "{url: 'http://169.254.169.254', allowPrivateNetwork: true}",
            false,
        ),
    ] {
        let yaml = edited(ROUTE, "{url: 'https://crm.example.com/tickets'}", http);
        let compiled = compile(
            &objects(&all(&[SUBSCRIPTION, &yaml])),
            &Snapshot::empty(),
            &granted,
        );
        assert_eq!(
            compiled.refusals("support/crm").0.is_none(),
            accepted,
            "{http}"
        );
        if let Some(route) = compiled.route_entry("support/crm") {
            let ranges: Vec<String> = super::http(&route.destinations[0])
                .private_networks
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(ranges, ["10.0.0.0/24", "10.1.0.0/16"]);
        }
    }
}

/// The grant is one namespace's: another's route can't use it.
#[test]
fn private_addresses_are_granted_to_namespaces() {
    let granted = Settings {
        private_networks: vec![PrivateGrant {
            namespaces: ["sales"].into_iter().collect(),
            cidrs: vec!["10.0.0.0/8".parse().unwrap()],
        }],
        ..settings()
    };
    let yaml = edited(
        ROUTE,
        "{url: 'https://crm.example.com/tickets'}",
        "{url: 'http://10.0.0.1', allowPrivateNetwork: true}",
    );
    let compiled = compile(
        &objects(&all(&[SUBSCRIPTION, &yaml])),
        &Snapshot::empty(),
        &granted,
    );
    assert!(compiled.route_entry("support/crm").is_none());
}

#[test]
fn r41_once_is_taken_over_and_its_key_is_checked() {
    let once = |key: &str| {
        let deliver =
            format!("deliver: [{{destination: tickets, once: {{key: \"{key}\", window: 720h}}}}]");
        compiled(&edited(
            &all(&[SUBSCRIPTION, ROUTE]),
            "deliver: [{destination: tickets}]",
            &deliver,
        ))
    };
    let good = once("event.subject");
    let entry = good.route_entry("support/crm").unwrap();
    let found = entry.rules[0].deliver[0].once.as_ref().unwrap();
    assert_eq!(found.key, "event.subject");
    assert_eq!(found.window, Duration::from_secs(720 * 3600));
    let bad = once("event.subjct");
    let problem = &bad.route("support/crm").problems[0];
    assert_eq!(problem.field, "spec.rules[0].deliver[0].once.key");
    assert_eq!(problem.reason, reason::INVALID_EXPRESSION);
}

#[test]
fn r45_r47_states_and_timers_are_taken_over_and_their_expressions_are_checked() {
    let rule = |more: &str| {
        let deliver = format!("{more}\n    deliver: [{{destination: tickets}}]");
        compiled(&edited(
            &all(&[SUBSCRIPTION, ROUTE]),
            "deliver: [{destination: tickets}]",
            &deliver,
        ))
    };
    let good = rule(
        "transition: {key: event.subject, rank: event.time, reopenWhen: event.data.reopened}\n    \
         after: {wait: 30m, key: event.data.agent, unless: {types: [back], when: event.data.n > first.data.n}}",
    );
    let entry = good.route_entry("support/crm").unwrap();
    let transition = entry.rules[0].transition.as_ref().unwrap();
    assert_eq!(transition.rank, "event.time");
    assert_eq!(
        transition.reopen_when.as_deref(),
        Some("event.data.reopened")
    );
    let after = entry.rules[0].after.as_ref().unwrap();
    assert_eq!(after.wait, Duration::from_secs(1800));
    let unless = after.unless.as_ref().unwrap();
    assert_eq!(unless.types, ["back"]);
    assert_eq!(unless.when.as_deref(), Some("event.data.n > first.data.n"));

    for (more, field) in [
        (
            "transition: {key: evnt.subject, rank: '1'}",
            "transition.key",
        ),
        (
            "transition: {key: event.subject, rank: first.data.n}",
            "transition.rank",
        ),
        (
            "transition: {key: event.subject, rank: '1', reopenWhen: nothing(1)}",
            "transition.reopenWhen",
        ),
        ("after: {wait: 30m, key: first.subject}", "after.key"),
        (
            "after: {wait: 30m, key: event.subject, unless: {when: first.subjct == event.subject}}",
            "after.unless.when",
        ),
    ] {
        let compiled = rule(more);
        let problem = &compiled.route("support/crm").problems[0];
        assert_eq!(problem.field, format!("spec.rules[0].{field}"));
        assert_eq!(problem.reason, reason::INVALID_EXPRESSION);
    }
}
