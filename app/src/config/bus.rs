//! Which bus: what `BUS_URL` says, and if it says nothing the store's own.
//!
//! Never in here: which store it is; `store` decides that first.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use conch_ports::{Carries, EventBus};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::store::{Store, is_memory};
use super::{Error, Program, Source, redis, scheme, seconds};

/// Where events are announced.
#[derive(Clone)]
pub enum Bus {
    /// Where the store is, in the step that appends.
    OfStore,
    /// On NATS, in a step of its own.
    Nats(Box<conch_nats::Settings>),
}

/// The bus goes with that store, and with the program's `takes_external` events. Another bus is a scheme here.
pub(super) fn read(
    program: Program,
    source: &Source,
    store: &Store,
    takes_external: bool,
) -> Result<Bus, Error> {
    let Some(url) = source.text("BUS_URL") else {
        return Ok(Bus::OfStore);
    };
    let own = match store {
        Store::Memory(_) => is_memory(url),
        Store::Redis(redis) => url.trim() == redis.url.trim(),
    };
    if own {
        return Ok(Bus::OfStore);
    }
    let (bus, built) = match scheme(url).as_str() {
        "nats" | "tls" => in_nats(source, url)?,
        other => return Err(Error::new("BUS_URL", no_bus(url, other))),
    };
    suits(built.carries(), program, takes_external)?;
    Ok(bus)
}

/// Why that is no bus for this store.
fn no_bus(url: &str, scheme: &str) -> &'static str {
    match scheme {
        _ if is_memory(url) => {
            "can be `memory:` only where the store is too: no other process would hear of an event"
        }
        scheme if redis::SCHEMES.contains(&scheme) => {
            "names a Redis that isn't the store, which isn't built in: leave it unset"
        }
        "postgres" | "postgresql" => "names PostgreSQL, which isn't built in",
        "sqlite" => "names SQLite, which is a store and no bus: it belongs in STORE_URL",
        _ => "must be the same as STORE_URL, the URL of NATS, nats://… or tls://…, or unset",
    }
}

/// What a bus must carry for what the settings ask of it.
fn suits(carries: Carries, program: Program, takes_external: bool) -> Result<(), Error> {
    let wrong = if !carries.shared && program != Program::AllInOne {
        "names a bus that only one process hears: only `conch run`, which is one process, can use it"
    } else if !carries.external && takes_external {
        "names a bus that can't carry events of external publishers: set FOREIGN_EVENTS=ignore"
    } else {
        return Ok(());
    };
    Err(Error::new("BUS_URL", wrong))
}

/// Whether an address is one of NATS. Several are separated by commas.
pub(super) fn is_nats(url: &str) -> bool {
    matches!(scheme(url).as_str(), "nats" | "tls")
}

/// The settings of NATS, checked by building with them, which connects to nothing.
fn in_nats(source: &Source, url: &str) -> Result<(Bus, Arc<dyn EventBus>), Error> {
    let mut kit = conch_nats::KitSettings::default();
    kit.probe_interval = source.parse("NATS_PROBE_SECONDS", kit.probe_interval, seconds)?;
    kit.probe_timeout = source.parse("NATS_TIMEOUT_SECONDS", kit.probe_timeout, seconds)?;
    let nats = conch_nats::Settings {
        url: url.trim().to_owned(),
        credentials: source.text("NATS_CREDENTIALS").map(str::to_owned),
        authorities: authorities(source)?,
        prefix: source.text("CHANNEL_PREFIX").unwrap_or("triton").to_owned(),
        kit,
    };
    let built = nats.clone().build().map_err(|e| wrong(&e))?;
    Ok((Bus::Nats(Box::new(nats)), built))
}

/// The file of whom to trust, which the adapter reads itself each time that it connects.
fn authorities(source: &Source) -> Result<Option<PathBuf>, Error> {
    const NAME: &str = "NATS_CA_FILE";
    let Some(text) = source.file(NAME)? else {
        return Ok(None);
    };
    let mut found = CertificateDer::pem_slice_iter(&text).peekable();
    if found.peek().is_none() || found.any(|certificate| certificate.is_err()) {
        return Err(Error::new(
            NAME,
            "names a file that holds no certificates in PEM",
        ));
    }
    Ok(source.text(NAME).map(PathBuf::from))
}

/// The adapter's words, under the name of the variable.
fn wrong(error: &conch_nats::InvalidSettings) -> Error {
    let name = match error.setting() {
        "credentials" => "NATS_CREDENTIALS",
        "prefix" => "CHANNEL_PREFIX",
        _ => "BUS_URL",
    };
    Error::new(name, error.reason())
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what is in it: an address may hold a password.
        f.write_str(match self {
            Self::OfStore => "OfStore",
            Self::Nats(_) => "Nats",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Carries = Carries {
        lines: true,
        ephemeral: true,
        external: true,
        max_bytes: 1,
        shared: true,
    };

    #[test]
    fn a_bus_must_carry_what_the_settings_ask_of_it() {
        let (private, closed) = (
            Carries {
                shared: false,
                ..ALL
            },
            Carries {
                external: false,
                ..ALL
            },
        );
        for (carries, program, takes_external, refused) in [
            (ALL, Program::Api, true, None),
            (closed, Program::Api, false, None),
            (closed, Program::Api, true, Some("FOREIGN_EVENTS=ignore")),
            (private, Program::AllInOne, true, None),
            (private, Program::Worker, false, Some("one process")),
        ] {
            let said = suits(carries, program, takes_external).err();
            let said = said.map(|error| error.to_string());
            let case = format!("{carries:?} {program:?}: {said:?}");
            match refused {
                None => assert!(said.is_none(), "{case}"),
                Some(words) => {
                    let said = said.expect("it is refused");
                    assert!(
                        said.starts_with("BUS_URL ") && said.contains(words),
                        "{case}"
                    );
                }
            }
        }
    }
}
