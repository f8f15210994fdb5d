//! What Conch is compared with or measured by, each in a process of its own: this program in another role,
//! or Node.
//!
//! None of them may do anything but what its first line says.

pub(crate) mod bullmq;
pub(crate) mod bus;
pub(crate) mod constant;
pub(crate) mod job_service;
pub(crate) mod worker;
pub(crate) mod write_loop;
