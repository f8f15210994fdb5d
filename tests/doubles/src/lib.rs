//! What stands in for a port in a test: [`ScriptedTriton`], a job service that answers what the test says.
//!
//! Never in here: anything that a program is built from. Only tests depend on this crate.

mod scripted_triton;

pub use scripted_triton::ScriptedTriton;
