//! Where settings come from: flags first, then the environment. Read once, at the start.
//!
//! An empty variable is an unset one. Orchestrators inject variables of their own into the same
//! names: those are passed over, with a warning.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;

use clap::{Arg, ArgMatches, Command};

use super::table::SETTINGS;
use super::{Error, Program};

/// The settings that somebody set, and what is odd about them.
#[derive(Debug, Default)]
pub struct Source {
    values: HashMap<&'static str, String>,
    /// Whole sentences for the log.
    pub warnings: Vec<String>,
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
            command.arg(arg)
        })
}

impl Source {
    /// Reads what is set. `environment` is all of it, so that odd names can be pointed out.
    ///
    /// # Errors
    /// When a setting is no text. As good as unset it would be AUTH that is off.
    pub fn read(
        program: Program,
        flags: &ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let mut source = Self::default();
        let mut injected = Vec::new();
        let mut no_text = Vec::new();
        for (name, value) in environment {
            // No setting has a name that is no text.
            let Ok(name) = name.into_string() else {
                continue;
            };
            let value = value.into_string();
            let known = SETTINGS.iter().find(|s| s.name == name);
            match known {
                Some(setting)
                    if name == "REDIS_PORT" && value.as_ref().is_ok_and(|v| v.contains("://")) =>
                {
                    injected.push(setting.name.to_owned());
                }
                Some(setting) if setting.who.contains(&program) => match value {
                    Ok(value) if value.is_empty() => {}
                    Ok(value) => {
                        source.values.insert(setting.name, value);
                    }
                    Err(_) => no_text.push(setting.name),
                },
                Some(_) => {}
                None if is_injected(&name) => injected.push(name),
                None => source.warnings.extend(misspelled(&name)),
            }
        }
        if !injected.is_empty() {
            injected.sort();
            source.warnings.push(format!(
                "passed over what an orchestrator seems to have injected: {}",
                injected.join(", ")
            ));
        }
        for setting in SETTINGS.iter().filter(|s| s.who.contains(&program)) {
            if let Some(value) = flags.get_one::<String>(setting.name) {
                source.values.insert(setting.name, value.clone());
            }
        }
        // A flag stands in for whatever the variable was.
        if let Some(name) = no_text.iter().find(|n| !source.values.contains_key(*n)) {
            return Err(Error::new(name, "must be UTF-8 text"));
        }
        let is_set = |name: &str| source.values.contains_key(name);
        let of_callers = |name: &str| name.starts_with("AUTH_") || name == "MAX_STREAMS_PER_CALLER";
        let unused = source.values.keys().find(|name| of_callers(name));
        if let (Some(name), false) = (unused, is_set("AUTH")) {
            source.warnings.push(format!(
                "{name} is set and AUTH isn't: nobody needs a token. Was AUTH=jwt meant?"
            ));
        }
        Ok(source)
    }

    /// What is set, as text.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        debug_assert!(
            SETTINGS.iter().any(|s| s.name == name),
            "{name} is in the table"
        );
        self.values.get(name).map(String::as_str)
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
    let (setting, distance) = SETTINGS
        .iter()
        .map(|s| (s, strsim::damerau_levenshtein(s.name, name)))
        .min_by_key(|(_, distance)| *distance)?;
    let near = distance <= 2 && name.len() >= 6;
    near.then(|| format!("{name} is no setting: was {} meant?", setting.name))
}
