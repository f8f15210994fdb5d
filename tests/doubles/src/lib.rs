//! What stands in for a port in a test, or between a port and its caller.
//!
//! - [`ScriptedTriton`]: a job service that answers what the test says.
//! - [`Faulty`]: any store port, with a [`Plan`] of the calls that fail or panic.
//! - [`FaultyMemory`]: the store in memory under such a plan.
//!
//! Never in here: anything that a program is built from. Only tests depend on this crate.

mod faulty;
mod memory;
mod plan;
mod scripted_triton;

pub use faulty::Faulty;
pub use memory::{Faults, FaultyMemory};
pub use plan::{Plan, When};
pub use scripted_triton::ScriptedTriton;
