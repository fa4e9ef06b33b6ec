//! Deliveries to tables of a real PostgreSQL.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Path as Segment, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::proxy::Proxy;
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::servers::certificates;
use hookswitch_tests::servers::postgres::{Database, Postgres};
use hookswitch_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::setup::System;
use crate::yaml;

const LIMIT: Duration = Duration::from_mins(1);

/// What the rows of the tests hold, in every kind of column that JSON has something for.
const TABLE: &str = "
    create table events (
        hookswitch_id uuid primary key,
        number integer not null,
        subject varchar(20) not null,
        at timestamptz,
        tags text[] default '{none}',
        extra jsonb,
        written timestamptz default now()
    )";
const BODY: &str = "{number: \"${event.data.data.number}\", subject: \"${event.subject}\", at: \"${event.time}\", \
     tags: [\"${event.type}\", \"it's\"], extra: {a: [1, null]}}";

/// A route that writes every event; `postgres` is the destination, without its braces and its URL.
fn route(postgres: &str, body: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: rows, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: rows
    postgres: {{urlSecretRef: {{name: pg, key: url}}, {postgres}, allowPrivateNetwork: true}}
    delivery: {}
  rules: [{{name: all, deliver: [{{destination: rows{body}}}]}}]
",
        yaml::QUICK
    )
}

/// The Secret of the connection.
fn secret(url: &str, ca: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: pg, namespace: support}}
stringData: {{url: {}, ca: {}}}
",
        json!(url),
        json!(ca)
    )
}

