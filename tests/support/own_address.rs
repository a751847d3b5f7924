//! An address for a server that comes back at it: nobody else on this machine takes it in between.
//!
//! A port that was free a moment ago may be the next connection's. Connections of other tests begin at 127.0.0.1, so each
//! server gets another loopback address, where the machine has more than one (Linux).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A free port of an address that no other test has.
pub(crate) fn own_address() -> SocketAddr {
    let [.., high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let [.., process] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, process.clamp(1, 254), high, low.clamp(1, 254));
    let listener = TcpListener::bind((own, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    listener.and_then(|listener| listener.local_addr()).unwrap()
}
