//! Characters that common line readers take for the end of a line, though `text/event-stream` and JSON
//! don't: U+000B, U+000C, U+001C–U+001E, U+0085, U+2028 and U+2029 (Python's `str.splitlines`, and with it
//! `httpx`'s `iter_lines`). In JSON they can only stand within a string, where an escape means the same.
//!
//! Never in here: CR and LF, which can't stand within a JSON string.

use std::borrow::Cow;

/// The character that `bytes` begin with, if it is one of them, and its length in UTF-8.
fn first(bytes: &[u8]) -> Option<(u16, usize)> {
    match *bytes {
        [control @ (0x0b | 0x0c | 0x1c..=0x1e), ..] => Some((u16::from(control), 1)),
        [0xc2, 0x85, ..] => Some((0x85, 2)),
        [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => Some((0x2028 + u16::from(last - 0xa8), 3)),
        _ => None,
    }
}

/// The same JSON text with these characters escaped. Borrows where there are none, as almost always.
pub(crate) fn escaped(json: &[u8]) -> Cow<'_, [u8]> {
    let Some(at) = position(json) else {
        return Cow::Borrowed(json);
    };
    let mut out = Vec::with_capacity(json.len() + 16);
    let (mut clean, mut rest) = json.split_at(at);
    loop {
        out.extend_from_slice(clean);
        let Some((character, length)) = first(rest) else {
            return Cow::Owned(out);
        };
        out.extend_from_slice(format!("\\u{character:04x}").as_bytes());
        rest = &rest[length..];
        (clean, rest) = rest.split_at(position(rest).unwrap_or(rest.len()));
    }
}

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Whether one of them may begin with this byte.
fn is_suspicious(byte: u8) -> bool {
    matches!(byte, 0x0b | 0x0c | 0x1c..=0x1e | 0xc2 | 0xe2)
}

fn position(json: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // A whole block at once, without a branch: most text has none, and this looks at all that is written.
        let blocks = json[from..].chunks_exact(BLOCK);
        let clean = blocks.take_while(|block| {
            !block
                .iter()
                .fold(false, |found, byte| found | is_suspicious(*byte))
        });
        from += clean.count() * BLOCK;
        let at = from + json[from..].iter().position(|byte| is_suspicious(*byte))?;
        if first(&json[at..]).is_some() {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_escaped_and_means_the_same() {
        let all = "\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}";
        for text in [
            all.to_owned(),
            format!("\u{85}é€\u{e2}{all}ü\u{2027}\u{202a}\u{84}"),
        ] {
            let raw = format!("{{\"name\":\"{text}\"}}");
            let escaped = escaped(raw.as_bytes());
            let escaped = str::from_utf8(&escaped).expect("UTF-8");
            for character in all.chars() {
                assert!(!escaped.contains(character), "{escaped:?}");
            }
            let read: serde_json::Value = serde_json::from_str(escaped).expect("JSON");
            assert_eq!(read["name"], *text);
        }
    }

    #[test]
    fn they_are_found_wherever_they_stand() {
        for before in 0..=3 * BLOCK {
            let text = format!("{}\u{2028}{}\u{85}", "x".repeat(before), "é".repeat(before));
            let expected = text
                .replace('\u{2028}', "\\u2028")
                .replace('\u{85}', "\\u0085");
            let found = escaped(text.as_bytes());
            assert_eq!(str::from_utf8(&found), Ok(&*expected), "after {before}");
        }
    }

    #[test]
    fn what_has_none_is_not_copied() {
        for text in ["", "{}", "é€â\u{80}\u{2030}", "\t\u{7f}"] {
            assert!(
                matches!(escaped(text.as_bytes()), Cow::Borrowed(_)),
                "{text:?}"
            );
        }
    }
}
