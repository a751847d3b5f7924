//! A client's connection, as actix sees it: the bytes of whole, checked heads and of bodies, and nothing else.
//!
//! Adds what actix lacks. A request's head must be unambiguous and arrive in time ([`Framing`]); a head that is not
//! gets an answer of ours. An answer must be read in time, and a connection that nobody uses ends. A client that has
//! not read its answers gets no further request served, and pipelined requests take turns with those of other
//! connections. What was passed on to actix, which keeps a copy, is wiped here.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use actix_web::web::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use zeroize::Zeroize as _;

use super::connections::Place;
use super::head::{Framing, Refused};
use crate::http::error::Code;

/// Bytes that are read at a time.
const READ_AT_ONCE: usize = 4 * 1024;
/// Most bytes that are read and dropped after a refusal, so that the client sees the answer before the end.
const DROP_MAX: usize = 256 * 1024;
/// Time for that.
const DROP_WITHIN: Duration = Duration::from_secs(1);

/// Writes the answer to a request that was not read.
pub(super) type Refuse = Arc<dyn Fn(Code) -> Vec<u8> + Send + Sync>;

/// Time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Time for the head of a request, from its first byte; for the first one, from the connection's start.
    pub(super) head: Duration,
    /// Time in which a client must read what is ready for it.
    pub(super) answer: Duration,
    /// Time between an answer and the next request. The connection then ends.
    pub(super) idle: Duration,
}

pub(super) struct Wire {
    tcp: TcpStream,
    patience: Patience,
    refuse: Refuse,
    /// Bytes that were received and not passed on.
    input: BytesMut,
    /// Number of bytes at the start of `input` that may be passed on.
    checked: usize,
    framing: Framing,
    head_deadline: Option<Pin<Box<Sleep>>>,
    /// True when something was passed on, and nothing written since.
    is_awaited: bool,
    written_at: Instant,
    /// Ends with the time for the next request, or before.
    idle_deadline: Option<Pin<Box<Sleep>>>,
    /// True when a request was passed on, and others have not had their turn since.
    took_turn: bool,
    answer_deadline: Option<Pin<Box<Sleep>>>,
    /// True when the client has to read before more can be written.
    is_blocked: bool,
    pipelined: Pipelined,
    end: Option<End>,
    _place: Place,
}

/// How far a connection is whose client sends requests before it has its answers.
#[derive(PartialEq)]
enum Pipelined {
    /// The client has waited for every answer so far.
    No,
    /// What was written is flushed.
    Read,
    /// Something was written since the last flush.
    Unflushed,
}

