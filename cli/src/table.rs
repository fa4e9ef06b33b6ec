//! Text for a terminal, made of what senders and destinations have written.

use std::fmt::Write as _;

/// Rows as wide as their widest cells; the last column is as long as it likes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
        Self {
            rows: vec![heading],
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(column) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // A text is no failure to write to.
                let _always = write!(line, "{cell:width$}  ");
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// A text of a stranger's on one line: what would move the cursor or change colours is shown instead.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() || is_bidi(letter) {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// The same on several lines.
pub(crate) fn clean_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| clean(&line.replace('\t', "    ")))
        .collect()
}

/// Letters that make text read other than it is written.
fn is_bidi(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time to the millisecond.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// How long after a moment, in the unit that suits.
pub(crate) fn after(from: jiff::Timestamp, at: jiff::Timestamp) -> String {
    let millis = at.duration_since(from).as_millis();
    let sign = if millis < 0 { "-" } else { "+" };
    format!("{sign}{}", span(millis.unsigned_abs()))
}

/// A span in the unit that suits.
pub(crate) fn span(millis: u128) -> String {
    let seconds = millis / 1000;
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{seconds}.{:02}s", millis % 1000 / 10),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600_000..172_800_000 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_nothing_of_a_stranger_moves_the_cursor() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["longer".to_owned(), clean("x\u{1b}[31m\ny")]);
        assert_eq!(
            table.lines(),
            ["A       B", "longer  x\u{fffd}[31m\u{fffd}y"]
        );
    }

    #[test]
    fn spans_are_told_in_the_unit_that_suits() {
        for (millis, text) in [
            (0, "0ms"),
            (1250, "1.25s"),
            (61_000, "1m01s"),
            (3_660_000, "1h01m"),
            (180_000_000, "2d02h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
