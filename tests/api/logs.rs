//! Captures the log of the broker and of every crate below it, for tests that read it.
//!
//! The whole test binary shares one buffer. Tests run in parallel and log from many threads, so a test finds its
//! lines by its flow's id (with its own seed), or looks for text that no test may log.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;

static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// Lines about flows, kept apart because searching the whole log is slow.
static FLOWS: Mutex<String> = Mutex::new(String::new());
static STARTED: Once = Once::new();

struct Buffer;

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        buffer().extend_from_slice(bytes);
        let line = String::from_utf8_lossy(bytes);
        if line.contains("flow.id=") {
            flows().push_str(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn buffer() -> MutexGuard<'static, Vec<u8>> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flows() -> MutexGuard<'static, String> {
    FLOWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps everything from here on, at every level and from every crate.
pub(crate) fn capture() {
    STARTED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Buffer)
            .try_init()
            .unwrap();
    });
}

/// The log since [`capture`].
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&buffer()).into_owned()
}

/// Lines about a flow, each from its message on.
pub(crate) fn of_flow(id: &str) -> Vec<String> {
    flows()
        .lines()
        .filter(|line| line.contains(id))
        .filter_map(|line| line.split_once("postpeer::")?.1.split_once(": "))
        .map(|(_, message)| message.replace(&format!("flow.id={id} "), ""))
        .collect()
}
