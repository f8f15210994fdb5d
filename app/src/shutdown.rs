//! Signals that end a program: the first SIGINT or SIGTERM starts the shutdown, the second ends the process
//! at once. SIGHUP starts the shutdown too, unless it was ignored at the start, as under `nohup`.
//!
//! Never in here: SIGPIPE. Rust ignores it, so writing to a closed connection is an ordinary error.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Handles the signals from now on. The first one cancels the token. `before_exit` is called before the
/// second one ends the process.
///
/// # Errors
/// When the system refuses the handlers.
pub(crate) fn on_signal(
    before_exit: impl Fn() + Send + 'static,
) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let asked = token.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A handler would end a program that is meant to ignore it.
    let mut hangup = if is_ignored(SignalKind::hangup()) {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    tokio::spawn(async move {
        let mut times = 0;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                () = received(hangup.as_mut()) => "SIGHUP",
            };
            asked.cancel();
            // A closed terminal sends SIGHUP more than once, and systemd may send it together with SIGTERM.
            times += u32::from(name != "SIGHUP");
            if times > 1 {
                tracing::warn!("{name} again: ending at once");
                before_exit();
                std::process::exit(130);
            }
            tracing::info!("{name}: draining");
        }
    });
    Ok(token)
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the process ignores this signal, since its start or later.
#[expect(
    unsafe_code,
    reason = "no crate can query a disposition without changing it"
)]
fn is_ignored(signal: SignalKind) -> bool {
    let mut disposition = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer for the new action changes nothing; the old one is written to memory of
    // its type. Zeroes are a valid `sigaction`, should the call fail.
    let (answer, disposition) = unsafe {
        let answer = libc::sigaction(
            signal.as_raw_value(),
            std::ptr::null(),
            disposition.as_mut_ptr(),
        );
        (answer, disposition.assume_init())
    };
    answer == 0 && disposition.sa_sigaction == libc::SIG_IGN
}
