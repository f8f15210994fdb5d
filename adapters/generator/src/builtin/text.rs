//! Shortens text of any language, never inside a grapheme (what a reader sees as one character).
//!
//! Lengths are in Unicode characters, as in the template's rules.

use unicode_segmentation::UnicodeSegmentation;

use super::dice::Dice;

/// Most characters of a client's name inside a title.
const NAME_MAX: usize = 40;
/// How many of them are taken from its end: names often differ only there.
const NAME_TAIL: usize = 12;

/// At most `max` characters, with an ellipsis in place of the rest.
pub(crate) fn cut(text: &str, max: usize) -> String {
    // Not counted to the end: the text may be long.
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut kept = head(text, max.saturating_sub(1)).trim_end().to_owned();
    kept.push('…');
    kept
}

/// The longest beginning of whole graphemes that has at most `max` characters.
fn head(text: &str, max: usize) -> &str {
    let mut chars = 0;
    let mut end = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        chars += grapheme.chars().count();
        if chars > max {
            break;
        }
        end = at + grapheme.len();
    }
    if end == 0 {
        // A single grapheme that is longer than the limit.
        end = text
            .char_indices()
            .nth(max)
            .map_or(text.len(), |(at, _)| at);
    }
    &text[..end]
}

/// The longest end of whole graphemes that has at most `max` characters.
fn tail(text: &str, max: usize) -> &str {
    let mut chars = 0;
    let mut start = text.len();
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        chars += grapheme.chars().count();
        if chars > max {
            break;
        }
        start = at;
    }
    &text[start..]
}

/// On one line, without control characters, with single spaces.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(1024));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// A client's name that fits into titles. A long name keeps its beginning and its end, with a tag between
/// them that distinguishes it from names that differ in the middle.
pub(crate) fn name_of(name: &str) -> String {
    let name = one_line(name);
    if name.is_empty() {
        return "This client".to_owned();
    }
    if name.chars().nth(NAME_MAX).is_none() {
        return name;
    }
    let tag = Dice::seeded(&[name.as_bytes()]).tag();
    let beginning = head(&name, NAME_MAX - NAME_TAIL - 2 - tag.len());
    let end = tail(&name, NAME_TAIL);
    format!("{}…{tag}…{}", beginning.trim_end(), end.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_graphemes() {
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 4), "e\u{301}…");
        assert_eq!(cut(&family.repeat(3), 16), format!("{}…", family.repeat(2)));
        assert_eq!(cut("再入院率を下げる", 5), "再入院率…");
        // More marks on one letter than fit: some are kept, within the limit.
        assert_eq!(
            cut(&format!("a{}", "\u{301}".repeat(50)), 5)
                .chars()
                .count(),
            5
        );
    }

    #[test]
    fn long_names_that_differ_stay_different() {
        let name = |middle: &str, end: &str| {
            let benefits = "Benefits ".repeat(10);
            name_of(&format!("{benefits}{middle} {benefits}{end}"))
        };
        assert_ne!(name("of", "North"), name("of", "South"));
        assert_ne!(name("North", "Inc."), name("South", "Inc."));
        assert_eq!(name("North", "Inc."), name("North", "Inc."));
        for odd in ["", " \n\u{7}", &"x".repeat(5000), &"👨‍👩‍👧‍👦".repeat(90)] {
            let name = name_of(odd);
            assert!((1..=NAME_MAX).contains(&name.chars().count()), "{name}");
        }
    }
}
