//! Messages of a channel, one a line, folded into one job.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conch_fuzz::wire::events(bytes));
