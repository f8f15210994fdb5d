//! Analyses a value proposition: the metrics that its words suggest, the numbers that it promises, and a few
//! quotations. The result (a reading) is small, however long the text, and is made once per job.
//!
//! Never in here: a regular expression, or work that grows faster than the text.

use std::collections::HashMap;

use super::figure::{self, CURRENCIES, UNITS};
use super::library::{HEALTH, METRICS};
use super::text::{cut, one_line};

/// Most promises extracted from one text.
const MAX_PROMISES: usize = 12;
/// Most sentences kept as quotations, and most topics.
const MAX_QUOTES: usize = 4;
/// Most characters of a quotation.
const QUOTE_CHARS: usize = 200;
/// Most characters of a word that is considered, and of a topic.
const WORD_CHARS: usize = 32;
/// Long words that say nothing about the topic.
const COMMON: &str = "their there these those which while where about through within between other every \
    would could should after before because being under across without against during";

/// The effect of a promised percentage on a metric; as a fraction of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// `by 18%`
    By(f64),
    /// `to 91%`
    To(f64),
}

/// A number that the text promises, and its place.
#[derive(Debug)]
pub(crate) struct Promise {
    /// As written: `18%`, `$2.4 million`, `12 months`.
    pub(crate) figure: String,
    is_percent: bool,
    /// If it is a percentage of at most 100.
    pub(crate) aim: Option<Aim>,
    /// The sentence around it.
    pub(crate) sentence: String,
    /// Per metric of the library: whether the sentence is about it.
    about: Vec<bool>,
}

/// The result of analysing a text.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) promises: Vec<Promise>,
    /// Words that represent the text's topic, the most frequent first.
    pub(crate) topics: Vec<String>,
    /// Sentences to quote.
    pub(crate) quotes: Vec<String>,
    /// Per metric of the library: how often the text and the industry suggest it.
    calls: Vec<u32>,
    /// Per metric of the library: the promise about it, by its place in `promises`.
    promised: Vec<Option<usize>>,
    /// Whether it is about health at all.
    pub(crate) is_health: bool,
}

impl Reading {
    pub(crate) fn of(text: &str, industry: &str) -> Self {
        let stems = Stems::of(text);
        let industry = Stems::of(industry);
        let mut promises = Vec::new();
        let mut quotes = Vec::new();
        for sentence in sentences(text) {
            if quotes.len() < MAX_QUOTES && sentence.chars().nth(9).is_some() {
                quotes.push(cut(&one_line(cut_early(sentence)), QUOTE_CHARS));
            }
            find_promises(sentence, &mut promises);
            if promises.len() == MAX_PROMISES && quotes.len() == MAX_QUOTES {
                break;
            }
        }
        Self {
            topics: topics(text, &quotes),
            promised: (0..METRICS.len())
                .map(|metric| promise_about(&promises, metric))
                .collect(),
            promises,
            quotes,
            calls: METRICS
                .iter()
                .map(|metric| 2 * stems.hits(metric.words) + industry.hits(metric.words))
                .collect(),
            is_health: stems.hits(HEALTH) + industry.hits(HEALTH) > 0,
        }
    }

    /// How strongly the text suggests the metric with this index in the library.
    pub(crate) fn calls_for(&self, metric: usize) -> u32 {
        self.calls[metric]
    }

    /// The promise about the metric with this index in the library.
    pub(crate) fn promise_about(&self, metric: usize) -> Option<&Promise> {
        self.promised[metric].map(|at| &self.promises[at])
    }
}

/// The promise about that metric: the first one in the metric's own unit or, if there is none, the first percentage.
/// A promise in months says nothing about money.
fn promise_about(promises: &[Promise], metric: usize) -> Option<usize> {
    let first_in = |unit| {
        let mut promises = promises.iter();
        promises.position(|promise| promise.about[metric] && promise.is_in(unit))
    };
    first_in(METRICS[metric].unit).or_else(|| first_in("%"))
}

