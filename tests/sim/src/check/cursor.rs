//! Where a watcher stands, as the ids say it.

/// Where a watcher stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cursor {
    Beginning,
    After(String, u64),
    Unusable,
    /// There is no log, and it knows: its record was lost, or a result without a log said how it ended.
    Lost,
}

impl Cursor {
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text {
            None => Self::Beginning,
            Some("lost-0" | "ended-0") => Self::Lost,
            Some(text) => position(text).map_or(Self::Unusable, |(e, s)| Self::After(e, s)),
        }
    }
}

/// `<epoch>-<sequence>`
pub(super) fn position(text: &str) -> Option<(String, u64)> {
    let (epoch, sequence) = text.split_once('-')?;
    let sequence = sequence.parse().ok()?;
    (epoch.len() == 8).then(|| (epoch.to_owned(), sequence))
}
