//! How long calls of Redis take, by operation: from the call to its answer, whatever that is, the wait for a
//! connection included.
//!
//! Never in here: a label that isn't the name of an operation.

use std::collections::HashMap;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Instant;

use metrics::Histogram;
use parking_lot::RwLock;

/// The handles, made once for each operation.
static TIMES: LazyLock<RwLock<HashMap<&'static str, Histogram>>> = LazyLock::new(RwLock::default);

/// Notes how long `call` takes; one that is dropped isn't noted. Cancel-safe if the call is.
pub(crate) async fn timed<T>(operation: &'static str, call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = call.await;
    let took = begun.elapsed();
    if let Some(times) = TIMES.read().get(operation) {
        times.record(took);
        return answer;
    }
    let times = metrics::histogram!("conch_store_call_seconds", "operation" => operation);
    times.record(took);
    TIMES.write().insert(operation, times);
    answer
}
