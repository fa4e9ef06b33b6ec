use proptest::prelude::*;

use super::*;

fn found(list: &str, text: &str) -> Vec<String> {
    let words = Words::parse(list).unwrap_or_else(|error| panic!("{list}: {error}"));
    let mut found = Vec::new();
    for hit in words.search(&fold(text)).flatten() {
        let hit = match hit.group {
            "" => hit.word.to_owned(),
            group => format!("{} ({group})", hit.word),
        };
        if !found.contains(&hit) {
            found.push(hit);
        }
    }
    found
}

#[track_caller]
fn hits(list: &str, text: &str) {
    assert_eq!(found(list, text), [list], "{list} in {text}");
}

#[track_caller]
fn misses(list: &str, text: &str) {
    assert_eq!(found(list, text), [""; 0], "{list} in {text}");
}

#[test]
fn r37_words_are_found_as_wholes() {
    for text in [
        "refund",
        "Refund!",
        "a REFUND, now",
        "(refund)",
        "refund's",
        "我要refund了",
        "x\trefund\n",
        "re\u{200b}fund",
        "ｒｅｆｕｎｄ",
    ] {
        hits("refund", text);
    }
    for text in [
        "refunded",
        "prefund",
        "refund1",
        "refund_x",
        "refundé",
        "re fund",
        "réfund",
        "refund\u{301}",
    ] {
        misses("refund", text);
    }
    hits("911", "call 911.");
    misses("911", "19112");
    hits("c++", "in C++ or not");
    hits("$$$", "earn$$$now");
    hits("@admin", "hi @Admin");
}

#[test]
fn r37_scripts_without_spaces_are_found_anywhere() {
    hits("退款", "我要退款了");
    hits("退款", "請退款");
    hits("環境", "日本環境庁");
    hits("かえる", "おかえるよ");
    hits("ร้องเรียน", "ผมจะร้องเรียนคุณ");
    hits("환불", "환불을 해주세요");
    // Han beside Latin, and the other way round.
    hits("vip客户", "我是VIP客户吗");
    misses("vip客户", "xvip客户");
}

#[test]
fn case_and_spelling_do_not_count() {
    hits("Straße", "STRASSE");
    hits("strasse", "Straße");
    hits("ΣΊΣΥΦΟΣ", "σίσυφος");
    hits("ВОЗВРАТ", "возврат");
    hits("café", "CAFE\u{301}");
    hits("ﬁnance", "finance");
    hits("ﬃ", "ffi");
    hits("ｶﾞ", "ガ");
    hits("Ⅳ", "iv");
}

#[test]
fn phrases_take_any_white_space_and_stars_open_an_edge() {
    hits("charge   back", "Charge\n  back");
    hits("charge back", "a charge\u{a0}back!");
    misses("charge back", "chargeback");
    hits("sue*", "he SUED us");
    misses("sue*", "pursue");
    hits("*sue", "pursue");
    hits("*sue*", "pursued");
    hits("\\*x", "a *x b");
    hits("x\\*", "a x* b");
    hits("\\#tag", "#tag");
    hits("\\[ok]", "[ok]");
}

#[test]
fn groups_and_comments() {
    let list = "\u{feff}# all\r\nplain\r\n\r\n  [ fraud ]\n scam \nfake id\n[legal]\nscam\n# x\nlawyer\n[fraud]\nphish*\n";
    assert_eq!(
        found(list, "A plain SCAM, phishing, and your lawyer; plain"),
        [
            "plain",
            "scam (fraud)",
            "scam (legal)",
            "phish* (fraud)",
            "lawyer (legal)"
        ]
    );
    assert_eq!(
        compact(list).unwrap(),
        "plain\n[fraud]\nscam\nfake id\n[legal]\nscam\nlawyer\n[fraud]\nphish*\n"
    );
    assert!(Words::parse("# nothing").unwrap().is_empty());
    assert_eq!(found("", "x"), [""; 0]);
}

#[test]
fn words_in_words_are_all_found() {
    assert_eq!(
        found("new york\nyork\nnew*\nyork city", "New York City"),
        ["new*", "new york", "york", "york city"]
    );
}

#[test]
fn what_is_no_list_is_refused_with_its_line() {
    let error = |text: &str| Words::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("a\n[x"),
        "line 2: a group is written [name], and a word that begins with [ is written \\["
    );
    assert!(error("a\n\n[ ]").starts_with("line 3: a group"));
    assert_eq!(
        error("**"),
        "line 1: nothing is left to look for: write a word"
    );
    assert!(error("\u{200b}").contains("line 1: nothing is left"));
    assert!(error(&"x".repeat(257)).contains("256 bytes"));
    let many = (0..=MAX_WORDS).fold(String::new(), |all, n| all + &n.to_string() + "\n");
    assert!(error(&many).contains("more than 20000 words"));
    let large = format!("{}\n", "0".repeat(199)).repeat(2000);
    assert!(error(&large).contains("262144 bytes"));
}

#[test]
fn folding_is_done_once_for_all() {
    for text in [
        "plain ascii",
        "Two  Blanks",
        "tab\tx",
        "",
        " lead",
        "ÄÖ ß",
        "ǅ",
    ] {
        let once = fold(text).into_owned();
        assert_eq!(fold(&once), once, "{text}");
    }
}

proptest! {
    #[test]
    fn a_word_is_found_wherever_it_stands_alone(word in "[a-z]{1,8}", before in "[a-z ]{0,9} ", after in " [a-z ]{0,9}") {
        let text = format!("{before}{}{after}", word.to_uppercase());
        prop_assert_eq!(found(&word, &text), [word]);
    }

    #[test]
    fn any_list_and_any_text_go_without_a_crash(list in "(\\PC{0,9}\n){0,9}", text in "\\PC{0,60}") {
        if let Ok(words) = Words::parse(&list) {
            words.search(&fold(&text)).count();
            prop_assert!(Words::parse(&compact(&list).unwrap()).is_ok());
        }
    }
}
