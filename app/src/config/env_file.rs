//! The file `.env`: settings that the environment doesn't say. Read once, at the start; what it says
//! goes to no other program and is never shown.
//!
//! Never in here: a change of the process's environment. Not every user's file is taken: one that
//! another user could have written is refused.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use nix::unistd::{Gid, Group, Uid, User};

use super::table::SETTINGS;
use super::{Error, dotenv, file};

/// The flag's name.
const FLAG: &str = "env-file";
const DEFAULT: &str = ".env";
/// Bytes of a file.
const MAX_BYTES: u64 = 256 * 1024;
/// What lets others in or runs a program is never said by a file that may lie about in a folder.
const NEVER: [&str; 3] = ["INSECURE", "GENERATOR_COMMAND", "WEBHOOK_ALLOW"];

/// What a file said.
#[derive(Default)]
pub struct EnvFile {
    pub(super) values: HashMap<String, String>,
    /// That it was read, for the log.
    pub(super) note: Option<String>,
    /// What is odd about it.
    pub(super) warnings: Vec<String>,
}

pub(super) fn flag(command: Command) -> Command {
    command.arg(Arg::new(FLAG).long(FLAG).value_name("PATH").help(
        "a file of NAME=VALUE lines for what the environment doesn't set; empty: none \
                 [default: .env in the working directory, if there is one]",
    ))
}

impl EnvFile {
    /// Reads the file that the flag names, or `.env`. `environment` is what `${NAME}` in it means.
    ///
    /// # Errors
    /// When the file that was named isn't there, or a file may have been written by another user, is too
    /// large, or is no text.
    pub fn read(
        flags: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let named = flags.get_one::<String>(FLAG);
        if named.is_some_and(String::is_empty) {
            return Ok(Self::default());
        }
        let path = PathBuf::from(named.map_or(DEFAULT, String::as_str));
        let refused = |reason: String| match named {
            Some(_) => Error::new("--env-file", format!("names a file that {reason}")),
            None => Error::new(
                ".env",
                format!("in the working directory {reason}; --env-file= does without it"),
            ),
        };
        let opened = match file::open(&path) {
            // None there, or a folder: virtual environments of Python go by that name, too.
            Err(error) if named.is_none() && is_none_there(&error) => return Ok(Self::default()),
            opened => opened.map_err(|e| refused(file::reason(&e)))?,
        };
        let (owner, group) = (opened.metadata.uid(), opened.metadata.gid());
        if let Some(objection) = objection(owner, group, opened.metadata.mode()) {
            return Err(refused(objection));
        }
        let bytes = opened.read(MAX_BYTES).map_err(refused)?;
        let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text".to_owned()))?;
        let parsed = dotenv::parse(&text, environment).map_err(refused)?;
        Self::checked(&path, parsed)
    }

    fn checked(path: &Path, parsed: dotenv::Parsed) -> Result<Self, Error> {
        let shown = path.display();
        let mut warnings = Vec::new();
        for (line, name) in parsed.unreadable {
            // As good as unset it would be AUTH that is off.
            if let Some(name) = setting(&name) {
                let reason = format!("can't be read on line {line} of {shown}: is a quote open?");
                return Err(Error::new(name, reason));
            }
            warnings.push(format!(
                "passed over line {line} of {shown}: it can't be read"
            ));
        }
        let mut values: HashMap<_, _> = parsed.values.into_iter().collect();
        for name in NEVER {
            if values.remove(name).is_some_and(|value| !value.is_empty()) {
                warnings.push(format!(
                    "passed over {name} in {shown}: only the environment or a flag may set it"
                ));
            }
        }
        let ours = values.keys().filter(|name| setting(name).is_some()).count();
        let note =
            format!("read {shown}: it names {ours} settings, and the environment wins over it");
        Ok(Self {
            values,
            note: Some(note),
            warnings,
        })
    }
}

/// The setting that a variable says, if it says one.
fn setting(variable: &str) -> Option<String> {
    let is_ours = SETTINGS.iter().any(|s| s.is_said_by(variable));
    is_ours.then(|| variable.to_owned())
}

fn is_none_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
    )
}

/// Who could have written the file besides this user and root, if anyone.
fn objection(owner: u32, group: u32, mode: u32) -> Option<String> {
    let me = Uid::effective();
    if owner != me.as_raw() && owner != 0 {
        return Some(format!(
            "belongs to another user (uid {owner}, and this program runs as {me}): chown it, or put \
             the settings into the environment"
        ));
    }
    if mode & 0o002 != 0 {
        return Some("may be written by every user: chmod o-w it".to_owned());
    }
    if mode & 0o020 != 0 && !is_own_group(me, Gid::from_raw(group)) {
        return Some("may be written by a group of users: chmod g-w it".to_owned());
    }
    None
}

/// Whether a group is the one that many systems give each user for itself alone.
fn is_own_group(me: Uid, group: Gid) -> bool {
    let (Ok(Some(user)), Ok(Some(group))) = (User::from_uid(me), Group::from_gid(group)) else {
        return false;
    };
    user.gid == group.gid
        && user.name == group.name
        && group.mem.iter().all(|member| *member == user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_may_have_written_it() {
        let me = Uid::effective().as_raw();
        let nobody = 65_534;
        let whole = |owner, group, mode: u32| objection(owner, group, 0o100_000 | mode);
        for (owner, mode) in [(me, 0o600), (me, 0o644), (me, 0o444), (0, 0o644)] {
            assert_eq!(whole(owner, nobody, mode), None, "{owner} {mode:o}");
        }
        for (owner, mode, said) in [
            (me + 4711, 0o600, "another user"),
            (me + 4711, 0o644, "another user"),
            (me, 0o666, "every user"),
            (me, 0o602, "every user"),
            (0, 0o646, "every user"),
            (me, 0o664, "a group"),
            (me, 0o620, "a group"),
        ] {
            let objection = whole(owner, nobody, mode).expect("refused");
            assert!(objection.contains(said), "{owner} {mode:o}: {objection}");
        }
    }
}
