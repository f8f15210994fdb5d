//! The table of problems: each one's stable name, its status and its title.
//!
//! Never in here: what is wrong this time. A code that was once published is never renamed.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// The stable names of all problems. A code's name and status never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The `code` member.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status that goes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The `title` member: the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The head can't be trusted (two hosts, two lengths).
    MalformedRequest = "malformed-request", BAD_REQUEST, "Malformed request";
    /// The target names another server than this one.
    MisdirectedRequest = "misdirected-request", MISDIRECTED_REQUEST, "Misdirected request";
    /// The head is longer than we take.
    HeadTooLarge =
        "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Request head too large";
    /// The body comes in a transfer coding that we don't know.
    UnsupportedTransferCoding =
        "unsupported-transfer-coding", NOT_IMPLEMENTED, "Unsupported transfer coding";
    /// The body is no JSON that we take.
    MalformedJson = "malformed-json", BAD_REQUEST, "Malformed JSON";
    /// The path holds no job id.
    InvalidJobId = "invalid-job-id", BAD_REQUEST, "Invalid job id";
    /// The path holds no client id.
    InvalidClientId = "invalid-client-id", BAD_REQUEST, "Invalid client id";
    /// The path holds no value proposition id.
    InvalidValuePropositionId =
        "invalid-value-proposition-id", BAD_REQUEST, "Invalid value proposition id";
    /// The path holds no template id.
    InvalidTemplateId = "invalid-template-id", BAD_REQUEST, "Invalid template id";
    /// No or no valid credentials.
    Unauthorized = "unauthorized", UNAUTHORIZED, "Unauthorized";
    /// A token that isn't taken.
    InvalidToken = "invalid-token", UNAUTHORIZED, "Invalid token";
    /// A token whose time is over.
    ExpiredToken = "expired-token", UNAUTHORIZED, "Expired token";
    /// A ticket that opens nothing, or not this.
    InvalidTicket = "invalid-ticket", UNAUTHORIZED, "Invalid ticket";
    /// A token without the scope that this needs.
    InsufficientScope = "insufficient-scope", FORBIDDEN, "Insufficient scope";
    /// Valid credentials that don't allow it.
    Forbidden = "forbidden", FORBIDDEN, "Forbidden";
    /// No such path.
    NotFound = "not-found", NOT_FOUND, "Not found";
    /// No such job.
    JobNotFound = "job-not-found", NOT_FOUND, "Job not found";
    /// No such client.
    ClientNotFound = "client-not-found", NOT_FOUND, "Client not found";
    /// No such template.
    TemplateNotFound = "template-not-found", NOT_FOUND, "Template not found";
    /// No such value proposition, or the client has no active one.
    ValuePropositionNotFound = "value-proposition-not-found", NOT_FOUND, "Value proposition not found";
    /// The path has no such method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// `Accept` excludes what there is.
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE, "Not acceptable";
    /// The body came too slowly.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "Body timeout";
    /// The job has ended: too late to cancel it.
    JobEnded = "job-ended", CONFLICT, "Job has ended";
    /// The job is known, its events are gone.
    EventsExpired = "events-expired", GONE, "Events have expired";
    /// The body is longer than we take.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "Body too large";
    /// The body isn't declared as JSON.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// A field or parameter doesn't validate; `errors` names it.
    InvalidField = "invalid-field", UNPROCESSABLE_ENTITY, "Invalid field";
    /// The idempotency key came before with another body.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused";
    /// A quota or rate is used up.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    /// A defect of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
    /// Triton is out of reach.
    UpstreamUnavailable = "upstream-unavailable", BAD_GATEWAY, "Upstream unavailable";
    /// Triton answers nonsense.
    UpstreamBadResponse = "upstream-bad-response", BAD_GATEWAY, "Bad response of the upstream";
    /// Triton doesn't answer in time.
    UpstreamTimeout = "upstream-timeout", GATEWAY_TIMEOUT, "Upstream timeout";
    /// The store is out of reach.
    StoreUnavailable = "store-unavailable", SERVICE_UNAVAILABLE, "Store unavailable";
    /// The store answers nonsense: to try again does not help.
    StoreBadResponse = "store-bad-response", INTERNAL_SERVER_ERROR, "Bad response of the store";
    /// Too many unfinished requests at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Overloaded";
    /// The store has no room.
    StoreFull = "store-full", SERVICE_UNAVAILABLE, "Store full";
    /// The store doesn't answer in time.
    StoreTimeout = "store-timeout", GATEWAY_TIMEOUT, "Store timeout";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
