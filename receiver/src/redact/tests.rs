use hookswitch_crds::snapshot::Fields;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::route::tests::event;

fn redactor(pointers: &[&str], patterns: &[Pattern]) -> Redactor {
    Redactor::new(&Redact {
        pointers: pointers.iter().map(|&it| it.to_owned()).collect(),
        patterns: patterns.to_vec(),
    })
}

fn redacted(pointers: &[&str], patterns: &[Pattern], mut data: Json) -> Json {
    redactor(pointers, patterns).redact(&mut data);
    data
}

#[track_caller]
fn masked(pattern: Pattern, text: &str, expected: &str) {
    let found = redacted(&[], &[pattern], json!(text));
    assert_eq!(found, json!(expected), "{text}");
}

fn fields() -> Fields {
    let pointer = |it: &str| Some(FieldSource::Pointer(it.to_owned()));
    Fields {
        r#type: pointer("/event_type"),
        id: pointer("/event_id"),
        time: pointer("/timestamp"),
        subject: pointer("/conversation/id"),
        sender: Some(FieldSource::Header("X-Sender".to_owned())),
    }
}

#[test]
fn pointers_take_out_members_of_any_type() {
    let data = json!({
        "text": "hi", "user": {"name": "Ada", "age": 36}, "a/b": 1, "m~n": 2, "*": 3,
        "media": [{"url": "u1", "kind": "k"}, {"url": "u2"}, "x"],
    });
    assert_eq!(
        redacted(
            &[
                "/text",
                "/user/age",
                "/a~1b",
                "/m~0n",
                "/media/*/url",
                "/none/x",
                "/media/9",
                "/text/x"
            ],
            &[],
            data.clone()
        ),
        json!({
            "text": "[redacted]", "user": {"name": "Ada", "age": "[redacted]"},
            "a/b": "[redacted]", "m~n": "[redacted]", "*": 3,
            "media": [{"url": "[redacted]", "kind": "k"}, {"url": "[redacted]"}, "x"],
        })
    );
    assert_eq!(
        redacted(&["/user", "/media/1", "/*"], &[], data),
        json!({
            "text": "hi", "user": "[redacted]", "a/b": 1, "m~n": 2, "*": "[redacted]",
            "media": [{"url": "u1", "kind": "k"}, "[redacted]", "x"],
        })
    );
}

#[test]
fn email_addresses_are_masked() {
    for (text, expected) in [
        ("ada@x.example", "[email]"),
        ("Write to <ada.l+x@mail.x.example>.", "Write to <[email]>."),
        ("a@b.co,c@d.org", "[email],[email]"),
        ("mailto:ada@x.example?subject=x", "mailto:[email]?subject=x"),
        (
            "https://x.example/?m=ada@x.example",
            "https://x.example/?m=[email]",
        ),
        ("用户@例子.公司", "[email]"),
        ("ada＠x.example", "[email]"),
        ("13812345678@qq.com", "[email]"),
        ("@ada and ada@", "@ada and ada@"),
        ("5 @ 3.50", "5 @ 3.50"),
        ("a@b", "a@b"),
    ] {
        masked(Pattern::Email, text, expected);
    }
}

#[test]
fn numbers_of_cards_are_masked_where_the_check_digit_is_right() {
    for (text, expected) in [
        ("4111111111111111", "[card]"),
        ("pay 4111 1111 1111 1111 now", "pay [card] now"),
        ("4111-1111-1111-1111 12/27 123", "[card] 12/27 123"),
        ("3782 822463 10005", "[card]"),
        ("5555555555554444, 2223003122003222", "[card], [card]"),
        ("6011000990139424 3530111333300000", "[card] [card]"),
        ("6212345678901232", "[card]"),
        ("４１１１ １１１１ １１１１ １１１１", "[card]"),
        ("٤١١١١١١١١١١١١١١١", "[card]"),
        // A wrong check digit, no network's number, too long.
        ("4111111111111112", "4111111111111112"),
        ("1234567890123452", "1234567890123452"),
        ("41111111111111110000", "41111111111111110000"),
        ("ok", "ok"),
    ] {
        masked(Pattern::Card, text, expected);
    }
    assert_eq!(
        redacted(
            &[],
            &[Pattern::Card],
            json!([4_111_111_111_111_111_u64, 42, 4111.5, -4])
        ),
        json!(["[card]", 42, 4111.5, -4])
    );
}

#[test]
fn telephone_numbers_are_masked() {
    for (text, expected) in [
        ("+49 30 123456", "[phone]"),
        ("call +1 (555) 123-4567!", "call [phone]!"),
        ("(555) 123-4567", "[phone]"),
        ("(call 555-123-4567)", "(call [phone])"),
        ("(+49) 30 1234567", "([phone]"),
        ("tel:+4930123456;x", "tel:[phone];x"),
        ("0049 30 1234567", "[phone]"),
        ("我的电话 13812345678。", "我的电话 [phone]。"),
        ("电话13812345678号", "电话[phone]号"),
        ("8 (916) 123-45-67", "[phone]"),
        ("06.12.34.56.78", "[phone]"),
        ("12 34 56 78", "[phone]"),
        ("555-1234", "[phone]"),
        ("13812345678 13912345678", "[phone] [phone]"),
        ("+٩٦٦ ٥٠ ١٢٣ ٤٥٦٧", "[phone]"),
        ("phone=13812345678", "phone=[phone]"),
    ] {
        masked(Pattern::Phone, text, expected);
    }
    for text in [
        "2026-03-01T10:00:00Z",
        "2026-03-01 10:15:30",
        "01.03.2026",
        "2020-2025",
        "192.168.10.20",
        "10.000.000 and 1 000 000",
        "550e8400-e29b-41d4-a716-446655440000",
        "https://x.example/orders/1234567890",
        "order #1234567890",
        "v1.2.3, 99%, 12345",
        "x1234567890",
        "1234567890123456",
        "no digits",
    ] {
        masked(Pattern::Phone, text, text);
    }
    // Ids are numbers, and stay.
    let ids = json!({"user_id": 13_812_345_678_u64});
    assert_eq!(redacted(&[], &[Pattern::Phone], ids.clone()), ids);
}

