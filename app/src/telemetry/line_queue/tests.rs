//! The queue with sinks that fail, block, write lines only in part, or recover.

use std::sync::mpsc::{self, Receiver, SyncSender};

use super::*;

const AT_ONCE: Duration = Duration::from_secs(10);

fn bounds(lines: usize, bytes: usize) -> Bounds {
    Bounds {
        lines,
        bytes,
        report_again: Duration::from_millis(1),
    }
}

/// What the sink does with the next writes; without an entry it accepts everything.
type Plan = VecDeque<io::Result<usize>>;

/// A sink with a scripted result for each write, and what it accepted.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(Plan, Vec<u8>)>>);

impl Scripted {
    fn new(plan: impl IntoIterator<Item = io::Result<usize>>) -> Self {
        let sink = Self::default();
        sink.0.lock().0.extend(plan);
        sink
    }

    fn taken(&self) -> String {
        String::from_utf8(self.0.lock().1.clone()).expect("it is text")
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (plan, taken) = &mut *self.0.lock();
        let count = plan.pop_front().unwrap_or(Ok(bytes.len()))?;
        taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that signals each write and accepts it when permitted.
struct Gate {
    asked: SyncSender<()>,
    may: Receiver<()>,
    into: Scripted,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.asked.send(()).map_err(io::Error::other)?;
        self.may.recv().map_err(io::Error::other)?;
        self.into.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue whose writer holds its first line and waits for permission.
struct Blocked {
    queue: LineQueue,
    asked: Receiver<()>,
    may: SyncSender<()>,
    into: Scripted,
}

impl Blocked {
    fn new(bounds: Bounds) -> Self {
        let (asked_sender, asked) = mpsc::sync_channel(1000);
        let (may, may_receiver) = mpsc::sync_channel(1000);
        let into = Scripted::default();
        let gate = Gate {
            asked: asked_sender,
            may: may_receiver,
            into: into.clone(),
        };
        let queue = LineQueue::start(bounds, gate, report).expect("a thread");
        say(&queue, "held");
        asked
            .recv_timeout(AT_ONCE)
            .expect("the writer has taken it");
        Self {
            queue,
            asked,
            may,
            into,
        }
    }

    /// Everything that was written, after the sink works again.
    fn released(self) -> String {
        for _ in 0..500 {
            self.may.send(()).expect("the writer waits");
        }
        assert!(self.queue.flush(AT_ONCE));
        drop(self.asked);
        self.into.taken()
    }
}

fn report(lost: u64) -> String {
    format!("lost {lost}\n")
}

fn say(queue: &LineQueue, text: &str) {
    writeln!(Whole(queue), "{text}").expect("it never fails");
}

/// One write per line, as the subscriber does.
struct Whole<'a>(&'a LineQueue);

impl Write for Whole<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unreachable!("{bytes:?} is a part")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_fmt(&mut self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.0.make_writer().write_all(line.to_string().as_bytes())
    }
}

fn full() -> io::Result<usize> {
    Err(ErrorKind::StorageFull.into())
}

#[test]
fn what_a_sink_does_not_take_is_counted_and_reported_once_it_does() {
    let not_ready = || Err(ErrorKind::WouldBlock.into());
    let interrupted = || Err(ErrorKind::Interrupted.into());
    let broken = || Err(ErrorKind::BrokenPipe.into());
    let rows: Vec<(Plan, &str, u64)> = vec![
        ([].into(), "a\nb\n", 0),
        // Two lines, with the report between them.
        ([full(), full()].into(), "lost 2\n", 2),
        ([broken()].into(), "lost 1\nb\n", 1),
        ([Ok(0)].into(), "lost 1\nb\n", 1),
        // A part of the first line was written.
        ([Ok(1), full()].into(), "a\nlost 1\nb\n", 1),
        // A part of the report was written; its number is included in the next one.
        ([full(), Ok(2), full()].into(), "lo\nlost 2\n", 2),
        (
            [interrupted(), Ok(1), interrupted(), not_ready()].into(),
            "a\nb\n",
            0,
        ),
    ];
    for (plan, written, dropped) in rows {
        let case = format!("{plan:?}");
        let sink = Scripted::new(plan);
        // The second line comes before the report of the first one is repeated, however busy the machine is.
        let bounds = Bounds {
            report_again: Duration::from_secs(2),
            ..bounds(8, 100)
        };
        let queue = LineQueue::start(bounds, sink.clone(), report).expect("a thread");
        for line in ["a", "b"] {
            say(&queue, line);
            assert!(queue.flush(AT_ONCE), "{case}");
        }
        // A failed report is repeated even if nothing more is logged.
        let deadline = Instant::now() + AT_ONCE;
        while sink.taken() != written && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(sink.taken(), written, "{case}");
        assert_eq!(queue.dropped(), dropped, "{case}");
    }
}

#[test]
fn a_sink_that_blocks_holds_nobody_up_and_the_gap_is_reported_where_it_is() {
    let blocked = Blocked::new(bounds(16, 1000));
    for number in 0..20 {
        say(&blocked.queue, &number.to_string());
    }
    // Two of 16 places are reserved for warnings.
    assert_eq!(blocked.queue.dropped(), 6);
    assert!(!blocked.queue.flush(Duration::from_millis(1)));
    let written = blocked.released();
    let mut lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.pop(), Some("lost 6"));
    assert_eq!(lines.len(), 1 + 14);
    assert_eq!(lines.last(), Some(&"13"));
}

#[test]
fn bytes_are_bounded_too_and_warnings_have_room_of_their_own() {
    let blocked = Blocked::new(bounds(1000, 800));
    let line = "x".repeat(99);
    for _ in 0..10 {
        say(&blocked.queue, &line);
    }
    assert_eq!(blocked.queue.dropped(), 3, "700 bytes of others");
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(blocked.queue.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("no room");
        tracing::warn!("room");
    });
    assert_eq!(blocked.queue.dropped(), 4);
    let written = blocked.released();
    assert!(written.ends_with("lost 4\n WARN room\n"), "{written}");
}
