//! Files that settings name: opened once, bounded, and only regular ones, so that a start never waits
//! for a pipe. Errors say what is wrong in words, never what a file holds.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// An open regular file, and what the system says of it: of this very file, wherever its name leads by
/// now.
pub(super) struct Opened {
    file: File,
    pub(super) metadata: Metadata,
}

/// Opens a file.
///
/// # Errors
/// As the system tells them. What is no regular file is an `InvalidInput`.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let file = OpenOptions::new()
        .read(true)
        // Opening a pipe would wait for its other end.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(Opened { file, metadata })
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

impl Opened {
    /// All of it.
    ///
    /// # Errors
    /// In words, when it can't be read or has more than `limit` bytes.
    pub(super) fn read(self, limit: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.file
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| reason(&e))?;
        if bytes.len() as u64 > limit {
            return Err(format!("is larger than {limit} bytes"));
        }
        Ok(bytes)
    }
}

/// Opens and reads a file.
///
/// # Errors
/// In words.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    open(path).map_err(|e| reason(&e))?.read(limit)
}

/// Why a file can't be had, in words that follow its name.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read by the user that runs this program: check its owner and mode"
                .to_owned()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            "is not a regular file".to_owned()
        }
        _ => format!("can't be read: {error}"),
    }
}
