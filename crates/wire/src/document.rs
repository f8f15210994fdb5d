//! A look at a record that is otherwise passed on unread: whose it is, and what lists are ordered by.
//!
//! What can't be read is absent: a record that doesn't say whose it is has no owner.

use std::borrow::Cow;

use conch_domain::{ClientId, Timestamp};
use serde::Deserialize;

use crate::time;

/// What of a record decides who sees it and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Its own id; empty when it has none.
    pub id: String,
    /// Whose it is.
    pub client_id: Option<ClientId>,
    /// A client's industry.
    pub industry: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    industry: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    created_at: Option<Cow<'a, str>>,
}

/// Looks at the text of a record.
pub fn look(text: &[u8]) -> Look {
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(text) else {
        return Look::default();
    };
    Look {
        id: fields.id.unwrap_or_default().into_owned(),
        client_id: fields.client_id.and_then(|id| id.parse().ok()),
        industry: fields.industry.map(Cow::into_owned),
        created_at: fields.created_at.and_then(|at| time::parse(&at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_record_is() {
        let client = |text: &str| look(text.as_bytes()).client_id.map(|id| id.to_string());
        for (text, expected) in [
            (
                r#"{"id":"t","client_id":"c\u0031","x":[{"client_id":"no"}]}"#,
                Some("c1"),
            ),
            (r#"{"id":"t","client_id":null}"#, None),
            (r#"{"id":"t"}"#, None),
            // Not one word of what contradicts itself is believed.
            (r#"{"client_id":"a","client_id":"b"}"#, None),
            (r#"{"client_id":7}"#, None),
            (r#"{"client_id":"a b"}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(client(text).as_deref(), expected, "{text}");
        }
    }
}
