//! Where keys come from, and a set of them that is read again when its file changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::keys::{self, Key, Wrong};

/// How often the file of a key set is looked at, at most.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Largest file of keys that is read.
const FILE_MAX: u64 = 256 * 1024;

/// The keys that count now.
pub(super) enum Keys {
    /// One, whatever a token says of it.
    One(Key),
    /// Several; a token says which by its `kid`.
    Set(KeySet),
}

impl Keys {
    /// The key that a token with this `kid` is to be checked with. Cancel-safe.
    pub(super) async fn find(&self, kid: Option<&str>) -> Option<Key> {
        match self {
            Self::One(key) => Some(key.clone()),
            Self::Set(set) => {
                set.look_again().await;
                set.keys().get(kid?).cloned()
            }
        }
    }
}

/// The keys of a file.
pub(super) struct KeySet {
    algorithm: Algorithm,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    keys: Arc<HashMap<String, Key>>,
    /// What the file held when it was read last, whether it could be used or not; none if it could
    /// not be read. So that each change is told once.
    read: Option<Vec<u8>>,
    looked_at: Instant,
}

impl KeySet {
    /// Reads the file for the first time.
    pub(super) fn read(algorithm: Algorithm, path: PathBuf) -> Result<Self, Wrong> {
        let text = read_file(&path)?;
        let keys = keys::from_set(algorithm, &text)?;
        let state = State {
            keys: Arc::new(keys),
            read: Some(text),
            looked_at: Instant::now(),
        };
        Ok(Self {
            algorithm,
            path,
            state: Mutex::new(state),
        })
    }

    fn keys(&self) -> Arc<HashMap<String, Key>> {
        Arc::clone(&self.state().keys)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file anew if it is time to; of those who come at one time one does. A file that can't
    /// be used changes nothing but the log.
    async fn look_again(&self) {
        {
            let mut state = self.state();
            let now = Instant::now();
            if now < state.looked_at + LOOK_AGAIN_AFTER {
                return;
            }
            state.looked_at = now;
        }
        let text = read_file_later(&self.path).await;
        let mut state = self.state();
        if state.read == text {
            return;
        }
        let found = match &text {
            None => Err("can't be read"),
            Some(text) => keys::from_set(self.algorithm, text),
        };
        match found {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "AUTH_JWKS_FILE was read again");
                state.keys = Arc::new(keys);
            }
            Err(wrong) => {
                tracing::error!(
                    "AUTH_JWKS_FILE has changed and {wrong}: the keys from before stay"
                );
            }
        }
        state.read = text;
    }
}

/// Reads a file of keys, at the start.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Wrong> {
    let length = std::fs::metadata(path).map_err(|_| "can't be read")?.len();
    if length > FILE_MAX {
        return Err("is larger than 256 KiB");
    }
    std::fs::read(path).map_err(|_| "can't be read")
}

/// The same while others wait; none when it can't be read, or is too large.
async fn read_file_later(path: &Path) -> Option<Vec<u8>> {
    let file = tokio::fs::File::open(path).await.ok()?;
    let mut text = Vec::new();
    let read = file.take(FILE_MAX + 1).read_to_end(&mut text).await.ok()?;
    (read as u64 <= FILE_MAX).then_some(text)
}
