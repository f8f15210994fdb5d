//! The part of a widget's `config` that the rules look at.
//!
//! The object itself comes from the generator and is kept as JSON text. `wire` extracts the values of the
//! keys for which the widget's type has a rule. Never in here: JSON.

use super::metadata::Metadata;

/// A widget's presentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The whole object.
    pub object: Metadata,
    /// The keys with a rule for the widget's type, if the object has them.
    pub ruled: Vec<(&'static str, ConfigValue)>,
}

/// A value of `config`, as far as rules look at it.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigValue {
    /// A text.
    Text(String),
    /// Any number.
    Number,
    /// A list.
    List(Vec<ConfigValue>),
    /// An object, its keys in order.
    Object(Vec<(String, ConfigValue)>),
    /// `null`, `true` or `false`.
    Other,
}

/// What one key of `config` must be.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A list of at least this many entries.
    Items(usize),
    /// A list that is not empty.
    NotEmpty,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of at least two objects, each with a number `value` and a `#rrggbb` `color`.
    Thresholds,
    /// Absent, or as the inner rule says.
    Optional(&'static Rule),
}

impl Rule {
    /// Whether the key may be left out.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::Optional(_))
    }

    fn is_met_by(self, value: &ConfigValue) -> bool {
        match (self, value) {
            (Self::Optional(inner), value) => inner.is_met_by(value),
            (Self::Text, ConfigValue::Text(_)) | (Self::Number, ConfigValue::Number) => true,
            (Self::Items(least), ConfigValue::List(items)) => items.len() >= least,
            (Self::NotEmpty, ConfigValue::List(items)) => !items.is_empty(),
            (Self::OneOf(texts), ConfigValue::Text(text)) => texts.contains(&text.as_str()),
            (Self::Thresholds, ConfigValue::List(items)) => {
                items.len() >= 2 && items.iter().all(ConfigValue::is_threshold)
            }
            _ => false,
        }
    }

    /// The rule in words that follow "must be".
    fn words(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Items(least) => format!("a list of at least {least} entries"),
            Self::NotEmpty => "a list that is not empty".to_owned(),
            Self::OneOf(texts) => format!("one of {}", texts.join(", ")),
            Self::Thresholds => {
                "a list of at least 2 objects with a number `value` and a #rrggbb `color`"
                    .to_owned()
            }
            Self::Optional(inner) => inner.words(),
        }
    }
}

impl ConfigValue {
    fn is_threshold(&self) -> bool {
        let Self::Object(fields) = self else {
            return false;
        };
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, v)| v);
        matches!(field("value"), Some(Self::Number))
            && matches!(field("color"), Some(Self::Text(color)) if super::check::is_color(color))
    }
}

impl Config {
    /// The keys that break these rules, each with the rule in words.
    pub(super) fn faults(
        &self,
        rules: &'static [(&'static str, Rule)],
    ) -> impl Iterator<Item = (&'static str, String)> {
        rules.iter().filter_map(|(key, rule)| {
            let value = self.ruled.iter().find(|(name, _)| name == key);
            match value {
                None if rule.is_optional() => None,
                None => Some((*key, format!("is missing; it must be {}", rule.words()))),
                Some((_, value)) if rule.is_met_by(value) => None,
                Some(_) => Some((*key, format!("must be {}", rule.words()))),
            }
        })
    }
}
