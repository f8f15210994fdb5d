//! Mare's side: [`hub`] (fan-out), [`ingest`] (what comes in on the channels), [`reconcile`] (what
//! Triton knows and a log doesn't), [`lookup`] (cache first), [`edge_cancel`], [`access`] (what a
//! caller may see), [`submissions`] (how often one may submit), [`tickets`].
//!
//! Never in here: a decision about a job of our own. Triton and its workers make those.

pub mod access;
mod backlog;
pub mod edge_cancel;
mod folds;
mod following;
pub mod hub;
pub mod ingest;
pub mod lookup;
mod offer;
mod origins;
pub mod reconcile;
mod results;
pub mod submissions;
pub mod tickets;
