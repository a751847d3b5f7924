//! The client: closed loops over keep-alive connections.
//!
//! It competes with the broker for the same processors, so it does little: requests are rendered beforehand, and of an
//! answer it reads the status and the length. Whole connections also need the state that the first answer carries.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Connections that are kept open, each with one request in flight.
pub(crate) const CONNECTIONS: usize = 32;
/// Threads that they share.
const THREADS: usize = 2;
/// Time after which a request is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Requests to repeat.
pub(crate) enum Load {
    /// One of these at a time, all answered with this status.
    Requests(Vec<Vec<u8>>, u16),
    /// A connection from its start to its end: the request that starts it, then the callback with a new code.
    Connections(Vec<u8>),
}

impl Load {
    /// GET requests with the access key.
    pub(crate) fn get(targets: impl IntoIterator<Item = String>, key: &str, status: u16) -> Self {
        Self::Requests(targets.into_iter().map(|target| get(&target, key)).collect(), status)
    }
}

pub(crate) fn get(target: &str, key: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-access-key: {key}\r\n\r\n").into_bytes()
}

/// The first answer, its body only.
pub(crate) fn first(address: SocketAddr, load: &Load) -> String {
    let request = match load {
        Load::Requests(requests, _) => requests.first().unwrap(),
        Load::Connections(start) => start,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(address).await.unwrap();
        connection.ask(request).await.unwrap();
        String::from_utf8(connection.body().to_vec()).unwrap()
    })
}

/// The outcome of a round.
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The status that ended the round early, because it was another one than expected.
    pub(crate) refused: Option<u16>,
}

/// State that the connections share.
struct Course {
    load: Load,
    address: SocketAddr,
    time: Duration,
    /// Number of steps after which the round ends early.
    most: usize,
    next: AtomicUsize,
    refused: AtomicBool,
}

/// Repeats the load for this time.
pub(crate) fn run(address: SocketAddr, load: Load, time: Duration) -> (Load, Round) {
    ride(address, load, time, usize::MAX)
}

/// Sends each request of the load once, or begins one connection for each that is open.
pub(crate) fn run_once(address: SocketAddr, load: Load) -> Load {
    let most = match &load {
        Load::Requests(requests, _) => requests.len(),
        Load::Connections(_) => CONNECTIONS,
    };
    ride(address, load, PATIENCE, most).0
}

fn ride(address: SocketAddr, load: Load, time: Duration, most: usize) -> (Load, Round) {
    let (next, refused) = (AtomicUsize::new(0), AtomicBool::new(false));
    let course = Arc::new(Course { load, address, time, most, next, refused });
    // All threads are connected before the clock starts.
    let ready = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (course, ready) = (course.clone(), ready.clone());
            std::thread::spawn(move || work(&course, &ready))
        })
        .collect();
    ready.wait();
    let started = Instant::now();
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let elapsed = started.elapsed();
    let refused = ended.iter().find_map(|(_, refused)| *refused);
    let mut took: Vec<u64> = ended.into_iter().flat_map(|(took, _)| took).collect();
    took.sort_unstable();
    let at = |percent: usize| Duration::from_nanos(took.get(took.len() * percent / 100).copied().unwrap_or_default());
    let round = Round { per_second: took.len() as f64 / elapsed.as_secs_f64(), p50: at(50), p99: at(99), refused };
    (Arc::into_inner(course).unwrap().load, round)
}

/// One thread's share of the connections: nanoseconds of each request, and the unexpected status, if any.
fn work(course: &Arc<Course>, ready: &Barrier) -> (Vec<u64>, Option<u16>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS / THREADS {
            connections.push(Connection::open(course.address).await.unwrap());
        }
        ready.wait();
        let until = Instant::now() + course.time;
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|connection| tokio::task::spawn_local(repeat(course.clone(), connection, until)))
            .collect();
        let (mut took, mut refused) = (Vec::new(), None);
        for task in tasks {
            let (more, status) = task.await.unwrap();
            took.extend(more);
            refused = refused.or(status);
        }
        (took, refused)
    })
}

async fn repeat(course: Arc<Course>, mut connection: Connection, until: Instant) -> (Vec<u64>, Option<u16>) {
    let mut took = Vec::with_capacity(1 << 16);
    let mut started = Instant::now();
    while started < until && !course.refused.load(Ordering::Relaxed) {
        let number = course.next.fetch_add(1, Ordering::Relaxed);
        if number >= course.most {
            break;
        }
        let once = once(&course.load, &mut connection, number);
        let refused = tokio::time::timeout(PATIENCE, once).await.expect("an answer in time").expect("an answer");
        if refused.is_some() {
            course.refused.store(true, Ordering::Relaxed);
            return (took, refused);
        }
        let now = Instant::now();
        took.push(u64::try_from((now - started).as_nanos()).unwrap());
        started = now;
    }
    (took, None)
}

/// One step of the load. Returns an unexpected status.
async fn once(load: &Load, connection: &mut Connection, number: usize) -> io::Result<Option<u16>> {
    match load {
        Load::Requests(requests, expected) => {
            let request = requests.get(number % requests.len()).unwrap();
            let status = connection.ask(request).await?;
            Ok((status != *expected).then_some(status))
        }
        Load::Connections(start) => {
            let status = connection.ask(start).await?;
            if status != 200 {
                return Ok(Some(status));
            }
            let text = std::str::from_utf8(connection.body()).unwrap();
            let (_, state) = text.split_once("state=").unwrap();
            let state = state.split(['&', '"', '\\']).next().unwrap();
            let code = format!("{}-{number}", std::process::id());
            let callback =
                format!("GET /v1/connect/acme/callback?code={code}&state={state} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
            let status = connection.ask(callback.as_bytes()).await?;
            let connected = status == 303 && connection.head().windows(14).any(|bytes| bytes == b"status=success");
            Ok((!connected).then_some(status))
        }
    }
}

/// A keep-alive connection, with the latest answer.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the answer in the buffer.
    filled: usize,
    /// Bytes of its head.
    head: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024], filled: 0, head: 0 })
    }

    fn head(&self) -> &[u8] {
        self.buffer.get(..self.head).unwrap()
    }

    fn body(&self) -> &[u8] {
        self.buffer.get(self.head..self.filled).unwrap()
    }

    /// Sends a request and reads the answer. Returns its status.
    async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        (self.filled, self.head) = (0, 0);
        let mut whole = None;
        while whole.is_none_or(|whole| self.filled < whole) {
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.filled * 2, 0);
            }
            let read = self.stream.read(self.buffer.get_mut(self.filled..).unwrap()).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += read;
            if whole.is_none() {
                let answer = self.buffer.get(..self.filled).unwrap();
                if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    self.head = end + 4;
                    whole = Some(self.head + length(self.head()));
                }
            }
        }
        let status = self.buffer.get(9..12).unwrap();
        Ok(std::str::from_utf8(status).unwrap().parse().unwrap())
    }
}

/// The length of the body, as the head tells it.
fn length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let at = head.windows(NAME.len()).position(|bytes| bytes.eq_ignore_ascii_case(NAME)).expect("a length");
    let digits = head.get(at + NAME.len()..).unwrap().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
