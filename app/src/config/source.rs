//! Where settings come from: flags first, then the environment, then the env file. Read once, at the
//! start.
//!
//! An empty variable is an unset one. A secret may be in a file that `X_FILE` names. Orchestrators inject
//! variables of their own into the same names: those are passed over, with a warning.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use super::table::{SETTINGS, Setting};
use super::{EnvFile, Error, Program, bus, file, redis};

/// Bytes of a file that holds one secret.
const MAX_SECRET: u64 = 64 * 1024;
/// Bytes of a file of certificates. Those of a whole system are a quarter of a MiB.
const MAX_CERTIFICATES: u64 = 4 * 1024 * 1024;

/// The settings that somebody set, and what is odd about them.
#[derive(Default)]
pub struct Source {
    values: HashMap<&'static str, String>,
    /// Whole sentences for the log.
    pub warnings: Vec<String>,
    /// Which env file was read, as a sentence for the log.
    pub note: Option<String>,
}

/// The flags of a program.
pub(super) fn flags(command: Command, program: Program) -> Command {
    SETTINGS
        .iter()
        .filter(|s| s.who.contains(&program))
        .fold(command, |command, setting| {
            let default = match setting.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let help = format!("{} [env: {}]{default}", setting.help, setting.name);
            let mut arg = Arg::new(setting.name)
                .long(setting.flag())
                .value_name("VALUE")
                .help(help);
            if setting.name == "INSECURE" {
                arg = arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true");
            }
            let Some(file) = setting.file_name() else {
                return command.arg(arg);
            };
            let flag = format!("{}-file", setting.flag());
            let help = format!(
                "a file with the value of --{} [env: {file}]",
                setting.flag()
            );
            let of_file = Arg::new(file).long(flag).value_name("PATH").help(help);
            command.args([arg, of_file])
        })
}

/// What one place says, by variable. Flags over the environment over the env file: a place that says a
/// setting says it alone, whichever of its two names it uses.
type Layer = HashMap<String, OsString>;

impl Source {
    /// Reads what is set. `environment` is all of it, so that odd names can be pointed out.
    ///
    /// # Errors
    /// When a setting is no text (as good as unset it would be AUTH that is off), is set twice in one
    /// place, or the file that holds it can't be read.
    pub fn read(
        program: Program,
        flags: &ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        file: EnvFile,
    ) -> Result<Self, Error> {
        let mut source = Self {
            values: HashMap::new(),
            warnings: file.warnings,
            note: file.note,
        };
        // No setting has a name that is no text.
        let environment = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let environment = source.known(environment);
        let file = source.known(file.values.into_iter().map(|(n, v)| (n, v.into())));
        for setting in SETTINGS.iter().filter(|s| s.who.contains(&program)) {
            for layer in [&said_by_flags(setting, flags), &environment, &file] {
                if let Some(value) = said(setting, layer)? {
                    source.values.insert(setting.name, value);
                    break;
                }
            }
        }
        source.point_out_unused();
        Ok(source)
    }

    /// Keeps what is set of ours, and points out the rest.
    fn known(&mut self, variables: impl Iterator<Item = (String, OsString)>) -> Layer {
        let mut known = Layer::new();
        let mut injected = Vec::new();
        for (name, value) in variables {
            let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
            if name == "REDIS_PORT" && is_url() {
                injected.push(name);
            } else if SETTINGS.iter().any(|s| s.is_said_by(&name)) {
                if !value.is_empty() {
                    known.insert(name, value);
                }
            } else if is_injected(&name) {
                injected.push(name);
            } else {
                self.warnings.extend(misspelled(&name));
            }
        }
        if !injected.is_empty() {
            injected.sort();
            self.warnings.push(format!(
                "passed over what an orchestrator seems to have injected: {}",
                injected.join(", ")
            ));
        }
        known
    }

