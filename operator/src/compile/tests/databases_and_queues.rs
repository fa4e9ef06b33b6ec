//! NATS and PostgreSQL: what their few lines of YAML resolve to, and what is refused.

use hookswitch_crds::snapshot::{
    DestinationKind, Format, Nats, NatsAuth, OnConflict, Postgres, Transport,
};
use serde_json::json;

use super::destinations::{created, destination, refused, rendered};
use super::{SUBSCRIPTION, all, compiled, told};

const NATS: &str = "nats: {url: 'tls://nats.example', subject: 'support.${event.type}'}";
const EVENTS: &str = "postgres: {urlSecretRef: {name: vendor, key: pg}, table: public.events}";
const PROFILES: &str = "postgres: {urlSecretRef: {name: vendor, key: pg}, table: profiles, conflictColumns: [user_id], caSecretRef: {name: vendor, key: ca}}";

fn nats(yaml: &str) -> Nats {
    match destination(yaml).transport {
        Transport::Nats(nats) => *nats,
        other => panic!("{other:?}"),
    }
}

fn postgres(yaml: &str) -> Postgres {
    match destination(yaml).transport {
        Transport::Postgres(postgres) => *postgres,
        other => panic!("{other:?}"),
    }
}

/// A kind's YAML with more in it.
fn with(yaml: &str, more: &str) -> String {
    format!("{}, {more}}}", yaml.strip_suffix('}').unwrap())
}

#[test]
fn r54_nats_waits_for_jetstream_unless_it_is_told_not_to() {
    let it = destination(NATS);
    assert_eq!(it.kind, DestinationKind::Nats);
    assert_eq!(it.address.as_deref(), Some("support.${event.type}"));
    assert_eq!(it.delivery.backoff_max.to_string(), "1m");
    let it = nats(NATS);
    assert_eq!(
        (it.host.as_str(), it.port, it.tls),
        ("nats.example", 4222, true)
    );
    assert!(it.jetstream && it.ca.is_none() && it.private_networks.is_empty());
    assert_eq!((it.format, it.auth), (Format::Json, NatsAuth::None));
    let it = nats(&with(
        &NATS.replace("nats.example", "nats.example:80"),
        "jetstream: false, format: CloudEventsBinary, caSecretRef: {name: vendor, key: ca}",
    ));
    assert_eq!((it.port, it.jetstream), (80, false));
    assert_eq!(it.format, Format::CloudEventsBinary);
    assert_eq!(it.ca.unwrap().reference, "vendor/ca");
}

#[test]
fn r54_nats_takes_every_way_to_say_who_we_are() {
    let auth = |more: &str| nats(&with(NATS, more)).auth;
    let of = "SecretRef: {name: vendor, key: ";
    assert!(matches!(
        auth(&format!("credentials{of}creds}}")),
        NatsAuth::Credentials(_)
    ));
    assert!(matches!(
        auth(&format!("nkey{of}seed}}")),
        NatsAuth::Nkey(_)
    ));
    assert!(matches!(
        auth(&format!("token{of}token}}")),
        NatsAuth::Token(_)
    ));
    let user = format!("user: {{username{of}token}}, password{of}token}}}}");
    assert!(matches!(auth(&user), NatsAuth::User { .. }));
}

#[test]
fn what_nats_can_not_take_is_refused_with_the_remedy() {
    for (yaml, told) in [
        (NATS.replace("support.${", "a b.${"), "has a space"),
        (NATS.replace("support.${", "support.*.${"), "* or >"),
        (
            NATS.replace("support.${event.type}", "$JS.API.INFO"),
            "the server's own",
        ),
        (NATS.replace("support.${event.type}", "support..a"), "a dot"),
        (NATS.replace("event.type", "event.typo"), "typo"),
        (
            NATS.replace("nats.example", "10.0.0.1"),
            "10.0.0.1 is not a public address",
        ),
        (
            NATS.replace("nats.example", "2130706433"),
            "127.0.0.1 is not a public address",
        ),
        (NATS.replace("tls:", "nats:"), "use tls://"),
        (with(NATS, "allowPrivateNetwork: true"), "privateNetworks"),
        (
            with(
                NATS,
                "nkeySecretRef: {name: vendor, key: seed}, tokenSecretRef: {name: vendor, key: token}",
            ),
            "name one of",
        ),
    ] {
        let refused = refused(&yaml, "");
        assert!(refused.contains(told), "{yaml}: {refused}");
    }
}

