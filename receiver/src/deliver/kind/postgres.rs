//! PostgreSQL: the statement that writes a row, and what the server's errors mean.
//!
//! A row is one `INSERT`, whose columns are the body's members. The body goes as one parameter, and PostgreSQL
//! itself makes each member what its column wants (`jsonb_populate_record`,
//! <https://www.postgresql.org/docs/current/functions-json.html>). Names are quoted, and nothing but names
//! stands in the statement.
//!
//! Errors are told apart by SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). Their
//! details are never repeated: they hold whole rows.

use std::collections::BTreeMap;

use hookswitch_crds::snapshot::{self, OnConflict};
use serde::de::IgnoredAny;
use tokio_postgres::error::{DbError, Severity};
use uuid::Uuid;

use super::{Api, Batch, Class, Gather, Told, Verdict, reason};

/// Rows that are due together go in one transaction. Where one of them is refused, each goes in one of its
/// own.
pub(super) const API: Api = Api::spoken(Batch {
    most: 100,
    bytes: 1 << 20,
    gather: Gather::Counted,
    join: None,
});

/// The longest name: <https://www.postgresql.org/docs/current/limits.html>. A longer one would be cut.
const LONGEST_NAME: usize = 63;

/// The server's routine in which a function's own `RAISE` becomes an error.
const RAISE: &str = "exec_stmt_raise";

/// How rows of a destination are written.
#[derive(Debug)]
pub(in crate::deliver) struct Table {
    /// Quoted.
    name: String,
    key: Option<String>,
    found_by: Vec<String>,
    on_conflict: OnConflict,
}

/// A row to write.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::deliver) struct Row {
    /// Its parameters are `values`, all of them texts.
    pub(in crate::deliver) statement: String,
    /// The body, and the key's column and value where there is one.
    pub(in crate::deliver) values: Vec<String>,
}

impl Table {
    pub(in crate::deliver) fn of(spec: &snapshot::Postgres) -> Self {
        let parts: Vec<String> = spec.table.split('.').map(quoted).collect();
        Self {
            name: parts.join("."),
            key: spec.key_column.clone(),
            found_by: spec.conflict_columns.clone(),
            on_conflict: spec.on_conflict,
        }
    }

    /// The row of a delivery.
    ///
    /// # Errors
    /// Why its body makes none.
    pub(in crate::deliver) fn row(&self, body: &[u8], id: Uuid) -> Result<Row, String> {
        let text = std::str::from_utf8(body).ok();
        let read = |text| serde_json::from_str::<BTreeMap<String, Option<IgnoredAny>>>(text).ok();
        let (text, mut members) = text
            .and_then(|text| Some((text, read(text)?)))
            .ok_or("the body is no JSON object: its members are the columns of the row")?;
        if let Some(key) = &self.key {
            members.insert(key.clone(), Some(IgnoredAny));
        }
        if members.is_empty() {
            return Err("the body has no members: they are the columns of the row".to_owned());
        }
        let is_name = |it: &String| (1..=LONGEST_NAME).contains(&it.len()) && !it.contains('\0');
        if !members.keys().all(is_name) {
            return Err(format!(
                "a member of the body is no column's name: it has none, more than {LONGEST_NAME} bytes, or a \
                 zero byte"
            ));
        }
        let is_there = |name: &String| members.get(name).is_some_and(Option::is_some);
        if let Some(name) = self.found_by.iter().find(|name| !is_there(name)) {
            return Err(format!(
                "{name} is null or missing, so that no row could be found by it: conflictColumns names it"
            ));
        }
        let mut values = vec![text.to_owned()];
        if let Some(key) = &self.key {
            values.extend([key.clone(), id.to_string()]);
        }
        Ok(Row {
            statement: self.statement(&members.keys().collect::<Vec<_>>()),
            values,
        })
    }

