//! What a text says: its words, and what it promises in numbers.
//!
//! Never in here: a regular expression, or work that grows faster than the text.

use std::collections::HashSet;

/// Most promises that are taken from one text.
const MAX_PROMISES: usize = 12;
/// Words that make a number a span of time or a sum.
const UNITS: &str =
    "percent million billion thousand second minute hour day week month year time point";

/// A number that the text promises, and where.
pub(crate) struct Promise {
    /// As written: `18%`, `$2.4 million`, `12 months`.
    pub(crate) figure: String,
    /// 0–1 when it is a percentage of at most 100.
    pub(crate) share: Option<f64>,
    /// The sentence around it.
    pub(crate) sentence: String,
    stems: HashSet<String>,
}

/// A text that was read.
pub(crate) struct Reading {
    stems: Vec<String>,
    pub(crate) promises: Vec<Promise>,
}

impl Reading {
    pub(crate) fn of(text: &str) -> Self {
        let mut promises = Vec::new();
        for sentence in sentences(text) {
            let words: Vec<&str> = sentence.split_whitespace().collect();
            for (i, word) in words.iter().enumerate() {
                if promises.len() == MAX_PROMISES {
                    break;
                }
                if let Some(figure) = figure(word, words.get(i + 1).copied()) {
                    let number = figure.trim_end_matches('%').trim_end_matches(" percent");
                    let share = (figure.ends_with('%') || figure.ends_with(" percent"))
                        .then(|| number.parse().ok())
                        .flatten()
                        .map(|n: f64| n / 100.0)
                        .filter(|share| *share <= 1.0);
                    promises.push(Promise {
                        share,
                        figure,
                        sentence: words.join(" "),
                        stems: stems(sentence).collect(),
                    });
                }
            }
        }
        Self {
            stems: stems(text).collect(),
            promises,
        }
    }

    /// How often the text has words that begin with one of these, at most 4.
    pub(crate) fn hits(&self, words: &str) -> u32 {
        let hit = |stem: &&String| words.split_whitespace().any(|w| begins(stem, w));
        self.stems.iter().filter(hit).take(4).count() as u32
    }
}

impl Promise {
    pub(crate) fn is_about(&self, words: &str) -> bool {
        words
            .split_whitespace()
            .any(|w| self.stems.iter().any(|stem| begins(stem, w)))
    }
}

/// Short words must match whole: `er` is no `error`.
fn begins(stem: &str, word: &str) -> bool {
    if word.len() <= 3 {
        stem == word
    } else {
        stem.starts_with(word)
    }
}

fn stems(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let word = word.to_lowercase();
            word.strip_suffix('s')
                .filter(|w| w.len() > 2)
                .unwrap_or(&word)
                .to_owned()
        })
}

/// Split at line ends and at punctuation that a space follows, so that `2.4` stays whole.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split(". "))
        .flat_map(|line| line.split(['!', '?', ';']))
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
}

fn figure(word: &str, next: Option<&str>) -> Option<String> {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric() && !"$€£%".contains(c));
    let number = word.trim_start_matches(['$', '€', '£']);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if !number.starts_with(|c: char| c.is_ascii_digit()) || digits > 12 || word.len() > 20 {
        return None;
    }
    let rest = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ',');
    let is_sum = number.len() < word.len();
    let next = next.map(|n| n.trim_matches(|c: char| !c.is_alphanumeric()));
    let unit = next.filter(|n| {
        let lower = n.to_lowercase();
        let lower = lower.strip_suffix('s').unwrap_or(&lower);
        UNITS.split_whitespace().any(|u| u == lower)
    });
    match (rest, unit) {
        ("", Some(unit)) => Some(format!("{word} {}", unit.to_lowercase())),
        ("%" | "x" | "k" | "K" | "M" | "B", _) => Some(word.to_owned()),
        ("", None) if is_sum => Some(word.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_promised() {
        for (text, expected) in [
            (
                "Cuts readmissions by 18% in 12 months.",
                vec!["18%", "12 months"],
            ),
            (
                "Saved $2.4 million, or ($3,100) each",
                vec!["$2.4 million", "$3,100"],
            ),
            ("a 25 percent drop; 3x faster", vec!["25 percent", "3x"]),
            ("In 2024 we had 7 offices", vec![]),
        ] {
            let figures: Vec<_> = Reading::of(text)
                .promises
                .into_iter()
                .map(|p| p.figure)
                .collect();
            assert_eq!(figures, expected, "{text}");
        }
    }

    #[test]
    fn words_match_by_their_stem() {
        let reading = Reading::of("Diabetic members' prior authorizations; no errors");
        assert_eq!(reading.hits("diabet"), 1);
        assert_eq!(reading.hits("authoriz prior"), 2);
        assert_eq!(reading.hits("er"), 0);
    }
}
