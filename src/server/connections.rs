//! Counts open connections, in all and by address.
//!
//! Invariant: a connection is counted for as long as its [`Place`] lives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The open connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// The limit that a new connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Address,
}

/// A counted connection.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    /// Counts a connection, unless there are `all` already, or `of_address` of this address.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        all: usize,
        of_address: Option<usize>,
    ) -> Result<Place, Full> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= all {
            return Err(Full::All);
        }
        let count = open.of.get(&address).copied().unwrap_or(0);
        if of_address.is_some_and(|most| count >= most) {
            return Err(Full::Address);
        }
        open.all += 1;
        open.of.insert(address, count + 1);
        Ok(Place { connections: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        match open.of.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.of.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_until_they_end() {
        let connections = Arc::new(Connections::default());
        let admit = |address: u8, of_address| connections.admit(IpAddr::from([127, 0, 0, address]), 4, of_address);
        let first = [admit(1, Some(2)).unwrap(), admit(1, Some(2)).unwrap()];
        assert_eq!(admit(1, Some(2)).unwrap_err(), Full::Address);
        let third = admit(1, None).unwrap();
        let _fourth = admit(2, Some(2)).unwrap();
        assert_eq!(admit(3, Some(2)).unwrap_err(), Full::All);
        drop((first, third));
        assert!(admit(1, Some(1)).is_ok());
        assert_eq!(connections.0.lock().unwrap().of.len(), 1, "no address is kept without a connection");
    }
}
