//! What each example does.

use hookswitch_cli::mock::crm::Crm;
use hookswitch_cli::mock::dingtalk::Dingtalk;
use hookswitch_cli::mock::hubspot::Hubspot;
use hookswitch_cli::mock::mixpanel::Mixpanel;
use hookswitch_cli::mock::slack::Slack;
use hookswitch_cli::mock::tgstaff::TgStaff;
use hookswitch_cli::mock::zendesk::Zendesk;
use hookswitch_tests::wait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Example, bodies};
use crate::world::{LIMIT, stand_in};

pub(super) async fn r31_r32_r33_quickstart(folder: &str) {
    let crm = stand_in(Crm::default()).await;
    let urls = [("http://127.0.0.1:8090", crm.url())];
    let example = Example::start(folder, &urls).await;
    example.send("conversation.created", "e-1", &[]).await;
    example.send("conversation.created", "e-1", &[]).await;
    example.delivered(1).await;
    let ticket = &bodies(&crm)[0];
    assert_eq!(ticket["title"], "Telegram user alice new inquiry");
    assert_eq!(ticket["conversationId"], "c-1001");
    assert_eq!(ticket["userId"], "777000");
    assert_eq!(ticket["firstMessage"], "Hello, where is my order?");
    assert_eq!(
        ticket["link"],
        "https://app.tg-staff.example/conversations/c-1001"
    );
}

pub(super) async fn r31_r32_r33_crm_ticket(folder: &str) {
    let zendesk = stand_in(Zendesk::default()).await;
    let urls = [("http://127.0.0.1:8095", zendesk.url())];
    let example = Example::start(folder, &urls).await;
    example.send("conversation.created", "e-1", &[]).await;
    example
        .send(
            "conversation.created",
            "e-2",
            &[("username", Value::Null), ("conversation_id", json!("c-2"))],
        )
        .await;
    example.send("conversation.created", "e-1", &[]).await;
    example.delivered(2).await;
    let tickets = zendesk.with(|it| it.tickets.clone());
    assert_eq!(tickets.len(), 2);
    let by = |id: &str| {
        let found = tickets.iter().find(|ticket| ticket["external_id"] == id);
        found.expect("a ticket of each conversation")
    };
    assert_eq!(by("c-1001")["subject"], "Telegram user alice new inquiry");
    assert_eq!(by("c-2")["subject"], "Telegram user unknown new inquiry");
    let text = by("c-1001")["description"].as_str().expect("a text");
    for part in [
        "where is my order?",
        "777000",
        "https://app.tg-staff.example/",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

pub(super) async fn r27_r35_welcome_notification(folder: &str) {
    let api = stand_in(TgStaff::default()).await;
    let urls = [("http://127.0.0.1:8099", api.url())];
    let example = Example::start(folder, &urls).await;
    let hooks = example.hookswitch.url("/support/tg-staff");
    api.with(|it| it.call_back(hooks, Some("example-signing-key".to_owned())));
    example.send("conversation.created", "e-1", &[]).await;
    example
        .send("conversation.created", "e-2", &[("username", Value::Null)])
        .await;
    example.delivered(2).await;
    // The webhooks of both welcomes are in, and led to nothing.
    let labels = ["type=\"other\""];
    example.counts("hookswitch_events_total", &labels, 2).await;
    example.delivered(2).await;
    let mut sent: Vec<String> =
        api.with(|it| it.messages.iter().map(|(_, text)| text.clone()).collect());
    sent.sort_unstable();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].starts_with("Hello alice, thank you"), "{sent:?}");
    assert!(sent[1].starts_with("Hello, thank you"), "{sent:?}");
}

pub(super) async fn r49_scheduling_board(folder: &str) {
    let board = stand_in(Crm::default()).await;
    let urls = [("http://127.0.0.1:8090", board.url())];
    let example = Example::start(folder, &urls).await;
    for (id, status) in [("e-1", "online"), ("e-2", "busy"), ("e-3", "offline")] {
        let data = [("status", json!(status))];
        example.send("agent.status_changed", id, &data).await;
    }
    example.delivered(3).await;
    let calls = board.calls();
    assert!(calls.iter().all(|call| call.request.method == "PUT"));
    let bodies = bodies(&board);
    assert_eq!(bodies.len(), 3);
    let available: Vec<_> = bodies
        .iter()
        .filter(|body| body["available"] == true)
        .collect();
    assert_eq!(available.len(), 1);
    assert_eq!(available[0]["status"], "online");
    assert_eq!(available[0]["agent"], "a-7");
    let since = available[0]["since"].as_str().expect("a time");
    assert!(since.parse::<Timestamp>().is_ok(), "{since}");
}

