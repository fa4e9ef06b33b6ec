//! Quality assurance: whose messages are looked at, for which words, and who hears of it.

use super::*;

const RISK: &str = "refund\n[legal]\nlawyer\nsue*\n退款\n";

/// Agents' messages go to the QA system, and what holds a risk word to the reviewer.
fn qa(words: Option<&str>) -> Arc<Subscription> {
    let mut route = route_of(
        "qa",
        &key(),
        &json!([destination("qa"), destination("reviewer")]),
        &json!([
            rule(
                "agents",
                &["message.received"],
                Some("event.sender == 'agent'"),
                &json!([{"destination": "qa"}])
            ),
            rule(
                "risk",
                &["message.received"],
                Some("event.sender == 'agent' && words.risk.matches(event.data.?text)"),
                &json!([{"destination": "reviewer", "body": {
                    "conversation": "${event.subject}",
                    "flagged": "${words.risk.matches(event.data.text)}",
                    "words": "${words.risk.hits(event.data.text)}",
                    "groups": "${words.risk.groups(event.data.text)}",
                    "summary": "Risk: ${words.risk.hits(event.data.text).join(', ')}",
                }}])
            ),
        ]),
    );
    route.word_lists = vec![snapshot::WordList {
        name: "risk".to_owned(),
        words: words.map(str::to_owned),
    }];
    subscription(vec![route])
}

fn message(sender: Option<&str>, data: &Json) -> Event {
    let mut event = event("message.received", data);
    event.sender = sender.map(str::to_owned);
    event
}

#[test]
fn r36_agents_messages_go_to_qa_and_r38_users_do_not_unless_asked() {
    let qa = qa(Some(RISK));
    let text = json!({"text": "hello"});
    assert_eq!(sent_to(&plan(&qa, message(Some("agent"), &text))), ["qa"]);
    for sender in [Some("user"), Some("system")] {
        let plan = plan(&qa, message(sender, &json!({"text": "I will sue you"})));
        assert!(plan.deliveries.is_empty(), "{sender:?}");
        assert_eq!(outcomes(&plan)["agents"], Outcome::WhenFalse);
        assert_eq!(outcomes(&plan)["risk"], Outcome::WhenFalse);
    }
    // Who does ask leaves the sender out of the rule.
    let all = json!([rule(
        "all",
        &["message.received"],
        None,
        &json!([{"destination": "qa"}])
    )]);
    let all = subscription(vec![route_of(
        "qa",
        &key(),
        &json!([destination("qa")]),
        &all,
    )]);
    assert_eq!(sent_to(&plan(&all, message(Some("user"), &text))), ["qa"]);
}

#[test]
fn r37_a_risk_word_flags_the_message_and_tells_the_reviewer_which() {
    let qa = qa(Some(RISK));
    let hit = plan(
        &qa,
        message(
            Some("agent"),
            &json!({"text": "No REFUND: my lawyer sued. 不退款"}),
        ),
    );
    assert_eq!(sent_to(&hit), ["qa", "reviewer"]);
    assert_eq!(
        body(&hit.deliveries[1]),
        json!({
            "conversation": "c-1",
            "flagged": true,
            "words": ["refund", "lawyer", "sue*", "退款"],
            "groups": ["legal"],
            "summary": "Risk: refund, lawyer, sue*, 退款",
        })
    );
    for harmless in [
        json!({"text": "refunded"}),
        json!({"text": null}),
        json!({"media": []}),
    ] {
        assert_eq!(
            sent_to(&plan(&qa, message(Some("agent"), &harmless))),
            ["qa"]
        );
    }
}

#[test]
fn r37_a_list_that_is_missing_loses_nothing() {
    let qa = qa(None);
    let plan = plan(&qa, message(Some("agent"), &json!({"text": "refund"})));
    assert_eq!(outcomes(&plan)["risk"], Outcome::Error);
    let detail = plan.verdicts[1].detail.as_deref().unwrap();
    assert!(
        detail.contains("the word list `risk` is not there"),
        "{detail}"
    );
    assert_eq!(dead(&plan), [("reviewer", DeadReason::RuleError)]);
    assert_eq!(sent_to(&plan), ["qa"]);
}

#[test]
fn the_same_words_are_made_ready_once() {
    let list = |route: &str| {
        let mut route = route_of(route, &key(), &json!([destination("d")]), &json!([]));
        route.word_lists = vec![snapshot::WordList {
            name: "risk".to_owned(),
            words: Some(RISK.to_owned()),
        }];
        route
    };
    let first = config_of(vec![subscription_of(&key())], vec![list("a"), list("b")]);
    let words = |config: &Config, route: &str| {
        let route = &config.routes[&ObjectKey::new("support", route)];
        Arc::as_ptr(&route.prepared()[0])
    };
    assert_eq!(words(&first, "a"), words(&first, "b"));
    let mut changed = list("b");
    changed.origin.generation = 2;
    let snapshot = snapshot::Snapshot {
        format: snapshot::FORMAT,
        sequence: SEQUENCE + 1,
        subscriptions: Vec::new(),
        routes: vec![Arc::new(changed)],
    };
    let second = Config::load(snapshot, Some(&first)).unwrap();
    assert_eq!(words(&second, "b"), words(&first, "a"));
}

#[test]
fn r46_a_referrer_of_any_kind_reaches_analytics() {
    let rules = json!([rule(
        "seen",
        &["conversation.created"],
        None,
        &json!([{"destination": "analytics", "body": {
            "as_it_came": "${event.data.?referrer}",
            "channel": "${type(event.data.?referrer.orValue('direct')) == map ? event.data.referrer.?channel.orValue('unknown') : event.data.?referrer.orValue('direct')}",
        }}])
    )]);
    let route = route_of(
        "analytics",
        &key(),
        &json!([destination("analytics")]),
        &rules,
    );
    let subscription = subscription(vec![route]);
    for (data, as_it_came, channel) in [
        (json!({"referrer": "ads"}), json!("ads"), "ads"),
        (
            json!({"referrer": {"channel": "ads", "campaign": "x"}}),
            json!({"channel": "ads", "campaign": "x"}),
            "ads",
        ),
        (
            json!({"referrer": {"campaign": "x"}}),
            json!({"campaign": "x"}),
            "unknown",
        ),
        (json!({"referrer": null}), Json::Null, "direct"),
        (json!({}), Json::Null, "direct"),
    ] {
        let plan = plan(&subscription, event("conversation.created", &data));
        assert_eq!(
            body(&plan.deliveries[0]),
            json!({"as_it_came": as_it_came, "channel": channel}),
            "{data}"
        );
    }
}
