//! Clients and value propositions as Triton takes them in. Reads go to the catalogue directly.
//!
//! Never in here: a check of a field; the request was parsed at the edge.

use std::sync::Arc;

use conch_domain::{Client, ClientId, ValueProposition, ValuePropositionId};
use conch_ports::{Catalogue, Result};
use conch_wire::request::{NewClient, NewValueProposition};

use crate::{Clock, entropy};

/// Keeps the records of clients; a cheap handle.
#[derive(Clone)]
pub struct Records {
    catalogue: Arc<dyn Catalogue>,
    clock: Clock,
}

impl Records {
    /// Keeps them in `catalogue`.
    pub fn new(catalogue: Arc<dyn Catalogue>, clock: Clock) -> Self {
        Self { catalogue, clock }
    }

    /// Makes a client. Never tried again: a second try could make a second one.
    ///
    /// # Errors
    /// When the store is out of reach or has no room, or the quota is used up.
    pub async fn create_client(&self, new: NewClient) -> Result<Client> {
        let now = (self.clock)();
        let client = Client {
            id: ClientId::from_uuid(entropy::uuid(now)),
            name: new.name,
            industry: new.industry,
            meta_data: new.meta_data,
            created_at: now,
            updated_at: now,
        };
        self.catalogue.create_client(&client).await?;
        Ok(client)
    }

    /// Adds a value proposition; none when there is no such client.
    ///
    /// # Errors
    /// As [`Records::create_client`].
    pub async fn add_value_proposition(
        &self,
        client_id: &ClientId,
        new: NewValueProposition,
    ) -> Result<Option<ValueProposition>> {
        let now = (self.clock)();
        let value_proposition = ValueProposition {
            id: ValuePropositionId::from_uuid(entropy::uuid(now)),
            client_id: client_id.clone(),
            content: new.content,
            is_active: new.is_active,
            meta_data: new.meta_data,
            created_at: now,
            updated_at: now,
        };
        let added = self
            .catalogue
            .add_value_proposition(&value_proposition)
            .await?;
        Ok(added.then_some(value_proposition))
    }

    /// Switches a value proposition on or off; none when the client has no such one.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub async fn set_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
    ) -> Result<Option<ValueProposition>> {
        self.catalogue
            .set_value_proposition_active(client_id, id, is_active, (self.clock)())
            .await
    }
}
