//! Says where two texts part.

/// Equal, or the first lines that differ.
pub(super) fn similar(got: &str, expected: &str) {
    if got != expected {
        let lines = got.lines().zip(expected.lines());
        let at = lines.take_while(|(a, b)| a == b).count();
        let part = |text: &str| {
            text.lines()
                .skip(at.saturating_sub(8))
                .take(20)
                .collect::<Vec<_>>()
                .join("\n")
        };
        panic!("got\n{}\nexpected\n{}", part(got), part(expected));
    }
}