pub(super) async fn r34_r44_r45_r46_hubspot_lead(folder: &str) {
    let hubspot = stand_in(Hubspot::default()).await;
    let urls = [("http://127.0.0.1:8093", hubspot.url())];
    let example = Example::start(folder, &urls).await;
    let referrer = json!({"source": "ads", "campaign": "spring"});
    let data = [("referrer", referrer)];
    example.send("conversation.created", "e-1", &data).await;
    let r#type = "conversation.status_changed";
    for (id, status) in [
        ("e-2", "waiting"),
        ("e-3", "assigned"),
        ("e-4", "in progress"),
        ("e-5", "closed"),
        ("e-6", "waiting"),
    ] {
        example.send(r#type, id, &[("status", json!(status))]).await;
    }
    let before = Timestamp::now() - SignedDuration::from_hours(1);
    let late = [
        ("status", json!("closed")),
        ("timestamp", json!(before.to_string())),
    ];
    example.send(r#type, "e-7", &late).await;
    example.delivered(7).await;
    let labels = ["verdict=\"would_go_back\""];
    let verdicts = "hookswitch_rule_verdicts_total";
    example.counts(verdicts, &labels, 1).await;
    let objects = hubspot.with(|it| it.objects.clone());
    assert_eq!(objects.len(), 2, "one contact and one ticket");
    let of = |kind: &str| {
        let found = objects.iter().find(|object| object.kind == kind);
        found.expect("one of each").properties.clone()
    };
    assert_eq!(of("contacts")["tgstaff_referrer"], "spring");
    let ticket = of("tickets");
    assert_eq!(ticket["hs_pipeline_stage"], "1");
    assert_eq!(ticket["subject"], "Telegram user alice new inquiry");
    let calls = hubspot.calls();
    let stages = calls.iter().filter_map(|call| {
        let body = call.body();
        let stage = body.pointer("/inputs/0/properties/hs_pipeline_stage")?;
        stage.as_str().map(ToOwned::to_owned)
    });
    assert_eq!(stages.collect::<Vec<_>>(), ["1", "1", "3", "2", "4", "1"]);
}

pub(super) async fn r40_r41_r42_r43_satisfaction_survey(folder: &str) {
    let api = stand_in(TgStaff::default()).await;
    let mixpanel = stand_in(Mixpanel::default()).await;
    let urls = [
        ("http://127.0.0.1:8099", api.url()),
        ("http://127.0.0.1:8097", mixpanel.url()),
    ];
    let example = Example::start(folder, &urls).await;
    let status = |status: &str| [("status", json!(status))];
    let r#type = "conversation.status_changed";
    example.send(r#type, "e-1", &status("assigned")).await;
    example.send(r#type, "e-2", &status("closed")).await;
    example.send(r#type, "e-2", &status("closed")).await;
    // Closed once more within a week: the user is not asked again.
    example.send(r#type, "e-5", &status("closed")).await;
    let text = |text: &str| [("text", json!(text))];
    let r#type = "message.received";
    example.send(r#type, "e-3", &text("thanks")).await;
    example.send(r#type, "e-4", &text("5")).await;
    example.delivered(2).await;
    let verdicts = "hookswitch_rule_verdicts_total";
    let labels = ["verdict=\"already_done\""];
    example.counts(verdicts, &labels, 1).await;
    let sent = api.with(|it| it.messages.clone());
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, "777000");
    let events = mixpanel.with(|it| it.events.clone());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["properties"]["score"], 5);
}

pub(super) async fn r46_referrer_analytics(folder: &str) {
    let mixpanel = stand_in(Mixpanel::default()).await;
    let urls = [("http://127.0.0.1:8097", mixpanel.url())];
    let example = Example::start(folder, &urls).await;
    let r#type = "conversation.created";
    let referrers = [
        ("e-1", json!("spring-campaign")),
        ("e-2", json!({"source": "ads", "campaign": "spring"})),
        ("e-3", Value::Null),
    ];
    for (id, referrer) in referrers {
        example.send(r#type, id, &[("referrer", referrer)]).await;
    }
    example.delivered(3).await;
    let events = mixpanel.with(|it| it.events.clone());
    let mut channels: Vec<_> = events
        .iter()
        .map(|event| event["properties"]["channel"].to_string())
        .collect();
    channels.sort_unstable();
    assert_eq!(channels, ["\"ads\"", "\"direct\"", "\"spring-campaign\""]);
}

pub(super) async fn r47_r48_agent_offline_alert(folder: &str) {
    let slack = stand_in(Slack::default()).await;
    let dingtalk = stand_in(Dingtalk::default()).await;
    let others = [
        ("http://127.0.0.1:8091", slack.url()),
        ("http://127.0.0.1:8092", dingtalk.url()),
        ("wait: 30m", "wait: 1s".to_owned()),
    ];
    let example = Example::start(folder, &others).await;
    let r#type = "agent.status_changed";
    // One who comes back within the wait. By the events' own times it ends in four minutes: the return can't be late.
    let later = Timestamp::now() + SignedDuration::from_mins(4);
    let returns = |status: &str, at: Timestamp| {
        [
            ("agent_id", json!("a-8")),
            ("status", json!(status)),
            ("timestamp", json!(at.to_string())),
        ]
    };
    example
        .send(r#type, "e-1", &returns("offline", later))
        .await;
    let back = later + SignedDuration::from_millis(500);
    example.send(r#type, "e-2", &returns("online", back)).await;
    let timers = "hookswitch_timers_total";
    example.counts(timers, &["outcome=\"cancelled\""], 1).await;
    // One who stays away, and of whom TG-Staff says so twice.
    example.send(r#type, "e-3", &[]).await;
    example.send(r#type, "e-4", &[]).await;
    example.delivered(2).await;
    example.counts("hookswitch_timers_pending", &[], 0).await;
    let told = slack.with(|it| it.messages.clone());
    assert_eq!(told.len(), 1);
    assert!(
        told[0]
            .text
            .starts_with("Agent Bob has been offline since 2"),
        "{told:?}"
    );
    let messages = dingtalk.with(|it| it.messages.clone());
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["text"]["content"], told[0].text);
}

pub(super) async fn r36_r37_r38_r55_qa_risk_words(folder: &str) {
    let systems = stand_in(Crm::default()).await;
    let urls = [("http://127.0.0.1:8090", systems.url())];
    let example = Example::start(folder, &urls).await;
    let reported = || -> Vec<Value> {
        let bodies = bodies(&systems).into_iter();
        bodies.filter(|body| body["flagged"] == true).collect()
    };
    let message: Value = serde_json::from_str(&example.file("message.json")).expect("JSON");
    example.send_event(&message).await;
    example.delivered(2).await;
    let told = reported();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0],
        json!({
            "conversation": "c-1001", "agent": "a-7", "flagged": true,
            "text": "No refund! Our lawyer will call you: [phone]",
            "words": ["refund", "lawyer"], "groups": ["money", "legal"],
        })
    );
    // The README shows the same.
    let readme = example.file("README.md");
    let shown = readme
        .split("```json\n")
        .nth(1)
        .and_then(|it| it.split("```").next());
    assert_eq!(
        serde_json::from_str::<Value>(shown.expect("a report")).ok(),
        Some(told[0].clone())
    );
    // The QA system redacts nothing.
    let seen = bodies(&systems).into_iter();
    let seen: Vec<_> = seen.filter(|body| body.get("flagged").is_none()).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["text"], message["text"]);

    // Words are edited while it runs; a user's message is nobody's business.
    let words = example.file("words.yaml").replace("refund\n", "voucher\n");
    example.workspace.write("words.yaml", &words);
    let mut attempt = 0;
    wait::until("the new words", LIMIT, async || {
        attempt += 1;
        for (sender_type, text) in [
            ("user", "my voucher"),
            ("agent", "a voucher"),
            ("agent", "a refund"),
        ] {
            let event = json!({
                "event_type": "message.received", "event_id": format!("{sender_type}-{text}-{attempt}"),
                "conversation_id": "c-2", "sender_type": sender_type, "text": text,
            });
            example.send_event(&event).await;
        }
        let told = reported();
        let told = told.iter().any(|it| it["words"] == json!(["voucher"]));
        told.then_some(())
    })
    .await;
    assert!(
        bodies(&systems)
            .iter()
            .all(|body| body["text"] != "my voucher")
    );
}
