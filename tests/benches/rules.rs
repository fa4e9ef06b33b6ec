//! Rules: what deciding and rendering cost an event, and looking for words.
//!
//! Straight on the receiver's routing, without a store and without a network, on one core. An event is
//! 600 bytes of JSON, as elsewhere here.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::Snapshot;
use hookswitch_crds::words::{self, Words};
use hookswitch_receiver::config::{Config, Subscription};
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::route::Draft;
use hookswitch_receiver::store::StoredEvent;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::Settings;
use crate::numbers::{float, median, thousands};
use crate::report::{Aim, Section};

/// The most rules of a route.
const RULES_OF_A_ROUTE: usize = 64;
/// How many rules a subscription has.
const COUNTS: [usize; 3] = [1, 100, 1000];
/// Words of a list.
const WORDS: usize = 10_000;
/// What its words begin with.
const WORDS_OF: [&str; 5] = ["refund", "lawyer", "退款", "возврат", "charge back "];
/// How long each is measured, in all its rounds.
const EACH: Duration = Duration::from_millis(300);

/// What rules do with the event.
const KINDS: [(&str, &str, Option<&str>, Option<&str>); 5] = [
    (
        "name another type",
        "conversation.created",
        Some("event.data.status == 'open'"),
        None,
    ),
    (
        "compare a field",
        "message.received",
        Some("event.data.status == 'closed'"),
        None,
    ),
    (
        "are typical: sender, text, optional field",
        "message.received",
        Some(
            "event.sender == 'agent' && !event.data.text.contains('refund') && event.data.?language.orValue('en') == 'de'",
        ),
        None,
    ),
    (
        "match a regular expression",
        "message.received",
        Some(r"event.data.text.matches('(?i)\\b(refund|lawyer)\\b')"),
        None,
    ),
    (
        "fire, with a body of four fields",
        "message.received",
        None,
        Some("Telegram user ${event.data.?username.orValue('unknown')}: ${event.data.text}"),
    ),
];

/// Measures it.
pub(crate) fn section(_: &Settings) -> Result<Section> {
    let event = StoredEvent {
        seq: 1,
        event: event()?,
    };
    let mut text = "Nanoseconds an event, for a subscription with so many rules:\n\n| rules that | 1 | 100 | 1,000 | each of 1,000 |\n|---|---|---|---|---|\n".to_owned();
    let mut typical = 0.0;
    let mut others = (0.0, 0.0);
    for (what, kind, when, title) in KINDS {
        write!(text, "| {what} |")?;
        let (mut first, mut last) = (0.0, 0.0);
        for count in COUNTS {
            let subscription = subscription(count, kind, when, title)?;
            last = time(|| Draft::new(black_box(&subscription), black_box(&event)));
            if count == 1 {
                first = last;
            }
            write!(text, " {} |", thousands(last))?;
        }
        let each = last / 1000.0;
        writeln!(text, " {} |", thousands(each))?;
        if what.contains("typical") {
            typical = each;
        }
        if kind != "message.received" {
            others = (first, last);
        }
    }
    let (build, look, hit, folded) = words()?;
    writeln!(
        text,
        "\nA list of {} words is made ready in {:.1} ms. A message of 600 bytes in which none stands is looked through in {} ns, with folding; one in which three stand in {} ns; one in a script that must be normalised first in {} ns.",
        thousands(float(u64::try_from(WORDS)?)),
        build * 1000.0,
        thousands(look),
        thousands(hit),
        thousands(folded),
    )?;
    Ok(Section {
        title: "Rules",
        text,
        aims: vec![
            Aim {
                what: "a typical rule costs under 5 µs",
                found: format!("{} ns", thousands(typical)),
                met: typical < 5_000.0,
            },
            Aim {
                what: "1,000 rules that do not name the event's type cost it what one does",
                found: format!("{} and {} ns", thousands(others.1), thousands(others.0)),
                met: others.1 < 3.0 * others.0,
            },
            Aim {
                what: "10,000 risk words are looked for in microseconds",
                found: format!("{} ns", thousands(look)),
                met: look < 10_000.0,
            },
        ],
    })
}

