//! A demo client, so that a new system has something to generate templates from.

use std::sync::Arc;
use std::time::Duration;

use conch_ports::{Catalogue, ClientFilter, Error, Paging};
use conch_services::triton::records::Records;
use conch_wire::request::{NewClient, NewValueProposition};
use tokio_util::sync::CancellationToken;

const NAME: &str = "Northwind Health";
const INDUSTRY: &str = "Health benefits";
const VALUE_PROPOSITION: &str = "Our care management cuts avoidable emergency visits by 18 % and saves \
    $42 per member per month within 12 months, while nurses answer nine of ten calls in under 30 seconds.";

/// Creates the demo client if the catalogue has no clients, as soon as the store can be reached.
pub(crate) async fn seed(
    records: Records,
    catalogue: Arc<dyn Catalogue>,
    shutdown: CancellationToken,
) {
    let mut wait = Duration::from_millis(100);
    loop {
        match try_seed(&records, &catalogue).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "the demo client waits for the store"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            () = shutdown.cancelled() => return,
        }
    }
}

async fn try_seed(records: &Records, catalogue: &Arc<dyn Catalogue>) -> Result<(), Error> {
    let any = Paging {
        page: 1,
        page_size: 1,
    };
    if catalogue
        .clients(&ClientFilter::default(), any)
        .await?
        .total
        > 0
    {
        return Ok(());
    }
    let client = records
        .create_client(NewClient {
            name: NAME.to_owned(),
            industry: Some(INDUSTRY.to_owned()),
            meta_data: conch_domain::Metadata::default(),
        })
        .await?;
    records
        .add_value_proposition(
            &client.id,
            NewValueProposition {
                content: VALUE_PROPOSITION.to_owned(),
                is_active: true,
                meta_data: conch_domain::Metadata::default(),
            },
        )
        .await?;
    tracing::info!(client.id = %client.id, "created the demo client {NAME}");
    Ok(())
}
