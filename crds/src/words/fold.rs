//! Folding: texts that people take for the same become the same. And where words end.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup, Script};

/// The text in its compatibility form, without case, with one blank where there is white space, and
/// without what nobody sees.
///
/// It is as good as Unicode's `toNFKC_Casefold`
/// (<https://www.unicode.org/versions/Unicode16.0.0/core-spec/chapter-3/#G34145>, D146 and section 3.13).
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if is_plain(text) {
            return Cow::Borrowed(text);
        }
        return Cow::Owned(spaced(&text.to_ascii_lowercase()));
    }
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let normal = normalizer.normalize(text);
    let folded = CaseMapper::new().fold_string(&normal);
    Cow::Owned(spaced(&normalizer.normalize(&folded)))
}

/// Whether an ASCII text is folded as it is.
fn is_plain(text: &str) -> bool {
    let mut blank = false;
    text.bytes().all(|byte| {
        let again = blank && byte == b' ';
        blank = byte == b' ';
        !again && !byte.is_ascii_uppercase() && (blank || !byte.is_ascii_whitespace())
    })
}

/// One blank for white space, nothing for what is not seen.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !spaced.ends_with(' ') {
                spaced.push(' ');
            }
        } else if !is_unseen(c) {
            spaced.push(c);
        }
    }
    spaced
}

/// Characters that change nothing that is read: soft hyphens, joiners, marks of direction, selectors
/// of variants.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a word may begin or end at this place of a text: not between two letters of scripts that
/// have spaces between words.
pub(super) fn parts(text: &str, at: usize) -> bool {
    let Some((before, after)) = text.split_at_checked(at) else {
        return false;
    };
    let (Some(left), Some(right)) = (before.chars().next_back(), after.chars().next()) else {
        return true;
    };
    !(in_word(left) && in_word(right))
}

/// Whether it is of a word that has spaces around it: a letter, a digit or a mark of a script that puts
/// spaces between words.
#[must_use]
pub fn in_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    if !c.is_alphanumeric() {
        let category = CodePointMapData::<GeneralCategory>::new().get(c);
        return GeneralCategoryGroup::Mark.contains(category);
    }
    !matches!(
        CodePointMapData::<Script>::new().get(c),
        Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Bopomofo
            | Script::Hangul
            | Script::Yi
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
            | Script::Tibetan
    )
}
