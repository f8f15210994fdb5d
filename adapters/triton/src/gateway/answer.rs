//! What Triton's answers mean, whichever call they are to: done, not found, or nonsense.
//!
//! Never in here: what one call makes of it.

use conch_ports::{Document, Result};

use crate::protocol::{self, Item, List};
use crate::transport::Answer;

impl Answer<'_> {
    pub(super) fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// The answer, or the error that its status stands for.
    pub(super) fn expect_success(self) -> Result<Self> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.context.unexpected(self.status, &self.body))
        }
    }

    /// The answer, or none when Triton says that there is no such thing, or can't be. A 404 in another
    /// language than JSON comes from something that isn't Triton.
    pub(super) fn unless_not_found(self) -> Result<Option<Self>> {
        if self.refuses_id() {
            return Ok(None);
        }
        if !matches!(self.code(), 404 | 410) {
            return self.expect_success().map(Some);
        }
        self.check_not_found()?;
        Ok(None)
    }

    /// Whether it says that nothing can have the id in the request's path.
    pub(super) fn refuses_id(&self) -> bool {
        protocol::refuses_id(self.code(), &self.body, "path", &[])
    }

    /// The answer, or none when Triton says that nothing can have the id that the list is filtered by.
    pub(super) fn unless_none_match(self) -> Result<Option<Self>> {
        let ids = ["client_id", "job_id"];
        if protocol::refuses_id(self.code(), &self.body, "query", &ids) {
            return Ok(None);
        }
        self.expect_success().map(Some)
    }

    pub(super) fn check_not_found(&self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        protocol::object(&self.body)
            .map_err(|wrong| self.context.garbage(&format!("404 with {wrong}")))
    }

    pub(super) fn item(&self) -> Result<Item> {
        Item::parse(&self.body).map_err(|wrong| self.context.garbage(&wrong))
    }

    pub(super) fn list(&self, name: &str) -> Result<List> {
        List::parse(&self.body, name).map_err(|wrong| self.context.garbage(&wrong))
    }

    pub(super) fn document_of(&self, id: &str) -> Result<Document> {
        let item = self.item()?;
        if item.id() == id {
            Ok(item.into_document())
        } else {
            Err(self.context.garbage("a record of another id"))
        }
    }
}
