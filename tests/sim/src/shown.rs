//! A value that several wait for. Not tokio's `watch`, which wakes its receivers in an order of chance.

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Shown<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Shown<T> {
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
        self.changed.notify_waiters();
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock())
    }

    /// What is looked for, as soon as it is there. Cancel-safe.
    pub(crate) async fn until<R>(&self, look: impl Fn(&T) -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = self.look(&look) {
                return found;
            }
            changed.await;
        }
    }
}