    fn point_out_unused(&mut self) {
        let is_set = |name: &str| self.values.contains_key(name);
        let addresses = ["STORE_URL", "BUS_URL", "REDIS_URL", "CACHE_REDIS_URL"];
        let mut addresses = addresses.iter().filter_map(|name| self.values.get(name));
        let is_over_tls = addresses.any(|url| redis::is_over_tls(url));
        for name in ["REDIS_CA_FILE", "REDIS_CERT_FILE"] {
            if is_set(name) && !is_over_tls {
                self.warnings.push(format!(
                    "{name} is set and no address of Redis begins with rediss://: nothing is encrypted"
                ));
            }
        }
        let on_nats = self
            .values
            .get("BUS_URL")
            .is_some_and(|url| bus::is_nats(url));
        for name in ["NATS_CREDENTIALS", "NATS_CA_FILE"] {
            if is_set(name) && !on_nats {
                self.warnings.push(format!(
                    "{name} is set and BUS_URL names no NATS: passed over {name}"
                ));
            }
        }
        for name in redis::PARTS {
            if is_set(name) && is_set("STORE_URL") {
                self.warnings.push(format!(
                    "{name} is set and STORE_URL says where the store is: passed over {name}"
                ));
            }
        }
        let of_callers = |name: &str| name.starts_with("AUTH_") || name == "MAX_STREAMS_PER_CALLER";
        let unused = self.values.keys().find(|name| of_callers(name));
        if let (Some(name), false) = (unused, is_set("AUTH")) {
            self.warnings.push(format!(
                "{name} is set and AUTH isn't: nobody needs a token. Was AUTH=jwt meant?"
            ));
        }
    }

    /// What is set, as text.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        debug_assert!(
            SETTINGS.iter().any(|s| s.name == name),
            "{name} is in the table"
        );
        self.values.get(name).map(String::as_str)
    }

    /// What the file holds that is set; none: none is.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn file(&self, name: &'static str) -> Result<Option<Vec<u8>>, Error> {
        let read = |path| file::read(Path::new(path), MAX_CERTIFICATES);
        let wrong = |reason| Error::new(name, format!("names a file that {reason}"));
        self.text(name).map(read).transpose().map_err(wrong)
    }

    /// What is set, parsed, or the default.
    ///
    /// # Errors
    /// When it can't be parsed.
    pub fn parse<T, E: Display>(
        &self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => parse(text.trim()).map_err(|reason| Error::new(name, reason)),
        }
    }
}

/// The names of what is set: the values may be secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("set", &self.values.keys())
            .field("warnings", &self.warnings)
            .field("note", &self.note)
            .finish()
    }
}

/// What the flags say of one setting.
fn said_by_flags(setting: &Setting, flags: &ArgMatches) -> Layer {
    let names = [Some(setting.name.to_owned()), setting.file_name()];
    let said = |name: String| {
        let value = flags.get_one::<String>(&name)?;
        Some((name, value.into()))
    };
    names.into_iter().flatten().filter_map(said).collect()
}

/// What a layer says of one setting, itself or by a file.
fn said(setting: &Setting, layer: &Layer) -> Result<Option<String>, Error> {
    let text = |name: &str| {
        let text = |value: &OsString| value.to_str().map(str::to_owned);
        let value = layer.get(name);
        let no_text = || Error::new(name.to_owned(), "must be UTF-8 text");
        value.map(|v| text(v).ok_or_else(no_text)).transpose()
    };
    let value = text(setting.name)?;
    let Some(name) = setting.file_name() else {
        return Ok(value);
    };
    match (value, text(&name)?) {
        (Some(_), Some(_)) => Err(Error::new(
            name,
            format!("can't be set beside {}: give one of the two", setting.name),
        )),
        (value, None) => Ok(value),
        (None, Some(path)) => held_by_file(&path)
            .map(Some)
            .map_err(|reason| Error::new(name, format!("names a file that {reason}"))),
    }
}

/// A secret as editors, `echo` and orchestrators leave it in a file: without the last line's end.
fn held_by_file(path: &str) -> Result<String, String> {
    let bytes = file::read(Path::new(path), MAX_SECRET)?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text.to_owned())
}

/// What Kubernetes and Docker links inject for a service called `triton`, `mare` or `redis`.
fn is_injected(name: &str) -> bool {
    let ours = ["TRITON_", "MARE_", "REDIS_"]
        .iter()
        .any(|p| name.starts_with(p));
    let theirs = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"));
    ours && theirs
}

/// Points out a name that is nearly one of ours.
fn misspelled(name: &str) -> Option<String> {
    let names = SETTINGS
        .iter()
        .flat_map(|s| [Some(s.name.to_owned()), s.file_name()]);
    let (nearest, distance) = names
        .flatten()
        .map(|ours| {
            let distance = strsim::damerau_levenshtein(&ours, name);
            (ours, distance)
        })
        .min_by_key(|(_, distance)| *distance)?;
    // BASE_URL and APP_URL are other programs' names, and no misspelling of BUS_URL.
    let near = distance <= 2.min(nearest.len() / 4) && name.len() >= 6;
    near.then(|| format!("{name} is no setting: was {nearest} meant?"))
}