#[test]
fn patterns_are_masked_in_every_text_and_in_names() {
    let all = [Pattern::Phone, Pattern::Email, Pattern::Card];
    assert_eq!(
        redacted(
            &[],
            &all,
            json!({"a": ["x ada@x.example +49 30 123456 4111111111111111", {"b": "no"}],
                   "ada@x.example": 1, "bob@x.example": 2})
        ),
        json!({"a": ["x [email] [phone] [card]", {"b": "no"}], "[email]": 1, "[email] 2": 2})
    );
}

#[test]
fn r55_attributes_that_come_from_what_is_redacted_are_hidden() {
    let mut original = event(
        "message.received",
        &json!({"conversation": {"id": "c-1"}, "text": "hi"}),
    );
    original.time = Some(crate::route::tests::now());
    original.sender = Some("user".to_owned());

    let (seen, hidden) = redactor(&["/text"], &[]).event(&original, &fields());
    assert!(hidden.nothing());
    assert_eq!(seen.subject.as_deref(), Some("c-1"));

    let pointers = [
        "/conversation",
        "/event_id",
        "/event_type",
        "/timestamp",
        "/x",
    ];
    let (seen, hidden) = redactor(&pointers, &[]).event(&original, &fields());
    assert_eq!(seen.id, original.uid.to_string());
    assert_eq!(seen.r#type, "redacted");
    assert_eq!((seen.time, seen.subject.as_deref()), (None, Some(REDACTED)));
    assert_eq!(seen.sender.as_deref(), Some("user"));
    assert_eq!(hidden.of(&original).subject, seen.subject);
    assert!(!String::from_utf8_lossy(&seen.body).contains("c-1"));

    let all = [Pattern::Phone, Pattern::Email, Pattern::Card];
    for (subject, hides) in [
        ("+4930123456", true),
        ("chat of ada@x.example", true),
        ("4111 1111 1111 1111", true),
        ("13812345678", false),
        ("4111111111111111", false),
        ("2026-03-01/17", false),
    ] {
        original.subject = Some(subject.to_owned());
        let (_, hidden) = redactor(&[], &all).event(&original, &fields());
        assert_eq!(hidden.subject, hides, "{subject}");
    }
}

#[test]
fn a_body_that_is_no_json_is_taken_out_as_a_whole() {
    let mut original = event("x", &json!({}));
    original.body = Bytes::from_static(b"ada@x.example");
    let (seen, _) = redactor(&["/text"], &[]).event(&original, &fields());
    assert_eq!(seen.body, Bytes::from_static(b"\"[redacted]\""));
}

proptest! {
    #[test]
    fn any_text_is_masked_without_a_crash_and_once_for_all(text in "[0-9+() .@a-z\\-/#:é０٣]{0,60}") {
        let all = [Pattern::Phone, Pattern::Email, Pattern::Card];
        let once = redacted(&[], &all, json!(text));
        prop_assert_eq!(redacted(&[], &all, once.clone()), once);
    }

    #[test]
    fn no_spelling_of_a_telephone_number_with_a_plus_gets_through(
        digits in proptest::collection::vec((0_u8..10, proptest::option::of(proptest::sample::select(vec![" ", "-", ".", ") ", "/"]))), 7..15),
        before in "[a-z]{0,5} ", after in " [a-z]{0,5}",
    ) {
        let last = digits.len() - 1;
        let mut number = String::new();
        for (at, (digit, gap)) in digits.iter().enumerate() {
            number += &digit.to_string();
            number += gap.filter(|_| at < last).unwrap_or_default();
        }
        let text = format!("{before}+{number}{after}");
        prop_assert_eq!(
            redacted(&[], &[Pattern::Phone], json!(text)),
            json!(format!("{before}[phone]{after}"))
        );
    }
}

#[test]
fn r55_what_was_looked_up_is_redacted_like_the_event() {
    let found = json!({
        "profile": {"name": "Ada", "phone": "+49 30 123456", "mail": "ada@x.example", "n": 1},
        "orders": [{"note": "call 030 1234567"}, {"note": "x"}],
        "plan": "gold",
    });
    let redactor = redactor(
        &[
            "/enriched/profile/n",
            "/enriched/orders/*/note",
            "/profile/name",
            "/enriched/none/x",
        ],
        &[Pattern::Phone, Pattern::Email],
    );
    assert_eq!(
        redactor.enriched(&found),
        json!({
            "profile": {"name": "Ada", "phone": "[phone]", "mail": "[email]", "n": "[redacted]"},
            "orders": [{"note": "[redacted]"}, {"note": "[redacted]"}],
            "plan": "gold",
        })
    );
    let whole = self::redactor(&["/enriched/profile", "/enriched"], &[]);
    let hidden = json!({"profile": "[redacted]", "orders": "[redacted]", "plan": "[redacted]"});
    assert_eq!(whole.enriched(&found), hidden);
    // A pointer means the data as well: nothing slips through where an event has such a member.
    let mut data = json!({"enriched": {"profile": {"n": 1, "m": 2}}});
    redactor.redact(&mut data);
    assert_eq!(
        data,
        json!({"enriched": {"profile": {"n": "[redacted]", "m": 2}}})
    );
}