    fn statement(&self, columns: &[&String]) -> String {
        let table = &self.name;
        let list = |each: &dyn Fn(&str) -> String| {
            let listed: Vec<String> = columns.iter().map(|it| each(&quoted(it))).collect();
            listed.join(", ")
        };
        let key = match self.key {
            Some(_) => " || jsonb_build_object($2, $3)",
            None => "",
        };
        let found_by: Vec<String> = self.found_by.iter().map(|it| quoted(it)).collect();
        let new: Vec<String> = columns
            .iter()
            .filter(|it| !self.found_by.contains(it))
            .map(|it| format!("{0} = excluded.{0}", quoted(it)))
            .collect();
        let action = match self.on_conflict {
            OnConflict::Update if !new.is_empty() => {
                // What a repetition of the same delivery would write is there already.
                let again = self.key.as_deref().map_or_else(String::new, |key| {
                    format!(" WHERE it.{0} IS DISTINCT FROM excluded.{0}", quoted(key))
                });
                format!("UPDATE SET {}{again}", new.join(", "))
            }
            OnConflict::Update | OnConflict::DoNothing => "NOTHING".to_owned(),
        };
        format!(
            "INSERT INTO {table} AS it ({}) SELECT {} FROM jsonb_populate_record(NULL::{table}, $1::jsonb{key}) AS made \
             ON CONFLICT ({}) DO {action}",
            list(&str::to_owned),
            list(&|name| format!("made.{name}")),
            found_by.join(", "),
        )
    }
}

/// A name as it is written in SQL, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A row that the server has, for good: how many it wrote.
pub(in crate::deliver) fn written(rows: u64) -> Told {
    let said = (rows == 0).then(|| "the row was there already".to_owned());
    Told::new(Verdict::delivered(), said)
}

/// What an error of the server's means, where it has written nothing.
pub(in crate::deliver) fn judge(error: &DbError) -> Told {
    Told::new(verdict(error.code().code()), Some(said(error)))
}

fn verdict(code: &str) -> Verdict {
    let (class, reason) = match (code.get(..2).unwrap_or_default(), code) {
        (_, "42501") => (Class::Refused, reason::UNAUTHORIZED),
        ("28", _) => (Class::Retry, reason::UNAUTHORIZED),
        ("40", _) | (_, "55P03") => (Class::Retry, reason::CONFLICT),
        // Cancelled: by our own statement_timeout, most likely.
        (_, "57014") => (Class::Retry, reason::TIMEOUT),
        // No connection, the state of a transaction, as on a server that takes no writes since another has
        // just replaced it, no resources, not now, the disk, a defect.
        ("08" | "25" | "53" | "55" | "57" | "58" | "F0" | "HV" | "XX", _) => {
            (Class::Retry, reason::SERVER_ERROR)
        }
        _ => (Class::Refused, reason::REFUSED),
    };
    Verdict::new(class, reason)
}

/// Whether an error leaves it open what became of a transaction that was to be committed: the server ended
/// the connection, or says so itself.
pub(in crate::deliver) fn in_doubt(error: &DbError) -> bool {
    let ends = matches!(
        error.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    );
    // A pooler such as PgBouncer tells the severity for people alone.
    let ends = ends || matches!(error.severity(), "FATAL" | "PANIC");
    let code = error.code().code();
    ends || code == "40003" || code.starts_with("08")
}

/// Whether an error is only that the transaction has failed before: by another of its rows, mostly.
pub(in crate::deliver) fn had_failed(error: &DbError) -> bool {
    error.code().code() == "25P02"
}

/// Whether an error is of the server as a whole, and would meet other rows as well.
pub(in crate::deliver) fn is_of_all(error: &DbError) -> bool {
    is_of_server(error.code().code(), error.routine())
}

fn is_of_server(code: &str, routine: Option<&str>) -> bool {
    let of_server = match code.get(..3) {
        Some("57P") => true,
        Some(class) => matches!(class.get(..2), Some("08" | "53" | "58")) || code == "25006",
        None => false,
    };
    // A trigger may give its own error any code.
    of_server && routine != Some(RAISE)
}

/// What is told of an error: its code, its message without values, and the names that it has.
pub(in crate::deliver) fn said(error: &DbError) -> String {
    tell(
        error.code().code(),
        error.message(),
        error.routine(),
        &[
            ("table", error.table()),
            ("column", error.column()),
            ("constraint", error.constraint()),
            ("type", error.datatype()),
        ],
    )
}

