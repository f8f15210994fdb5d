//! What answers tell browsers about which pages may read them.

use std::time::Duration;

use http::{Method, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::stream::LAST_EVENT_ID;
use crate::idempotency_key;
use crate::origins::{Origins, is_loopback};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// The layer that answers preflights and marks answers.
pub(super) fn layer(origins: Origins) -> CorsLayer {
    let credentials = origins != Origins::Any;
    let allowed = match origins {
        Origins::Loopback => AllowOrigin::predicate(|origin, _| is_loopback(origin)),
        Origins::Only(origins) => AllowOrigin::list(origins),
        Origins::Any => AllowOrigin::from(Any),
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_credentials(credentials)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CACHE_CONTROL,
            header::CONTENT_TYPE,
            idempotency_key::HEADER,
            LAST_EVENT_ID,
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            idempotency_key::REPLAYED,
        ])
        .vary([header::ORIGIN])
        .max_age(PREFLIGHT_AGE)
}
