//! The store in memory keeps every law: on paused time, and on real threads in real time.

mod subject;

mod paused {
    use crate::subject::InMemory;

    async fn fresh() -> InMemory {
        InMemory::new(true)
    }

    conch_conformance::store_conformance! { #[tokio::test(start_paused = true)] fresh }
    conch_conformance::bus_conformance! { #[tokio::test(start_paused = true)] fresh }
}

mod threads {
    use crate::subject::InMemory;

    async fn fresh() -> InMemory {
        InMemory::new(false)
    }

    conch_conformance::store_conformance! { #[tokio::test(flavor = "multi_thread", worker_threads = 4)] fresh }
    conch_conformance::bus_conformance! { #[tokio::test(flavor = "multi_thread", worker_threads = 4)] fresh }
}
