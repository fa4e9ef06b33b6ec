//! What is printed of a trial.

use serde_json::{Value as Json, json};

use super::case::Case;
use super::outcome::Trial;
use crate::output::say;
use crate::table::{clean, clean_lines};

/// All of it, for a person who writes a rule.
pub(super) fn text(name: &str, trial: &Trial) {
    let kind = match &trial.event {
        None => "time passes",
        Some(event) if event.r#type.is_empty() => "(no type)",
        Some(event) => &event.r#type,
    };
    say!(
        "{}: {}  to {}",
        clean(name),
        clean(kind),
        clean(&trial.subscription)
    );
    for rule in &trial.fired {
        say!("  * {}: its timer fires", clean(rule));
    }
    if let Some(event) = &trial.event {
        say!("  id        {}", clean(&event.id));
        for (name, value) in [("subject", &event.subject), ("sender", &event.sender)] {
            if let Some(value) = value {
                say!("  {name:<9} {}", clean(value));
            }
        }
        if let Some(time) = event.time {
            say!("  time      {time}");
        }
        if event.disposition != "route" {
            say!("  not routed: {}", event.disposition);
        }
    }
    for decided in &trial.verdicts {
        let mark = match decided.verdict.as_str() {
            "fired" | "waits" => "+",
            "error" | "missing_field" => "!",
            _ => "-",
        };
        say!("  {mark} {}: {}", clean(&decided.rule), decided.verdict);
        if let Some(detail) = &decided.detail {
            say!("      {}", clean(detail));
        }
        for part in &decided.not {
            say!("      FALSE {}", clean(part));
        }
    }
    for stopped in &trial.suppressed {
        say!(
            "  x {} by {}: stopped by the loop guard ({})",
            clean(&stopped.to),
            clean(&stopped.rule),
            stopped.guard
        );
    }
    for delivery in &trial.deliveries {
        let dead = delivery
            .dead
            .as_ref()
            .map(|reason| format!(": a dead letter ({reason})"));
        let waits = delivery.waits.as_ref().map(|it| format!(": in {it}"));
        say!(
            "  > {} by {}{}{}",
            clean(&delivery.to),
            clean(&delivery.rule),
            waits.unwrap_or_default(),
            dead.unwrap_or_default()
        );
        if let (Some(method), Some(content_type)) = (&delivery.method, &delivery.content_type) {
            let address = delivery
                .address
                .as_deref()
                .map(|it| format!(" {}", clean(it)));
            let address = address.unwrap_or_default();
            say!("      {method}{address} {}", clean(content_type));
        }
        let body = delivery.body.as_ref().map(|body| match body {
            Json::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        });
        for line in clean_lines(&body.unwrap_or_default()) {
            say!("      | {line}");
        }
    }
}

/// Whether it is as expected, for CI.
pub(super) fn compared(case: &Case, differences: &[String]) {
    let mark = if differences.is_empty() {
        "ok  "
    } else {
        "FAIL"
    };
    say!("{mark} {}", clean(&case.name));
    for difference in differences {
        say!("       {}", clean(difference));
    }
}

/// For programs.
pub(super) fn object(
    case: &Case,
    step: usize,
    trial: &Trial,
    differences: Option<&[String]>,
) -> Json {
    json!({"case": case.name, "step": step, "trial": trial, "differences": differences})
}
