//! Foreign programs against the real ones: the clients of contract §6 word for word, a browser, redis-cli, a
//! publisher and a job service of the old days.
//!
//! Never a client of our own where the point is that a foreign one works.

#[path = "interop/chromium.rs"]
mod chromium;
#[path = "interop/clients.rs"]
mod clients;
#[path = "interop/libraries.rs"]
mod libraries;
#[path = "interop/old_publisher.rs"]
mod old_publisher;
#[path = "interop/python_mare.rs"]
mod python_mare;
#[path = "interop/python_triton.rs"]
mod python_triton;
#[path = "interop/readers.rs"]
mod readers;
#[path = "interop/redis_cli.rs"]
mod redis_cli;
#[path = "e2e/tokens.rs"]
mod tokens;