fn tell(
    code: &str,
    message: &str,
    routine: Option<&str>,
    names: &[(&str, Option<&str>)],
) -> String {
    let message = match code.get(..2) {
        // Those that quote the value that they are about.
        Some("22" | "23" | "44") => Some(unquoted(message)).filter(|told| told.is_ascii()),
        // Those that the server itself words, of names and states.
        Some("08" | "25" | "28" | "3D" | "3F" | "40" | "42" | "53" | "54" | "55" | "57" | "58") => {
            Some(message.to_owned())
        }
        _ => None,
    };
    // A function's own words, where anything can stand in them, and quotes that other languages have.
    let message = message.filter(|_| routine != Some(RAISE));
    let message = message.unwrap_or_else(|| "the database's log has its words".to_owned());
    let names: String = names
        .iter()
        .filter_map(|(what, name)| Some(format!(", {what} {}", (*name)?)))
        .collect();
    let remedy = match code {
        // No index that ON CONFLICT could go by.
        "42P10" => ": create a unique index on the columns that rows are found by",
        _ => "",
    };
    format!("{message} (SQLSTATE {code}{names}){remedy}")
}

/// A message without what is quoted in it.
fn unquoted(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            let (before, after) = (message.get(..first), message.get(last + 1..));
            format!(
                "{}\"...\"{}",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::snapshot::ResolvedSecret;

    use super::*;

    fn table(table: &str, key: Option<&str>, found_by: &[&str], on_conflict: OnConflict) -> Table {
        Table::of(&snapshot::Postgres {
            url: ResolvedSecret {
                reference: "pg/url".to_owned(),
                value: None,
            },
            table: table.to_owned(),
            key_column: key.map(str::to_owned),
            conflict_columns: found_by.iter().map(|it| (*it).to_owned()).collect(),
            on_conflict,
            ca: None,
            private_networks: Vec::new(),
        })
    }

    fn events() -> Table {
        let key = "hookswitch_id";
        table("public.events", Some(key), &[key], OnConflict::DoNothing)
    }

    #[test]
    fn r54_a_row_is_inserted_once_by_its_key() {
        let row = events()
            .row(br#"{"b": 1, "a": null}"#, Uuid::nil())
            .unwrap();
        assert_eq!(
            row.statement,
            "INSERT INTO \"public\".\"events\" AS it (\"a\", \"b\", \"hookswitch_id\") \
             SELECT made.\"a\", made.\"b\", made.\"hookswitch_id\" \
             FROM jsonb_populate_record(NULL::\"public\".\"events\", $1::jsonb || jsonb_build_object($2, $3)) AS made \
             ON CONFLICT (\"hookswitch_id\") DO NOTHING"
        );
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(row.values, [r#"{"b": 1, "a": null}"#, "hookswitch_id", id]);
    }

    #[test]
    fn r52_a_row_is_found_by_its_columns_and_written_over() {
        let ending = |key, on_conflict| {
            let table = table("p", key, &["user_id", "site"], on_conflict);
            let row = table.row(br#"{"user_id": 7, "site": "a", "name": "b"}"#, Uuid::nil());
            let (_, ending) = row
                .unwrap()
                .statement
                .split_once(" AS made ")
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .unwrap();
            ending
        };
        let by = "ON CONFLICT (\"user_id\", \"site\") DO";
        assert_eq!(
            ending(None, OnConflict::Update),
            format!("{by} UPDATE SET \"name\" = excluded.\"name\"")
        );
        assert_eq!(
            ending(Some("k"), OnConflict::Update),
            format!(
                "{by} UPDATE SET \"k\" = excluded.\"k\", \"name\" = excluded.\"name\" \
                 WHERE it.\"k\" IS DISTINCT FROM excluded.\"k\""
            )
        );
        assert_eq!(ending(None, OnConflict::DoNothing), format!("{by} NOTHING"));
        // With nothing to write there is nothing to update.
        let table = table("p", None, &["a"], OnConflict::Update);
        let row = table.row(br#"{"a": 1}"#, Uuid::nil()).unwrap();
        assert!(row.statement.ends_with("DO NOTHING"));
        assert_eq!(row.values, [r#"{"a": 1}"#]);
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        let row = events().row(br#"{"a\"; DROP TABLE x; --": 1}"#, Uuid::nil());
        let statement = row.unwrap().statement;
        assert!(
            statement.contains(r#"("a""; DROP TABLE x; --", "#),
            "{statement}"
        );
    }

    #[test]
    fn a_body_that_makes_no_row_is_refused_with_the_reason() {
        let long = format!("{{\"{}\": 1}}", "a".repeat(64));
        for (body, told) in [
            ("[1]", "no JSON object"),
            ("nothing", "no JSON object"),
            ("\"text\"", "no JSON object"),
            ("{\"\": 1}", "no column's name"),
            ("{\"a\\u0000\": 1}", "no column's name"),
            (long.as_str(), "no column's name"),
        ] {
            let error = events().row(body.as_bytes(), Uuid::nil()).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
        let table = table("p", None, &["user_id"], OnConflict::Update);
        for body in ["{\"user_id\": null}", "{\"name\": 1}"] {
            let error = table.row(body.as_bytes(), Uuid::nil()).unwrap_err();
            assert!(error.starts_with("user_id is null or missing"), "{error}");
        }
        assert!(
            table
                .row(b"{}", Uuid::nil())
                .unwrap_err()
                .contains("no members")
        );
    }

    #[test]
    fn errors_are_told_apart_by_sqlstate() {
        let judged = |codes: &[&str], class, reason| {
            for code in codes {
                let verdict = verdict(code);
                assert_eq!((verdict.class, verdict.reason), (class, reason), "{code}");
            }
        };
        let passing = [
            "08006", "53300", "53100", "57P01", "57P03", "25006", "25P02", "58030", "XX000",
        ];
        judged(&passing, Class::Retry, reason::SERVER_ERROR);
        judged(&["40001", "40P01", "55P03"], Class::Retry, reason::CONFLICT);
        judged(&["57014"], Class::Retry, reason::TIMEOUT);
        judged(&["28P01", "28000"], Class::Retry, reason::UNAUTHORIZED);
        judged(&["42501"], Class::Refused, reason::UNAUTHORIZED);
        let lasting = [
            "22P02", "22001", "23502", "23505", "23514", "42P01", "42703", "42P10", "21000",
            "0A000", "P0001", "",
        ];
        judged(&lasting, Class::Refused, reason::REFUSED);
    }

    #[test]
    fn what_meets_every_row_is_told_from_what_is_a_rows_own() {
        for code in [
            "08006", "25006", "53100", "53300", "57P01", "57P03", "58030",
        ] {
            assert!(is_of_server(code, Some("mdextend")), "{code}");
            assert!(!is_of_server(code, Some(RAISE)), "{code}: a trigger's own");
        }
        let own = [
            "40001", "40P01", "55P03", "57014", "23514", "XX000", "F0000", "",
        ];
        for code in own {
            assert!(!is_of_server(code, None), "{code}");
        }
    }

    #[test]
    fn r57_an_error_is_told_with_its_names_and_no_value() {
        let names = [
            ("table", Some("events")),
            ("column", None),
            ("constraint", Some("events_key")),
        ];
        assert_eq!(
            tell(
                "23505",
                "duplicate key value violates unique constraint \"events_key\"",
                None,
                &names
            ),
            "duplicate key value violates unique constraint \"...\" (SQLSTATE 23505, table events, constraint events_key)"
        );
        for (code, message, routine) in [
            ("P0001", "planted", None),
            ("45000", "planted", None),
            ("XX000", "planted", None),
            ("23514", "bad planted", Some(RAISE)),
            (
                "22P02",
                "ungültige Eingabesyntax für Typ integer: »planted«",
                None,
            ),
        ] {
            let told = tell(code, message, routine, &[]);
            assert!(!told.contains("planted") && told.contains(code), "{told}");
        }
        let told = tell("42P10", "there is no unique constraint", None, &[]);
        assert!(told.ends_with(": create a unique index on the columns that rows are found by"));
    }

    #[test]
    fn r57_a_message_is_told_without_the_value_that_it_quotes() {
        let message = "invalid input syntax for type integer: \"planted \"text\"\"";
        assert_eq!(
            unquoted(message),
            "invalid input syntax for type integer: \"...\""
        );
        assert_eq!(unquoted("no quotes"), "no quotes");
        assert_eq!(unquoted("one \" quote"), "one \" quote");
    }
}
