//! `hookswitch run` where files vanish, directories are empty and people are in a hurry.

use std::fs;

use crate::program::{KEY, Quickstart, hookswitch, output};

#[test]
fn a_route_that_is_gone_for_a_moment_is_served_all_the_while() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let route = quickstart.file("route.yaml");
    let text = fs::read_to_string(&route).unwrap();
    fs::remove_file(&route).unwrap();
    // Longer than it takes for an edit to be picked up.
    for _ in 0..4 {
        assert_eq!(serving.send(&[]).0, 0);
    }
    let before = serving.program.lines();
    fs::write(&route, text.replace("new inquiry", "again")).unwrap();
    serving
        .program
        .line(before, "EventRoute support/crm: generation 2 is accepted");
    quickstart.crm.tickets(4);
    let said = serving.program.text();
    assert!(!said.contains("EventRoute support/crm: removed"), "{said}");
}

#[test]
fn a_directory_that_is_suddenly_empty_takes_nothing_with_it() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let before = serving.program.lines();
    for name in ["route.yaml", "secret.yaml", "subscription.yaml"] {
        fs::remove_file(quickstart.file(name)).unwrap();
    }
    serving.program.line(before, "there is no *.yaml");
    let (code, said) = serving.program.terminate();
    assert_eq!(code, 0);
    assert!(!said.contains(": removed"), "{said}");

    // As where a volume is mounted late.
    let serving = quickstart.run();
    let url = format!("{}/support/tg-staff", serving.url);
    let sent = hookswitch(&["send", "--provider", "TGStaff", "--url", &url])
        .env("HOOKSWITCH_SECRET", KEY)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    quickstart.crm.tickets(1);
}

#[test]
fn with_errors_and_without_what_was_good_it_does_not_start() {
    let quickstart = Quickstart::new();
    let (conf, data) = (quickstart.conf(), quickstart.data());
    fs::create_dir(&data).unwrap();
    let kept = data.join("last-good.json");
    fs::write(&kept, "{").unwrap();
    let good = fs::read_to_string(quickstart.file("route.yaml")).unwrap();
    let run = [
        "run",
        "-f",
        &conf,
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    for bad in [
        good.replace("event.subject", "evnt.subject"),
        good.replace("spec:", "spec: ["),
    ] {
        fs::write(quickstart.file("route.yaml"), bad).unwrap();
        let refused = output(&run);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(kept.to_str().unwrap()), "{said}");
    }
    fs::write(quickstart.file("route.yaml"), good).unwrap();
    assert_eq!(quickstart.run().send(&[]).0, 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let quickstart = Quickstart::with_crm(&["--delay", "60s"]);
    quickstart.edit(
        "route.yaml",
        "  - name: tickets\n",
        "  - name: tickets\n    delivery: {timeout: 60s}\n",
    );
    let serving = quickstart.run();
    assert_eq!(serving.send(&[]).0, 0);
    quickstart.crm.tickets(1);
    serving.program.signal("INT");
    serving.program.line(0, "shutting down");
    serving.program.signal("INT");
    let (code, said) = serving.program.end();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("interrupted at the next start"), "{said}");
}

#[test]
fn an_error_tells_each_cause_once() {
    let quickstart = Quickstart::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (conf, data) = (quickstart.conf(), quickstart.data());
    let run = ["run", "-f", &conf, "--data", data.to_str().unwrap()];
    let refused = output(&[&run[..], &["--listen", &address]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(said.matches("already in use").count(), 1, "{said}");
}
