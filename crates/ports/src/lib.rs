//! What the services need from outside, one file per port. The trait docs are laws: each MUST has a
//! test of the same name in `conch-conformance`, and every adapter runs them.
//!
//! Never in here: the name of a technology, an encoding, a policy.

mod bucket;
mod catalogue;
mod commit;
mod error;
mod event_bus;
mod job_log;
mod job_queue;
mod queue_place;
mod quota;
mod result_cache;
mod template_generator;
mod ticket_store;
mod triton_gateway;

pub use bucket::{Bucket, Stamp};
pub use catalogue::{
    Catalogue, ClientFilter, JobFilter, Page, Paging, PutTemplate, TemplateFilter,
};
pub use commit::{
    Appended, Commit, EVENT_IDS_REMEMBERED, Fence, MAX_COMMIT_EVENTS, MAX_COMMIT_TEMPLATES,
    NewEvent, QueueEffect,
};
pub use error::{Error, ErrorKind, Result};
pub use event_bus::{Announcement, BusId, Carries, Channel, EventBus, Message, Signal, Signals};
pub use job_log::{Entry, Guarantees, JobLog, Log, MAX_POSITIONS};
pub use job_queue::{Claimed, Idempotency, JobQueue, Lease, Submission, Submitted, Sweep, Swept};
pub use queue_place::{EXACT_PLACES, MAX_PLACES_ASKED, QueuePlace, Rotation};
pub use quota::{EVENT_OVERHEAD, Quota, Quotas, Weighed};
#[cfg(feature = "testing")]
pub use result_cache::MockResultCache;
pub use result_cache::{MAX_RESULT_BYTES, ResultCache};
#[cfg(feature = "testing")]
pub use template_generator::MockTemplateGenerator;
pub use template_generator::{Brief, TemplateGenerator};
pub use ticket_store::{TicketHash, TicketStore};
#[cfg(feature = "testing")]
pub use triton_gateway::MockTritonGateway;
pub use triton_gateway::{Cancelled, Document, NewJob, Requested, TritonGateway};