/// The median of what a call takes, in nanoseconds.
fn time<T>(mut work: impl FnMut() -> T) -> f64 {
    let begin = Instant::now();
    let mut rounds = Vec::new();
    while begin.elapsed() < EACH {
        let round = Instant::now();
        let mut calls = 0_u32;
        while calls == 0 || round.elapsed() < EACH / 30 {
            for _ in 0..8 {
                drop(black_box(work()));
            }
            calls += 8;
        }
        rounds.push(round.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    median(rounds)
}

fn event() -> Result<Event> {
    let data = json!({
        "event_type": "message.received", "event_id": "e-1", "conversation_id": "c-1",
        "sender_type": "agent", "status": "open", "username": "ada", "user_id": 777_000,
        "text": "x".repeat(360), "tags": ["vip", "de"], "referrer": {"channel": "ads"},
    });
    Ok(Event {
        uid: uuid::Uuid::from_u128(1),
        subscription: ObjectKey::new("bench", "hooks"),
        id: "e-1".to_owned(),
        r#type: "message.received".to_owned(),
        time: None,
        accepted_at: "2026-03-01T10:00:00Z".parse::<Timestamp>()?,
        subject: Some("c-1".to_owned()),
        sender: Some("agent".to_owned()),
        hops: 0,
        content_type: Some("application/json".to_owned()),
        disposition: Disposition::Route,
        body: Bytes::from(data.to_string()),
    })
}

/// A subscription with so many rules, in as many routes as they need.
fn subscription(
    count: usize,
    kind: &str,
    when: Option<&str>,
    title: Option<&str>,
) -> Result<Arc<Subscription>> {
    let key = ObjectKey::new("bench", "hooks");
    let origin = |name: &str| json!({"key": {"namespace": "bench", "name": name}, "uid": "", "generation": 1, "since": 1, "spec": {}});
    let body = title.map(|title| {
        json!({"title": title, "user": "${event.data.user_id}", "conversation": "${event.subject}", "tags": "${event.data.tags}"})
    });
    let rules: Vec<Json> = (0..count)
        .map(|n| json!({"name": format!("rule-{n}"), "types": [kind], "when": when, "deliver": [{"destination": "d", "body": body}]}))
        .collect();
    let routes: Vec<Json> = rules
        .chunks(RULES_OF_A_ROUTE)
        .enumerate()
        .map(|(n, rules)| {
            json!({
                "origin": origin(&format!("route-{n:04}")), "subscriptions": [key], "rules": rules,
                "destinations": [{
                    "name": "d", "kind": "Http", "writesBack": false,
                    "http": {"url": "https://crm.example/hooks", "method": "POST", "headers": [], "format": "Json", "signingSecrets": [], "privateNetworks": []},
                    "delivery": {"timeout": "10s", "giveUpAfter": "48h", "backoffInitial": "2s", "backoffMax": "10m", "onAmbiguous": "Retry", "rateLimit": null, "ordering": "None", "circuitBreaker": {"failures": 10, "openFor": "30s"}},
                }],
                "loopGuard": {"mode": "Enforce", "senders": [], "echo": null, "maxHops": 4, "perSubject": null},
            })
        })
        .collect();
    let snapshot: Snapshot = serde_json::from_value(json!({
        "format": 1, "sequence": 1, "routes": routes,
        "subscriptions": [{
            "origin": origin("hooks"), "provider": "TGStaff", "path": "/bench/hooks",
            "verification": {"hmac": null, "headers": [], "sourceRanges": [], "unverified": true},
            "ping": {"allowUnsigned": true, "types": []}, "types": [],
            "fields": {"type": null, "id": null, "time": null, "subject": null, "sender": null},
            "deduplicationWindow": "24h",
            "limits": {"bodyBytes": 1_048_576, "storedBytes": 1_000_000, "eventsPerSecond": null, "burst": null},
            "retention": "72h", "deadLetterRetention": "720h", "suspend": false,
        }],
    }))?;
    let config = Config::load(snapshot, None)?;
    let found = config.subscriptions.get(&key).context("no subscription")?;
    Ok(Arc::clone(found))
}

/// What it takes to make a list ready, in seconds, and to look through three texts, in nanoseconds.
fn words() -> Result<(f64, f64, f64, f64)> {
    let list: Vec<String> = (0..WORDS)
        .zip(WORDS_OF.iter().cycle())
        .map(|(n, word)| format!("{word}{n}"))
        .collect();
    let list = list.join("\n");
    let begin = Instant::now();
    let words = Words::parse(&list)?;
    let build = begin.elapsed().as_secs_f64();
    let look = |text: &str| {
        time(|| {
            let folded = words::fold(black_box(text));
            words.search(&folded).flatten().count()
        })
    };
    let plain = "Hello, your order is on its way, and will be there on Monday. ".repeat(10);
    let hits = format!("{plain} Refund0 and LAWYER1; charge  back 4");
    let russian = "Здравствуйте, ваш заказ в пути и будет в понедельник. ".repeat(6);
    Ok((build, look(&plain), look(&hits), look(&russian)))
}
