//! The bus on a real nats-server, as users with the least rights.

mod bad_settings;
mod detour;
mod listening;
mod rights;
mod server;
mod tls;
