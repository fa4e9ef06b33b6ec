//! `hookswitch run`: the quickstart, edits while it runs, and restarts.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::program::{KEY, Quickstart, output, until};

#[test]
fn r31_r32_r33_a_new_conversation_becomes_a_ticket() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    assert_eq!(serving.send(&[]).0, 0);
    assert_eq!(serving.send(&["--without", "username"]).0, 0);
    assert_eq!(serving.send(&["--data", "username=null"]).0, 0);
    let mut titles: Vec<String> = Vec::new();
    for ticket in quickstart.crm.tickets(3) {
        assert_eq!(ticket["userId"], "777000");
        assert_eq!(ticket["conversationId"], "c-1001");
        assert_eq!(ticket["firstMessage"], "Hello, where is my order?");
        assert_eq!(
            ticket["link"],
            "https://app.tg-staff.example/conversations/c-1001"
        );
        titles.push(ticket["title"].as_str().unwrap().to_owned());
    }
    titles.sort();
    assert_eq!(
        titles,
        [
            "Telegram user alice new inquiry",
            "Telegram user unknown new inquiry",
            "Telegram user unknown new inquiry"
        ]
    );
    let (code, text) = serving.program.terminate();
    assert_eq!(code, 0);
    for secret in [KEY, "quickstart-crm-token", "where is my order"] {
        assert!(!text.contains(secret), "r57: {secret} in:\n{text}");
    }
}

#[test]
fn r21_only_the_types_that_a_rule_names_are_delivered() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    for r#type in ["message.received", "agent.status_changed", "never.heard.of"] {
        assert_eq!(serving.send(&["--type", r#type]).0, 0, "{type}");
    }
    assert_eq!(serving.send(&[]).0, 0);
    let tickets = quickstart.crm.tickets(1);
    assert_eq!(tickets[0]["title"], "Telegram user alice new inquiry");
}

#[test]
fn it_tells_the_one_command_that_sends_an_event() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let line = serving.program.line(0, " send --provider TGStaff ");
    let sent = std::process::Command::new("sh")
        .args(["-c", &line])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{line}: {sent:?}");
    quickstart.crm.tickets(1);
}

#[test]
fn an_edit_is_in_use_within_a_second_and_no_event_is_lost() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let fastest = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (code, text) = serving.send(&["--count", "5"]);
                assert_eq!(code, 0, "{text}");
                sent.fetch_add(5, Ordering::Relaxed);
            }
        });
        let times: Vec<Duration> = ["one", "two", "three", "four"]
            .into_iter()
            .map(|title| {
                let before = serving.program.lines();
                let text = fs::read_to_string(quickstart.file("route.yaml")).unwrap();
                let line = text.lines().find(|line| line.contains("title:")).unwrap();
                let start = Instant::now();
                quickstart.edit("route.yaml", line, &format!("        title: {title}"));
                serving
                    .program
                    .line(before, "EventRoute support/crm: generation");
                serving.program.line(before, "is in use");
                start.elapsed()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        times.into_iter().min().unwrap()
    });
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    assert_eq!(serving.send(&[]).0, 0);
    let tickets = quickstart.crm.tickets(sent.load(Ordering::Relaxed) + 1);
    assert!(tickets.iter().any(|ticket| ticket["title"] == "four"));
}

#[test]
fn a_bad_edit_is_told_and_what_was_good_stays_over_a_restart_too() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let route = quickstart.file("route.yaml");

    // A mistake in an object.
    let good = fs::read_to_string(&route).unwrap();
    let before = serving.program.lines();
    let bad = quickstart.edit("route.yaml", "${event.subject}", "${evnt.subject}");
    let line = 1 + bad.lines().position(|line| line.contains("evnt")).unwrap();
    let told = serving.program.line(before, "error");
    let place = format!(
        "{}:{line}:25: error: EventRoute support/crm: ",
        route.display()
    );
    assert!(told.starts_with(&place), "{told}");
    assert!(told.contains("did you mean `event`?"), "{told}");
    serving.program.line(
        before,
        "generation 2 is not accepted (InvalidExpression); 1 stays in use",
    );
    assert_eq!(serving.send(&[]).0, 0);
    quickstart.crm.tickets(1);

    // A file that is no YAML: its objects stay.
    let before = serving.program.lines();
    fs::write(quickstart.file("secret.yaml"), "kind: [\n").unwrap();
    let told = serving.program.line(before, "error");
    assert!(told.contains("secret.yaml:1:7: error: "), "{told}");
    serving
        .program
        .line(before, "what this file held before stays in use");
    assert_eq!(
        serving.send(&[]).0,
        2,
        "the files that `send` reads hold no secret"
    );
    assert_eq!(serving.program.terminate().0, 0);

    // The same files after a restart.
    let serving = quickstart.run();
    serving.program.line(0, "stays in use");
    let url = format!("{}/support/tg-staff", serving.url);
    let sent = crate::program::hookswitch(&["send", "--provider", "TGStaff", "--url", &url])
        .env("HOOKSWITCH_SECRET", KEY)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    quickstart.crm.tickets(2);

    // Mended.
    let before = serving.program.lines();
    fs::write(&route, good).unwrap();
    serving
        .program
        .line(before, "EventRoute support/crm: generation 3 is accepted");
}

