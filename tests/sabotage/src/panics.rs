//! Panics on demand, for the proof that a process which has lost a part ends, and that nothing is lost
//! with it. With `SABOTAGE=panics`, an event on the channel whose job is `panic-<part>` has that part panic.
//!
//! Never in here: a bug that the chaos harness looks for. This one isn't in `BUGS`.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use conch_ports::Signal;
use conch_services::Clock;

/// The part that was asked to panic.
static ASKED: OnceLock<String> = OnceLock::new();

/// Panics where `part` was asked to.
pub(super) fn panic_if_asked(part: &str) {
    assert!(!is_asked(part), "asked to");
}

fn is_asked(part: &str) -> bool {
    super::bug() == "panics" && ASKED.get().is_some_and(|asked| asked == part)
}

/// Takes the request out of what came on the channel. It is heard by the subscription's own task.
pub(super) fn hear(signal: &Signal) {
    if let Signal::Message(message) = signal
        && let Some(job_id) = super::log::job_of(&message.bytes)
        && let Some(part) = job_id.as_str().strip_prefix("panic-")
    {
        ASKED.get_or_init(|| part.to_owned());
    }
    panic_if_asked("subscription");
}

/// The clock of the hub, whose own tasks ask for the time at each position check.
pub(super) fn hub_clock(clock: Clock) -> Clock {
    Arc::new(move || {
        panic_if_asked("hub");
        clock()
    })
}

/// Where a request is handled on its thread: has the thread itself panic, not one of its tasks, whose
/// panics end with them.
pub(super) fn panic_on_this_thread_if_asked() {
    struct PanicsWhenWoken;
    impl Wake for PanicsWhenWoken {
        fn wake(self: Arc<Self>) {
            panic!("asked to");
        }
    }
    if is_asked("http") {
        let waker = Waker::from(Arc::new(PanicsWhenWoken));
        // Wakers are called by the runtime's own loop.
        let sleep: &'static mut _ =
            Box::leak(Box::new(tokio::time::sleep(Duration::from_millis(1))));
        let sleep = Pin::static_mut(sleep);
        assert!(sleep.poll(&mut Context::from_waker(&waker)).is_pending());
    }
}
