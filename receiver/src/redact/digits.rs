//! Digits in a text, in the groups in which people write long numbers.

/// Where scripts with digits of their own have their zero; the other nine follow it.
const ZEROS: [char; 8] = ['0', '٠', '۰', '०', '০', '๐', '０', '𝟎'];

/// The most characters between two groups of one number: `) ` or ` - `.
const MAX_GAP: usize = 3;

/// The value of a digit of any of those scripts.
pub(super) fn value(c: char) -> Option<u32> {
    ZEROS.iter().find_map(|zero| {
        u32::from(c)
            .checked_sub(u32::from(*zero))
            .filter(|value| *value < 10)
    })
}

/// What stands between the groups of one number.
fn separates(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{3000}' | '-' | '\u{2010}'
            ..='\u{2015}' | '\u{2212}' | '－' | '.' | '/' | '(' | ')' | '（' | '）'
    )
}

/// Digits without anything between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// In the text.
    pub(super) start: usize,
    /// In the text, exclusive.
    pub(super) end: usize,
    /// What stands right before it.
    pub(super) gap: Option<char>,
    /// Their values.
    pub(super) digits: Vec<u32>,
}

/// Groups with no more than separators between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Run(pub(super) Vec<Group>);

/// The runs of a text, in order.
pub(super) fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut run = Run::default();
    let mut gap = 0_usize;
    let mut joined = false;
    let mut last = None;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if let Some(digit) = value(c) {
            match run.0.last_mut().filter(|_| joined) {
                Some(group) => {
                    group.end = end;
                    group.digits.push(digit);
                }
                None => run.0.push(Group {
                    start: at,
                    end,
                    gap: last,
                    digits: vec![digit],
                }),
            }
            (joined, gap) = (true, 0);
        } else {
            joined = false;
            gap += 1;
            if (!separates(c) || gap > MAX_GAP) && !run.0.is_empty() {
                runs.push(std::mem::take(&mut run));
            }
        }
        last = Some(c);
    }
    if !run.0.is_empty() {
        runs.push(run);
    }
    runs
}

/// Puts `mask` where `wanted` finds a number, the longest first from each group on. It is given the
/// groups and the text before and after them; `None` where there is none.
pub(super) fn replace(
    text: &str,
    mask: &str,
    wanted: impl Fn(&str, &[Group], &str) -> Option<Span>,
) -> Option<String> {
    if !text.contains(|c| value(c).is_some()) {
        return None;
    }
    let mut masked = String::new();
    let mut done = 0;
    for Run(groups) in runs(text) {
        let mut rest = groups.as_slice();
        while let Some(first) = rest.first() {
            let found = (1..=rest.len().min(MAX_GROUPS)).rev().find_map(|count| {
                let (groups, _) = rest.split_at_checked(count)?;
                let last = groups.last()?;
                let (before, after) = (text.get(done..first.start)?, text.get(last.end..)?);
                wanted(before, groups, after).map(|span| (count, span))
            });
            let Some((count, Span { start, end })) = found else {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            masked.push_str(text.get(done..start).unwrap_or_default());
            masked.push_str(mask);
            done = end;
            rest = rest.get(count..).unwrap_or_default();
        }
    }
    if done == 0 {
        return None;
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    Some(masked)
}

/// The most groups that one number is looked for in: a text of nothing but groups takes no longer.
const MAX_GROUPS: usize = 16;

/// What is to be masked, in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// From the first group to the last.
    pub(super) fn of(groups: &[Group]) -> Option<Self> {
        Some(Self {
            start: groups.first()?.start,
            end: groups.last()?.end,
        })
    }
}