impl Promise {
    /// Whether its number has this unit of the library.
    fn is_in(&self, unit: &str) -> bool {
        match unit {
            "%" => self.is_percent,
            "USD" => self.figure.starts_with(CURRENCIES),
            // `months` matches both `12 months` and `1 month`.
            unit => self.figure.contains(unit.trim_end_matches('s')),
        }
    }
}

/// The words of a text, sorted, to look up by their beginnings.
struct Stems(Vec<(String, u32)>);

impl Stems {
    fn of(text: &str) -> Self {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for word in words(text) {
            let word = word.to_lowercase();
            let stem = word.strip_suffix('s').filter(|w| w.len() > 2);
            *counts.entry(stem.unwrap_or(&word).to_owned()).or_default() += 1;
        }
        let mut stems: Vec<_> = counts.into_iter().collect();
        stems.sort_unstable();
        Self(stems)
    }

    /// How many words begin with one of these, at most 4. Short stems must match the whole word: `er` is not
    /// `error`.
    fn hits(&self, beginnings: &str) -> u32 {
        let mut hits = 0;
        for beginning in beginnings.split_whitespace() {
            let from = self
                .0
                .partition_point(|(stem, _)| stem.as_str() < beginning);
            for (stem, count) in &self.0[from..] {
                let matches = if beginning.len() <= 3 {
                    stem == beginning
                } else {
                    stem.starts_with(beginning)
                };
                if !matches || hits >= 4 {
                    break;
                }
                hits += count;
            }
        }
        hits.min(4)
    }
}

/// Words of the text; overlong ones are skipped.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '-')
        .map(|word| word.trim_matches('-'))
        .filter(|word| !word.is_empty() && word.chars().nth(WORD_CHARS).is_none())
}

/// Splits at line breaks, at marks that end a sentence in one of several scripts, and at a full stop that is
/// followed by a space, so that `2.4` stays whole.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split([
        '\n', '\r', '!', '?', ';', '。', '！', '？', '；', '।', '؟', '۔',
    ])
    .flat_map(|line| line.split(". "))
    .map(str::trim)
    .filter(|sentence| !sentence.is_empty())
}

/// As much of a text as a quotation can need.
fn cut_early(text: &str) -> &str {
    let end = text.char_indices().nth(4 * QUOTE_CHARS);
    end.map_or(text, |(at, _)| &text[..at])
}