/// The last answer of a connection, which actix knows nothing of.
enum End {
    /// These bytes are written when actix has written its own answers.
    Answer(Vec<u8>),
    Drop {
        deadline: Pin<Box<Sleep>>,
        dropped: usize,
    },
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, patience: Patience, refuse: Refuse, place: Place) -> Self {
        Self {
            tcp,
            patience,
            refuse,
            input: BytesMut::new(),
            checked: 0,
            framing: Framing::Head,
            head_deadline: Some(Box::pin(sleep(patience.head))),
            is_awaited: false,
            written_at: Instant::now(),
            idle_deadline: None,
            took_turn: false,
            answer_deadline: None,
            is_blocked: false,
            pipelined: Pipelined::No,
            end: None,
            _place: place,
        }
    }

    /// Checks what was received, up to the next head. False when more is needed.
    fn check(&mut self) -> bool {
        loop {
            let unchecked = self.input.get(self.checked..).unwrap_or_default();
            let was_head = self.framing == Framing::Head;
            match self.framing.advance(unchecked) {
                Ok(0) => return self.checked > 0,
                Ok(passed) => {
                    self.checked += passed;
                    self.is_awaited = true;
                    if was_head {
                        (self.took_turn, self.head_deadline) = (true, None);
                    }
                    if self.framing == Framing::Head {
                        return true;
                    }
                }
                Err(Refused::Head(code)) => {
                    self.refuse(code);
                    return false;
                }
                Err(Refused::Body) => {
                    tracing::debug!("the chunks of a request's body are malformed");
                    metrics::counter!("postpeer_connections_refused_total", "reason" => "malformed").increment(1);
                    // The request ends early. Its handler notices, and answers.
                    self.input.truncate(self.checked);
                    self.end = Some(End::Answer(Vec::new()));
                    return self.checked > 0;
                }
            }
        }
    }

    /// Ends the connection with an answer.
    fn refuse(&mut self, code: Code) {
        let reason = if code == Code::RequestTimeout { "late" } else { "malformed" };
        metrics::counter!("postpeer_connections_refused_total", "reason" => reason).increment(1);
        // Nobody has asked for anything on a connection without a byte: browsers open some ahead.
        let answer = if self.input.is_empty() { Vec::new() } else { (self.refuse)(code) };
        self.input.zeroize();
        self.input.clear();
        self.end = Some(End::Answer(answer));
    }

    /// True when the next head has to wait: for the client to read, or for the turns of others.
    fn waits_for_turn(&mut self, context: &Context<'_>) -> bool {
        if self.framing != Framing::Head || self.input.is_empty() {
            return false;
        }
        if self.pipelined == Pipelined::No {
            self.pipelined = Pipelined::Read;
        }
        if self.is_blocked {
            return true;
        }
        if std::mem::take(&mut self.took_turn) {
            context.waker().wake_by_ref();
            return true;
        }
        false
    }

    /// True when the head did not arrive in time.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.framing != Framing::Head || (self.head_deadline.is_none() && self.input.is_empty()) {
            return false;
        }
        let patience = self.patience.head;
        let deadline = self.head_deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        deadline.as_mut().poll(context).is_ready()
    }

    /// True when the next request did not come in time after the latest answer.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        let is_used = self.framing != Framing::Head || self.is_awaited || self.is_blocked || !self.input.is_empty();
        if is_used || self.head_deadline.is_some() {
            return false;
        }
        let until = self.written_at + self.patience.idle;
        let deadline = self.idle_deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // Put off when it ends, and not with each answer: that costs more.
        while deadline.as_mut().poll(context).is_ready() {
            if deadline.deadline() >= until {
                return true;
            }
            deadline.as_mut().reset(until);
        }
        false
    }

    /// Writes, or fails when the client has not read for too long.
    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.is_blocked = written.is_pending();
        if !self.is_blocked {
            (self.is_awaited, self.written_at) = (false, Instant::now());
            if self.pipelined == Pipelined::Read {
                self.pipelined = Pipelined::Unflushed;
            }
            return written;
        }
        let patience = self.patience.answer;
        let deadline = self.answer_deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(context));
        tracing::debug!("a client did not read its answer in time");
        metrics::counter!("postpeer_connections_refused_total", "reason" => "unread").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.input.zeroize();
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        loop {
            if wire.checked > 0 {
                let length = wire.checked.min(buf.remaining());
                let mut passed = wire.input.split_to(length);
                buf.put_slice(&passed);
                passed.zeroize();
                wire.checked -= length;
                return Poll::Ready(Ok(()));
            }
            // To actix, a refusal is the end of the input.
            if wire.end.is_some() {
                return Poll::Ready(Ok(()));
            }
            if wire.waits_for_turn(context) {
                return Poll::Pending;
            }
            if wire.check() || wire.end.is_some() {
                continue;
            }
            if wire.is_late(context) {
                wire.refuse(Code::RequestTimeout);
                continue;
            }
            wire.input.reserve(READ_AT_ONCE);
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut wire.tcp), context, &mut wire.input);
            // The others have their turn now.
            wire.took_turn &= read.is_ready();
            // To actix, an idle connection is one that its client has ended.
            if read.is_pending() && wire.is_idle(context) {
                return Poll::Ready(Ok(()));
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(context, bytes)
    }

    /// Actix calls this when everything that is ready has been written.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.answer_deadline = None;
        if wire.idle_deadline.is_none() {
            // Nobody may read until it ends.
            wire.is_idle(context);
        }
        // Actix takes in sixteen requests at a time, and would not look for more once it has answered them.
        if wire.pipelined == Pipelined::Unflushed {
            wire.pipelined = Pipelined::Read;
            context.waker().wake_by_ref();
        }
        Pin::new(&mut wire.tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        loop {
            match wire.end.take() {
                None => return Pin::new(&mut wire.tcp).poll_shutdown(context),
                Some(End::Answer(mut answer)) if !answer.is_empty() => match wire.write(context, &answer) {
                    Poll::Ready(written) => {
                        answer.drain(..written?.min(answer.len()));
                        wire.end = Some(End::Answer(answer));
                    }
                    Poll::Pending => {
                        wire.end = Some(End::Answer(answer));
                        return Poll::Pending;
                    }
                },
                Some(End::Answer(_)) => {
                    ready!(Pin::new(&mut wire.tcp).poll_shutdown(context))?;
                    wire.end = Some(End::Drop { deadline: Box::pin(sleep(DROP_WITHIN)), dropped: 0 });
                }
                // Closing with bytes unread would reset the connection, and the answer might be lost.
                Some(End::Drop { mut deadline, dropped }) => {
                    wire.input.zeroize();
                    wire.input.clear();
                    wire.input.reserve(READ_AT_ONCE);
                    let read = tokio_util::io::poll_read_buf(Pin::new(&mut wire.tcp), context, &mut wire.input);
                    let is_late = deadline.as_mut().poll(context).is_ready();
                    match read {
                        Poll::Ready(Ok(length)) if length > 0 && dropped < DROP_MAX && !is_late => {
                            wire.end = Some(End::Drop { deadline, dropped: dropped + length });
                        }
                        Poll::Pending if !is_late => {
                            wire.end = Some(End::Drop { deadline, dropped });
                            return Poll::Pending;
                        }
                        _ => return Poll::Ready(Ok(())),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::server::connections::Connections;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const IDLE: Duration = Duration::from_millis(200);

    /// A connection, and its client.
    async fn connect() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, peer) = listener.accept().await.unwrap();
        let long = Duration::from_mins(1);
        let place = Arc::new(Connections::default()).admit(peer.ip(), 1, None).unwrap();
        let patience = Patience { head: long, answer: long, idle: IDLE };
        (Wire::new(tcp, patience, Arc::new(|_| Vec::new()), place), client)
    }

    /// Sends a request and answers it.
    async fn exchange(wire: &mut Wire, client: &mut TcpStream) {
        client.write_all(REQUEST).await.unwrap();
        let mut read = [0; REQUEST.len()];
        wire.read_exact(&mut read).await.unwrap();
        assert_eq!(read, REQUEST);
        wire.write_all(b"answer").await.unwrap();
        wire.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_ends_some_time_after_its_latest_answer() {
        let (mut wire, mut client) = connect().await;
        let mut begun = Instant::now();
        for _ in 0..4 {
            begun = Instant::now();
            exchange(&mut wire, &mut client).await;
            let more = tokio::time::timeout(IDLE / 2, wire.read_u8()).await;
            assert!(more.is_err() || begun.elapsed() >= IDLE, "{more:?}");
        }
        assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
        assert!(begun.elapsed() >= IDLE);
    }

    #[tokio::test]
    async fn who_answers_may_take_longer() {
        let (mut wire, mut client) = connect().await;
        exchange(&mut wire, &mut client).await;
        client.write_all(REQUEST).await.unwrap();
        wire.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        let more = tokio::time::timeout(2 * IDLE, wire.read_u8()).await;
        assert!(more.is_err(), "{more:?}");
    }
}