/// A database's URL, without TLS.
fn plain(database: &Database) -> String {
    format!("{}?sslmode=disable", database.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_rows_are_written_once_through_an_outage_and_a_bad_one_alone_is_a_dead_letter() {
    let mut server = Postgres::start().await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let body = format!(", body: {BODY}");
    let system = System::with_secret(
        &route("table: events", &body),
        &secret(&plain(&database), ""),
    )
    .await;
    system.send(&conversation_created(0)).await;
    system.ended("delivered", 1).await;
    server.stop();
    for number in 1..40 {
        let mut event = conversation_created(number);
        if number == 7 {
            event["data"]["number"] = "planted text where a number belongs".into();
        }
        system.send(&event).await;
    }
    system.failed("connect").await;
    server.restart().await;
    system.ended("delivered", 39).await;
    system.ended("refused", 1).await;
    let rows = database.rows("select * from events order by number").await;
    assert_eq!(rows.len(), 39);
    for (row, number) in rows.iter().zip((0..40).filter(|it| *it != 7)) {
        assert_eq!(row["number"], json!(number));
        assert_eq!(row["subject"], json!(format!("conv-{number}")));
        assert_eq!(row["tags"], json!(["conversation.created", "it's"]));
        assert_eq!(row["extra"], json!({"a": [1, null]}));
        assert!(
            row["at"]
                .as_str()
                .is_some_and(|it| it.starts_with("2026-01-05T10:00:00"))
        );
        assert!(row["written"].is_string(), "a default that no member names");
    }
    let (_, output) = system.hookswitch.terminate().await;
    assert!(!output.contains("planted"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_row_that_can_not_be_written_yet_keeps_no_other_from_it_and_all_are_written_once() {
    let mut server = Postgres::start().await;
    let database = server.database().await;
    database.execute(TABLE).await;
    // Some numbers are in trouble: at once, at the COMMIT, for good, or by hanging.
    database
        .execute(
            "create table trouble (number int, code text, at text);
             insert into trouble values (3, '40001', 'BEFORE'), (5, '55P03', 'AFTER'), (7, '23514', 'BEFORE'),
               (9, 'hang', 'BEFORE');
             create table writes (number int);
             create function meet() returns trigger language plpgsql as $$
               declare met text := (select code from trouble where number = new.number and at = tg_when);
               begin
                 if met = 'hang' then perform pg_sleep(60); end if;
                 if met is not null then raise exception 'planted' using errcode = met; end if;
                 if tg_when = 'AFTER' then insert into writes values (new.number); end if;
                 return new;
               end $$;
             create trigger at_once before insert on events for each row execute function meet();
             create constraint trigger late after insert on events deferrable initially deferred
               for each row execute function meet()",
        )
        .await;
    server.stop();
    let body = format!(", body: {BODY}");
    let secret = secret(&plain(&database), "");
    let system = System::with_secret(&route("table: events", &body), &secret).await;
    for number in 0..20 {
        system.send(&conversation_created(number)).await;
    }
    system.failed("connect").await;
    server.restart().await;
    system.ended("delivered", 16).await;
    system.ended("refused", 1).await;
    system.failed("conflict").await;
    system.failed("timeout").await;
    database.execute("delete from trouble").await;
    system.ended("delivered", 19).await;
    let written = database
        .rows("select number from writes order by number")
        .await;
    let numbers = (0..20).filter(|it| *it != 7);
    let once: Vec<_> = numbers.map(|number| json!({"number": number})).collect();
    assert_eq!(written, once);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_an_attempt_may_take_longer_than_a_statement_of_postgresql() {
    let database = Postgres::shared().await.database().await;
    database.execute(TABLE).await;
    let body = format!(", body: {BODY}");
    let route = route("table: events", &body).replace("timeout: 2s", "timeout: 9999h");
    let system = System::with_secret(&route, &secret(&plain(&database), "")).await;
    system.send(&conversation_created(1)).await;
    system.ended("delivered", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_row_whose_commit_was_not_answered_is_written_once() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    database.execute(TABLE).await;
    // It counts what is written, the same again included.
    database
        .execute(
            "create table writes (n int);
             create function count_it() returns trigger language plpgsql as
               $$ begin insert into writes values (1); return new; end $$;
             create trigger t after insert or update on events for each row execute function count_it()",
        )
        .await;
    let proxy = Proxy::start(server.address(), b"COMMIT").await;
    let url = plain(&database).replace(&server.address().to_string(), &proxy.address.to_string());
    let body = format!(", body: {BODY}");
    let system =
        System::with_secret(&route("table: public.events", &body), &secret(&url, "")).await;
    proxy.lose(2);
    system.send(&conversation_created(1)).await;
    system.failed("connection_lost").await;
    system.ended("delivered", 1).await;
    assert_eq!(proxy.lost(), 2);
    assert_eq!(
        database.rows("select number from events").await,
        [json!({"number": 1})]
    );
    assert_eq!(database.rows("select n from writes").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_without_a_body_a_row_is_the_event() {
    let database = Postgres::shared().await.database().await;
    database
        .execute(
            "create schema audit;
             create table audit.events (hookswitch_id text unique, event_id text, event_type text,
               event_time timestamptz, subject text, data jsonb)",
        )
        .await;
    let system = System::with_secret(
        &route("table: audit.events", ""),
        &secret(&plain(&database), ""),
    )
    .await;
    system.send(&conversation_created(3)).await;
    system.ended("delivered", 1).await;
    let rows = database.rows("select * from audit.events").await;
    assert_eq!(rows[0]["event_id"], "evt-3");
    assert_eq!(rows[0]["event_type"], "conversation.created");
    assert_eq!(rows[0]["subject"], "conv-3");
    assert_eq!(rows[0]["data"], conversation_created(3));
    assert_eq!(rows[0]["hookswitch_id"].as_str().map(str::len), Some(36));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_certificate_and_a_password_that_are_wrong_wait_and_work_once_they_are_right() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let other = TempDir::new().expect("a folder");
    let other = certificates::write(other.path());
    let (_, after) = database
        .url()
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a password");
    let wrong = format!("postgres://hookswitch:planted-wrong-password@{after}");
    let to = "table: events, caSecretRef: {name: pg, key: ca}";
    let body = format!(", body: {BODY}");
    let system = System::with_secret(&route(to, &body), &secret(&wrong, &other)).await;
    system.send(&conversation_created(1)).await;
    system.failed("tls").await;
    let authority = server.authority();
    system
        .workspace
        .write("secret.yaml", &secret(&wrong, authority));
    system.failed("unauthorized").await;
    assert!(database.rows("select 1 from events").await.is_empty());
    let right = format!("{}?sslmode=verify-full", database.url());
    system
        .workspace
        .write("secret.yaml", &secret(&right, authority));
    system.ended("delivered", 1).await;
    assert_eq!(
        database.rows("select number from events").await,
        [json!({"number": 1})]
    );
    let (_, output) = system.hookswitch.terminate().await;
    assert!(!output.contains("planted"), "{output}");
}

/// The profile API, with one user; away where that is set.
async fn profiles(away: Arc<AtomicBool>) -> String {
    async fn profile(
        State(away): State<Arc<AtomicBool>>,
        Segment(user): Segment<String>,
        headers: HeaderMap,
    ) -> (StatusCode, Json<Value>) {
        let token = headers.get("authorization").and_then(|it| it.to_str().ok());
        match (token, user.as_str()) {
            _ if away.load(Ordering::SeqCst) => (StatusCode::FORBIDDEN, Json(json!({}))),
            (Some("Bearer mock-tgstaff-token"), "777000") => {
                let profile =
                    json!({"first_name": "Alice", "language": "en", "tags": ["customer", "vip"]});
                (StatusCode::OK, Json(profile))
            }
            _ => (StatusCode::NOT_FOUND, Json(json!({}))),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new()
        .route("/users/{id}", get(profile))
        .with_state(away);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/profile-to-postgres");
    fs::read_to_string(folder.join(name)).expect("a file of the example")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r50_r51_r52_a_users_profile_is_merged_with_the_event_into_one_row() {
    let database = Postgres::shared().await.database().await;
    database.execute(&example("table.sql")).await;
    let away = Arc::new(AtomicBool::new(false));
    let api = profiles(Arc::clone(&away)).await;
    let workspace = Workspace::new();
    workspace.write("subscription.yaml", &example("subscription.yaml"));
    // Nothing is looked up from a cache: the test takes the API away.
    let route = example("route.yaml")
        .replace("127.0.0.1:8099", &api)
        .replace("cache: 10m", "cache: 0s");
    workspace.write("route.yaml", &route);
    let of_example = "postgres://crm:crm@127.0.0.1:5432/crm?sslmode=disable";
    let secrets = example("secret.yaml");
    assert!(secrets.contains(of_example) && route.contains(&api));
    workspace.write(
        "secret.yaml",
        &secrets.replace(of_example, &plain(&database)),
    );
    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    let sender = Sender::new(
        hookswitch.url("/support/tg-staff"),
        "quickstart-signing-key",
    );
    let send = async |id: &str, user: &str, conversation: &str, name: Option<&str>, minute: u32| {
        let mut event = json!({
            "event_type": "conversation.created", "event_id": id, "user_id": user,
            "conversation_id": conversation, "timestamp": format!("2026-01-05T10:0{minute}:00Z"),
        });
        if let Some(name) = name {
            event["username"] = name.into();
        }
        assert_eq!(sender.send(&event).await, Some(200));
    };
    let row = async |user: &str, conversation: &str| {
        wait::until(format!("{user} in {conversation}"), LIMIT, async || {
            let query = format!("select * from profiles where user_id = '{user}' and conversation_id = '{conversation}'");
            database.rows(&query).await.pop()
        })
        .await
    };
    send("e-1", "777000", "c-1", Some("alice"), 1).await;
    let first = row("777000", "c-1").await;
    assert_eq!(first["username"], "alice");
    assert_eq!(
        (&first["first_name"], &first["language"]),
        (&json!("Alice"), &json!("en"))
    );
    assert_eq!(first["tags"], json!(["customer", "vip"]));
    // The API refuses: what it said before stays, and what the event says is written.
    away.store(true, Ordering::SeqCst);
    send("e-2", "777000", "c-2", None, 2).await;
    let second = row("777000", "c-2").await;
    assert_eq!(
        (&second["username"], &second["first_name"]),
        (&json!("alice"), &json!("Alice"))
    );
    // It has no such user.
    away.store(false, Ordering::SeqCst);
    send("e-3", "42", "c-3", Some("bob"), 3).await;
    let other = row("42", "c-3").await;
    assert_eq!(
        (&other["username"], &other["first_name"], &other["tags"]),
        (&json!("bob"), &Value::Null, &Value::Null)
    );
    assert_eq!(database.rows("select 1 from profiles").await.len(), 2);
    // A redelivery changes nothing.
    send("e-1", "777000", "c-1", Some("alice"), 1).await;
    send("e-4", "42", "c-4", None, 4).await;
    row("42", "c-4").await;
    row("777000", "c-2").await;
    hookswitch.terminate().await;
}
