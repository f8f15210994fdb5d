//! Template generators: the built-in composer and an external command.
//!
//! Never in here: retries (the worker does them), or a template that breaks the contract's rules.

pub mod builtin;
pub mod command;
