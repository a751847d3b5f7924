//! What is logged, by the broker and by everything below it, for tests that read it.
//!
//! One buffer for the whole test binary: tests run at the same time and log from many threads, so a test finds its own
//! lines by its flow's id (with a seed of its own) or looks for what nobody may log.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;

static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// The lines that tell of a flow, once more: looking through all the others takes long.
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

/// From here on everything is kept, down to the finest level and from every crate.
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

/// All that was logged since [`capture`].
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&buffer()).into_owned()
}

/// The lines that tell of that flow, each from its message on.
pub(crate) fn of_flow(id: &str) -> Vec<String> {
    flows()
        .lines()
        .filter(|line| line.contains(id))
        .filter_map(|line| line.split_once("postpeer::")?.1.split_once(": "))
        .map(|(_, message)| message.replace(&format!("flow.id={id} "), ""))
        .collect()
}
