//! Clients and their value propositions.

use crate::{ClientId, Metadata, Timestamp, ValuePropositionId};

/// Fewest characters of a value proposition's content (contract §4).
const CONTENT_MIN: usize = 10;
/// Most characters of a value proposition's content.
const CONTENT_MAX: usize = 20_000;
/// Most characters of a client's name or industry.
const NAME_MAX: usize = 200;

/// Text that a record can't contain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have {min} to {max} characters")]
pub struct InvalidText {
    min: usize,
    max: usize,
}

fn check(text: &str, min: usize, max: usize) -> Result<String, InvalidText> {
    let text = text.trim();
    if (min..=max).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(InvalidText { min, max })
    }
}

/// A customer organisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// Its name, trimmed, 1 to 200 characters.
    pub name: String,
    /// Its industry, as the caller wrote it.
    pub industry: Option<String>,
    /// A JSON object from the caller, stored unchanged.
    pub meta_data: Metadata,
    /// When the record was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Client {
    /// Validates a name.
    ///
    /// # Errors
    /// When, trimmed, it is empty or longer than 200 characters.
    pub fn parse_name(text: &str) -> Result<String, InvalidText> {
        check(text, 1, NAME_MAX)
    }

    /// Validates an industry.
    ///
    /// # Errors
    /// When, trimmed, it is empty or longer than 200 characters.
    pub fn parse_industry(text: &str) -> Result<String, InvalidText> {
        check(text, 1, NAME_MAX)
    }
}

/// A client's claim about its own value: free text from which its dashboards are generated.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueProposition {
    /// Its id.
    pub id: ValuePropositionId,
    /// The client that it belongs to.
    pub client_id: ClientId,
    /// The text, trimmed, 10 to 20,000 characters.
    pub content: String,
    /// Whether a job may use it when its submission names none.
    pub is_active: bool,
    /// A JSON object from the caller, stored unchanged.
    pub meta_data: Metadata,
    /// When the record was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl ValueProposition {
    /// Validates a value proposition's text.
    ///
    /// # Errors
    /// When, trimmed, it has fewer than 10 or more than 20,000 characters.
    pub fn parse_content(text: &str) -> Result<String, InvalidText> {
        check(text, CONTENT_MIN, CONTENT_MAX)
    }
}
