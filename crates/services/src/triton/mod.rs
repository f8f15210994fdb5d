//! Triton's side: [`submit`], [`cancel`], and [`records`] (what the catalogue holds).
//!
//! Never in here: running a job. That is the worker's.

pub mod cancel;
pub mod records;
pub mod submit;