/// The text's topics: its most frequent long words or, if it has none (scripts without spaces), the
/// beginnings of its sentences.
fn topics(text: &str, quotes: &[String]) -> Vec<String> {
    let mut found: HashMap<String, (u32, usize)> = HashMap::new();
    for (at, word) in words(text).enumerate() {
        let is_long = word.chars().nth(4).is_some() && word.chars().all(char::is_alphabetic);
        if is_long {
            found.entry(word.to_lowercase()).or_insert((0, at)).0 += 1;
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    let says_nothing = |word: &str| {
        let stem = word.strip_suffix('s').unwrap_or(word);
        let mut words = COMMON.split_whitespace().chain(UNITS.split_whitespace());
        words.any(|common| common == word || common == stem)
    };
    found.retain(|(word, _)| !says_nothing(word));
    found.sort_by(|(_, a), (_, b)| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut topics: Vec<String> = found.into_iter().map(|(word, _)| word).collect();
    topics.truncate(MAX_QUOTES);
    if topics.is_empty() {
        topics.extend(quotes.iter().map(|quote| cut(quote, 24)));
    }
    topics
}

/// The numbers of a sentence that promise something.
fn find_promises(sentence: &str, promises: &mut Vec<Promise>) {
    let mut about: Option<Vec<bool>> = None;
    let mut after = 0;
    let mut previous = None;
    for (at, c) in sentence.char_indices() {
        if promises.len() == MAX_PROMISES {
            return;
        }
        let begins = at >= after && figure::begins(c, previous);
        previous = Some(c);
        if !begins {
            continue;
        }
        let (end, figure) = figure::read(sentence, at);
        after = end;
        let Some((figure, number, is_percent)) = figure else {
            continue;
        };
        let share = is_percent
            .then_some(number / 100.0)
            .filter(|share| (0.0..=1.0).contains(share));
        let is_level = sentence[..at].ends_with(" to ");
        let aim = share.map(if is_level { Aim::To } else { Aim::By });
        let window = around(sentence, at);
        let about = about.get_or_insert_with(|| {
            let stems = Stems::of(window);
            let hit = |words| stems.hits(words) > 0;
            METRICS.iter().map(|metric| hit(metric.words)).collect()
        });
        promises.push(Promise {
            figure,
            is_percent,
            aim,
            sentence: cut(&one_line(window), QUOTE_CHARS),
            about: about.clone(),
        });
    }
}

/// The sentence or, if it is very long, the part around the place.
fn around(sentence: &str, at: usize) -> &str {
    let boundary = |mut place: usize| {
        while !sentence.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    let start = if at > 3 * QUOTE_CHARS {
        boundary(at - QUOTE_CHARS / 2)
    } else {
        0
    };
    &sentence[start..boundary((at + 4 * QUOTE_CHARS).min(sentence.len()))]
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
            ("In 2024 we had 7 offices and A1c 9", vec![]),
            ("在12个月内将再入院率降低18%。", vec!["12个月", "18%"]),
            ("خفض إعادة الدخول بنسبة ١٨٪", vec!["١٨٪"]),
            ("再入院を１８％削減", vec!["１８％"]),
            (
                "Senkt Kosten um 12 Prozent in 6 Monaten",
                vec!["12 Prozent", "6 Monaten"],
            ),
            ("1234567890123 months, 1.2.3 days", vec![]),
        ] {
            let figures: Vec<_> = Reading::of(text, "")
                .promises
                .into_iter()
                .map(|p| p.figure)
                .collect();
            assert_eq!(figures, expected, "{text}");
        }
        let text = "We cut 30-day readmissions by 18% within 12 months and save $2.4 million. \
            Prior authorization takes 6 hours.";
        let reading = Reading::of(text, "");
        let promised = |key: &str| {
            let at = METRICS.iter().position(|metric| metric.key == key);
            Some(reading.promise_about(at?)?.figure.as_str())
        };
        assert_eq!(promised("readmissions"), Some("18%"));
        assert_eq!(promised("savings"), Some("$2.4 million"));
        assert_eq!(promised("prior_auth"), Some("6 hours"));
        assert_eq!(promised("uptime"), None);
        let aim = |text| Reading::of(text, "").promises[0].aim;
        assert_eq!(aim("by ١٨٪"), Some(Aim::By(0.18)));
        assert_eq!(aim("raised to 91%"), Some(Aim::To(0.91)));
        assert_eq!(aim("by 250%"), None);
    }

    #[test]
    fn words_match_by_their_stem() {
        let stems = Stems::of("Diabetic members' prior authorizations; no errors");
        assert_eq!(stems.hits("diabet"), 1);
        assert_eq!(stems.hits("authoriz prior"), 2);
        assert_eq!(stems.hits("er"), 0);
    }

    #[test]
    fn a_reading_is_small_however_long_the_text() {
        for text in [
            "a".repeat(100_000),
            "5% ".repeat(40_000),
            "漢字".repeat(40_000),
        ] {
            let reading = Reading::of(&text, &text);
            assert!(reading.promises.len() <= MAX_PROMISES);
            let kept = reading.promises.iter().map(|p| &p.sentence);
            for quote in kept.chain(&reading.quotes).chain(&reading.topics) {
                assert!(quote.chars().count() <= QUOTE_CHARS);
            }
        }
    }
}
