//! Standard error, which one thread writes.
//!
//! Whoever reads the log may be slow, may have stopped reading, or may be gone. So a line is queued in memory, and one
//! thread writes what is queued, many lines at once. A line that does not fit into the queue, or that standard error
//! refuses, is lost and counted in `postpeer_log_lines_dropped_total`; the next line that is written says how many
//! were.
//!
//! Invariant: only the writing thread waits for standard error. [`flush`] waits for that thread, but not for long.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use metrics::counter;

/// Most bytes in the queue.
const QUEUE: usize = 1024 * 1024;
/// Bytes that are written at once, however young they are.
const BATCH: usize = 32 * 1024;
/// How long the first line of a batch waits for others, and a full terminal or pipe for its reader.
const LINGER: Duration = Duration::from_millis(5);
/// How long [`flush`] waits for a reader.
const PATIENCE: Duration = Duration::from_secs(1);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Queues lines from now on. Without a thread that writes them, they are written where they are made.
pub(super) fn start() {
    if SINK.get().is_none() && thread::Builder::new().name("log".to_owned()).spawn(write_forever).is_ok() {
        SINK.get_or_init(Sink::default);
    }
}

/// Waits until everything that was queued is written, for a second at most.
pub fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(PATIENCE);
    }
}

/// Writes a line to standard error, behind the log. That it cannot be written is no failure.
pub fn say(line: &str) {
    let _ = writeln!(Lines, "{line}");
}

/// Writes whole lines, each with one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.write_all(lines).map(|()| lines.len())
    }

    fn write_all(&mut self, lines: &[u8]) -> io::Result<()> {
        match SINK.get() {
            Some(sink) => sink.push(lines),
            None => io::stderr().write_all(lines)?,
        }
        Ok(())
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is queued, and the two that wait: the thread for lines, and [`flush`] for the thread.
#[derive(Default)]
struct Sink {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// True while the thread writes lines that are not in the queue any more.
    is_writing: bool,
    /// Number of calls of [`flush`] that wait.
    flushing: usize,
    /// Lines that were lost since the last one that was written.
    dropped: u64,
}

impl Sink {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, lines: &[u8]) {
        let mut queue = self.queue();
        let before = queue.lines.len();
        if before + lines.len() > QUEUE {
            queue.dropped += 1;
            drop(queue);
            count_dropped(1);
            return;
        }
        queue.lines.extend_from_slice(lines);
        let after = queue.lines.len();
        drop(queue);
        // In between, the thread wakes by itself.
        if before == 0 || (before < BATCH && after >= BATCH) {
            self.filled.notify_one();
        }
    }

    fn flush(&self, patience: Duration) {
        let mut queue = self.queue();
        queue.flushing += 1;
        self.filled.notify_one();
        let waited = self.written.wait_timeout_while(queue, patience, |queue| queue.is_pending());
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }

    /// Waits for lines, and a little longer for more. `lines` is empty, and changes places with the queue. Returns the
    /// number of lines that were lost before these.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue();
        queue.is_writing = false;
        if queue.lines.is_empty() {
            self.written.notify_all();
        }
        queue = self.filled.wait_while(queue, |queue| queue.lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let gathers = |queue: &mut Queue| queue.lines.len() < BATCH && queue.flushing == 0;
        let waited = self.filled.wait_timeout_while(queue, LINGER, gathers);
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut queue.lines, lines);
        queue.is_writing = true;
        std::mem::take(&mut queue.dropped)
    }
}

impl Queue {
    fn is_pending(&self) -> bool {
        self.is_writing || !self.lines.is_empty()
    }
}

fn write_forever() {
    let sink = SINK.get_or_init(Sink::default);
    let (mut lines, mut dropped) = (Vec::new(), 0);
    loop {
        dropped += sink.take(&mut lines);
        let lost = write(&mut io::stderr(), &lines);
        if lost > 0 {
            count_dropped(lost);
            dropped += lost;
        } else if dropped > 0 {
            tracing::warn!(lines = dropped, "lines of the log were lost: standard error was not read, or was refused");
            dropped = 0;
        }
        lines.clear();
        lines.shrink_to(BATCH * 2);
    }
}

/// Writes all lines. Returns the number of those that were refused.
fn write(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(written) if written > 0 => lines = lines.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LINGER),
            Ok(_) | Err(_) => return lines.split(|byte| *byte == b'\n').skip(1).count() as u64,
        }
    }
    0
}

fn count_dropped(lines: u64) {
    counter!("postpeer_log_lines_dropped_total").increment(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some bytes, then returns errors.
    struct Output {
        taken: Vec<u8>,
        answers: Vec<io::Result<usize>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.answers.remove(0)?;
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_busy_is_asked_again_and_one_that_refuses_loses_lines() {
        let error = |kind: io::ErrorKind| Err(kind.into());
        let (again, busy) = (io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock);
        let mut output = Output { taken: Vec::new(), answers: vec![Ok(2), error(again), Ok(1), error(busy), Ok(3)] };
        assert_eq!(write(&mut output, b"ab\ncd\n"), 0);
        assert_eq!(output.taken, b"ab\ncd\n");
        for refused in [Ok(0), error(io::ErrorKind::BrokenPipe), error(io::ErrorKind::StorageFull)] {
            let mut output = Output { taken: Vec::new(), answers: vec![Ok(4), refused] };
            assert_eq!(write(&mut output, b"a\nb\nc\nd\n"), 2);
        }
    }

    #[test]
    fn a_full_queue_loses_lines_and_tells_how_many() {
        let sink = Sink::default();
        let line = [b"x".repeat(1023), vec![b'\n']].concat();
        for _ in 0..QUEUE / line.len() + 3 {
            sink.push(&line);
        }
        let mut lines = Vec::new();
        assert_eq!(sink.take(&mut lines), 3);
        assert_eq!(lines.len(), QUEUE);
        lines.clear();
        sink.push(b"y\n");
        assert_eq!((sink.take(&mut lines), lines.as_slice()), (0, &b"y\n"[..]));
    }

    #[test]
    fn a_flush_waits_for_the_thread_and_not_for_ever() {
        let sink = Sink::default();
        sink.flush(Duration::MAX);
        sink.push(b"x\n");
        sink.flush(Duration::ZERO);
        assert!(sink.queue().is_pending());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut lines = Vec::new();
                sink.take(&mut lines);
                assert!(sink.queue().is_pending(), "they are not written yet");
                lines.clear();
                sink.push(b"y\n");
                sink.take(&mut lines);
                let mut queue = sink.queue();
                queue.is_writing = false;
                sink.written.notify_all();
            });
            sink.flush(Duration::MAX);
            assert!(!sink.queue().is_pending());
        });
    }
}
