//! An event of an own job on its way into Redis, without the way itself: checked and folded, encoded, and
//! made into the arguments of the script that appends it.

use std::hint::black_box;

use anyhow::Result;
use conch_conformance::build::Script;
use conch_redis::guard::Arguments;

pub(crate) fn run(times: usize) -> Result<()> {
    // Nothing listens there, and nothing is asked.
    let arguments = Arguments::new(conch_redis::Settings::new("redis://127.0.0.1:1/0"))?;
    let mut job = Script::own();
    black_box((job.queued(), job.started()));
    for number in 0..times {
        counted_append(&arguments, &mut job, (number % 100) as u8)?;
    }
    Ok(())
}

#[inline(never)]
fn counted_append(
    arguments: &Arguments,
    job: &mut Script,
    progress: u8,
) -> conch_ports::Result<()> {
    let commit = job.progress(progress);
    arguments.of(&commit)
}