#[test]
fn r54_a_row_is_found_by_the_deliverys_key_or_by_columns_of_its_own() {
    let it = destination(EVENTS);
    assert_eq!((it.kind, it.address), (DestinationKind::Postgres, None));
    let it = postgres(EVENTS);
    assert_eq!(it.table, "public.events");
    assert_eq!(it.key_column.as_deref(), Some("hookswitch_id"));
    assert_eq!(it.conflict_columns, ["hookswitch_id"]);
    assert_eq!(it.on_conflict, OnConflict::DoNothing);
    let it = postgres(PROFILES);
    assert_eq!(it.key_column, None);
    assert_eq!(it.conflict_columns, ["user_id"]);
    assert_eq!(it.on_conflict, OnConflict::Update);
    assert_eq!(it.ca.unwrap().reference, "vendor/ca");
    let it = postgres(&with(
        PROFILES,
        "keyColumn: delivery, onConflict: DoNothing",
    ));
    assert_eq!(it.key_column.as_deref(), Some("delivery"));
    assert_eq!(it.conflict_columns, ["user_id"]);
    assert_eq!(it.on_conflict, OnConflict::DoNothing);
}

#[test]
fn without_a_body_a_row_is_made_from_the_event() {
    assert_eq!(
        rendered(EVENTS, "", &created()),
        json!({
            "event_id": "e-1", "event_type": "conversation.created", "event_time": null,
            "subject": "c-1001", "data": created(),
        })
    );
}

#[test]
fn what_a_table_can_not_take_is_refused_with_the_remedy() {
    for (yaml, body, told) in [
        (
            EVENTS.to_owned(),
            ", body: {hookswitch_id: a}",
            "set by Hookswitch",
        ),
        (
            PROFILES.to_owned(),
            ", body: {name: a}",
            "conflictColumns names user_id",
        ),
        (PROFILES.to_owned(), ", body: a", "write the row's columns"),
        (
            with(EVENTS, "onConflict: Update"),
            "",
            "needs conflictColumns",
        ),
        (
            with(PROFILES, "keyColumn: user_id"),
            "",
            "leave it out of conflictColumns",
        ),
        (
            with(PROFILES, "keyColumn: 'a.b'"),
            "",
            "use a column's name",
        ),
    ] {
        let refused = refused(&yaml, body);
        assert!(refused.contains(told), "{yaml}{body}: {refused}");
    }
}

#[test]
fn r57_a_secret_that_can_not_be_used_is_told_without_a_part_of_it() {
    for (yaml, fault) in [
        (
            EVENTS.replace("key: pg", "key: url"),
            "is no URL such as postgres://",
        ),
        (
            EVENTS.replace("key: pg", "key: plain"),
            "sslmode=disable, which needs allowPrivateNetwork",
        ),
        (
            PROFILES.replace("key: ca", "key: token"),
            "holds no certificates",
        ),
        (
            with(NATS, "credentialsSecretRef: {name: vendor, key: seed}"),
            "no .creds file",
        ),
        (
            with(NATS, "nkeySecretRef: {name: vendor, key: token}"),
            "begins with SU",
        ),
    ] {
        let yaml = super::destinations::route(&yaml, ", body: {user_id: 1}");
        let yaml = all(&[SUBSCRIPTION, super::destinations::SECRETS, &yaml]);
        let report = compiled(&yaml);
        let told = told(&report.route("support/crm").problems);
        assert!(told.contains(fault), "{told}");
        assert!(
            !told.contains("planted") && !told.contains("the-token"),
            "{told}"
        );
        // It is served all the same: what it would send waits.
        assert!(report.route_entry("support/crm").is_some());
    }
}

#[test]
fn a_destination_is_written_and_read_as_one_with_its_protocol() {
    for (yaml, member) in [
        (NATS, "nats"),
        (EVENTS, "postgres"),
        ("http: {url: 'https://crm.example'}", "http"),
    ] {
        let it = destination(yaml);
        let json = serde_json::to_value(&it).unwrap();
        assert!(json[member].is_object(), "{json}");
        let read: hookswitch_crds::snapshot::Destination = serde_json::from_value(json).unwrap();
        assert_eq!(read, it);
    }
}