#[test]
fn files_come_and_go_and_are_replaced_as_editors_do() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let route = quickstart.file("route.yaml");
    let text = fs::read_to_string(&route).unwrap();

    // Written beside it and renamed over it.
    let before = serving.program.lines();
    let temporary = quickstart.file(".route.yaml.tmp");
    fs::write(&temporary, text.replace("new inquiry", "renamed")).unwrap();
    fs::rename(&temporary, &route).unwrap();
    serving
        .program
        .line(before, "EventRoute support/crm: generation 2 is accepted");

    // Renamed away, and a new file in a new directory.
    let before = serving.program.lines();
    fs::create_dir(quickstart.file("routes")).unwrap();
    fs::rename(&route, quickstart.file("routes/crm.yml")).unwrap();
    fs::write(
        quickstart.file("routes/more.yaml"),
        text.replace("name: crm\n  namespace", "name: more\n  namespace"),
    )
    .unwrap();
    serving
        .program
        .line(before, "EventRoute support/more: generation 1 is accepted");

    // Emptied, it is a mistake; removed, it is meant.
    let before = serving.program.lines();
    fs::write(quickstart.file("routes/more.yaml"), "").unwrap();
    serving
        .program
        .line(before, "the file is empty: delete it to remove its objects");
    fs::remove_file(quickstart.file("routes/more.yaml")).unwrap();
    serving
        .program
        .line(before, "EventRoute support/more: removed");
    assert!(
        !serving
            .program
            .text()
            .contains("EventRoute support/crm: removed")
    );

    let before = serving.program.lines();
    fs::remove_file(quickstart.file("subscription.yaml")).unwrap();
    serving
        .program
        .line(before, "WebhookSubscription support/tg-staff: removed");
    let url = format!("{}/support/tg-staff", serving.url);
    let gone = crate::program::hookswitch(&["send", "--provider", "TGStaff", "--url", &url])
        .env("HOOKSWITCH_SECRET", KEY)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&gone.stdout).starts_with("404"),
        "{gone:?}"
    );
}

#[test]
fn a_mounted_volume_that_swaps_its_link_is_followed() {
    let quickstart = Quickstart::new();
    let mounted = |version: &str| quickstart.file(version);
    let text = fs::read_to_string(quickstart.file("route.yaml")).unwrap();
    fs::remove_file(quickstart.file("route.yaml")).unwrap();
    for (version, title) in [("..1", "first"), ("..2", "second")] {
        fs::create_dir(mounted(version)).unwrap();
        fs::write(
            mounted(version).join("route.yaml"),
            text.replace("new inquiry", title),
        )
        .unwrap();
    }
    symlink("..1", mounted("..data")).unwrap();
    symlink("..data/route.yaml", quickstart.file("route.yaml")).unwrap();
    let serving = quickstart.run();
    let before = serving.program.lines();
    symlink("..2", mounted("..new")).unwrap();
    fs::rename(mounted("..new"), mounted("..data")).unwrap();
    fs::remove_dir_all(mounted("..1")).unwrap();
    serving
        .program
        .line(before, "EventRoute support/crm: generation 2 is accepted");
    assert_eq!(serving.send(&[]).0, 0);
    assert_eq!(
        quickstart.crm.tickets(1)[0]["title"],
        "Telegram user alice second"
    );
}

#[test]
fn what_is_kept_is_private_and_one_process_at_a_time_has_it() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let kept = quickstart.data().join("last-good.json");
    let first = until("the last good configuration", || fs::read(&kept).ok());
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::metadata(quickstart.data())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );

    let other = Quickstart::new();
    other.edit("route.yaml", "new inquiry", "of another");
    let (conf, data) = (other.conf(), quickstart.data());
    let second = output(&[
        "run",
        "-f",
        &conf,
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert_eq!(fs::read(&kept).unwrap(), first);
    assert_eq!(serving.send(&[]).0, 0);
}

#[test]
fn a_crm_that_often_fails_gets_each_ticket_once() {
    let quickstart = Quickstart::with_crm(&["--fail-rate", "0.5"]);
    quickstart.edit(
        "route.yaml",
        "  - name: tickets\n",
        "  - name: tickets\n    delivery: {backoff: {initial: 10ms, max: 20ms}}\n",
    );
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--count", "10"]).0, 0);
    quickstart.crm.tickets(10);
    let requests = quickstart.crm.requests();
    assert!(requests.iter().any(|request| request["status"] == 503));
}
