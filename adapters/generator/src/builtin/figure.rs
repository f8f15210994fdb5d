//! Recognises a number that promises something in a sentence: `18%`, `$2.4 million`, `12 Monaten`.
//!
//! Never in here: what the number refers to.

use super::text::one_line;

/// Longest unit.
const UNIT_BYTES: usize = 32;
/// Words that turn a number into a period or an amount, in lower case and without a plural `s`.
pub(super) const UNITS: &str = "percent million billion thousand second minute hour day week month year time point \
    prozent millionen milliarden monate monaten tage tagen stunden wochen jahre jahren \
    mois jour semaine heure an milliard millone mese meses día dia hora semana año ano porciento";
/// The same for scripts without spaces between words.
const SUFFIXES: [&str; 12] = [
    "倍", "天", "个月", "個月", "か月", "ヶ月", "小时", "小時", "時間", "万", "亿", "億",
];
pub(super) const CURRENCIES: [char; 5] = ['$', '€', '£', '¥', '₹'];

/// Whether a figure begins with this character, given the previous one.
pub(super) fn begins(c: char, previous: Option<char>) -> bool {
    digit(c).is_some() && !continues_word(previous)
}

/// Reads the figure that begins with the digit at `at`: where it ends and, if it promises something, its
/// text, its value and whether it is a percentage.
pub(super) fn read(sentence: &str, at: usize) -> (usize, Option<(String, f64, bool)>) {
    let mut plain = String::new();
    let mut end = sentence.len();
    for (offset, c) in sentence[at..].char_indices() {
        match digit(c) {
            Some(value) => plain.extend(char::from_digit(value, 10)),
            None if c == '.' || c == '٫' => plain.push('.'),
            None if c == ',' || c == '٬' => {}
            None => {
                end = at + offset;
                break;
            }
        }
    }
    let mut start = at;
    let before = sentence[..at].chars().next_back();
    let is_sum = before.is_some_and(|c| CURRENCIES.contains(&c));
    if is_sum {
        start -= before.map_or(0, char::len_utf8);
    }
    let whole = sentence[start..end].trim_end_matches(['.', ',']);
    let digits_end = start + whole.len();
    let number: f64 = plain.trim_end_matches('.').parse().unwrap_or(f64::NAN);
    if plain.len() > 12 || number.is_nan() {
        return (end, None);
    }
    let rest = &sentence[digits_end..];
    let blanks = rest.len() - rest.trim_start_matches([' ', '\u{a0}']).len();
    let unit = &rest[blanks..];
    let told = |length: usize, is_percent: bool| {
        let end = digits_end + length;
        (
            end,
            Some((one_line(&sentence[start..end]), number, is_percent)),
        )
    };
    if let Some(sign) = unit
        .chars()
        .next()
        .filter(|c| matches!(c, '%' | '％' | '٪'))
    {
        return told(blanks + sign.len_utf8(), true);
    }
    if let Some(suffix) = SUFFIXES.iter().find(|suffix| unit.starts_with(**suffix)) {
        return told(blanks + suffix.len(), false);
    }
    let word_length = unit
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(unit.len());
    let word = &unit[..word_length];
    if blanks == 0 && matches!(word, "x" | "k" | "K" | "M" | "B") {
        return told(word.len(), false);
    }
    let lower = word.to_lowercase();
    let stem = lower.strip_suffix('s').unwrap_or(&lower);
    let is_unit = |unit: &str| unit == stem || unit == lower;
    if !word.is_empty() && word.len() <= UNIT_BYTES && UNITS.split_whitespace().any(is_unit) {
        let is_percent = matches!(stem, "percent" | "prozent" | "porciento");
        return told(blanks + word.len(), is_percent);
    }
    if is_sum { told(0, false) } else { (end, None) }
}

/// `A1c`, `v2`, `1,5`: the digit belongs to the characters before it.
fn continues_word(previous: Option<char>) -> bool {
    previous.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ',' | '-' | '_' | '#'))
}

/// Decimal digits of scripts with positional numbers.
fn digit(c: char) -> Option<u32> {
    let zeros = ['0', '٠', '۰', '०', '０'];
    zeros.into_iter().find_map(|zero| {
        let value = u32::from(c).checked_sub(u32::from(zero))?;
        (value < 10).then_some(value)
    })
}
