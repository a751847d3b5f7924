//! Tells systemd that the broker is ready, where it asked for that (`Type=notify`; sd_notify(3)).

use std::os::unix::net::UnixDatagram;

use crate::config::Environment;
use crate::domain::error_chain::chain;

/// A failure is a warning: systemd then says that the start took too long.
pub(super) fn ready(environment: &Environment) {
    // An abstract socket begins with @. systemd uses a path.
    let Some(path) = environment.get("NOTIFY_SOCKET").filter(|socket| socket.starts_with('/')) else { return };
    let told = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = told {
        tracing::warn!(error = %chain(&error), "cannot tell systemd that the broker is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_on_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        ready(&[("NOTIFY_SOCKET", path.to_str().unwrap())].into());
        let mut told = [0; 16];
        let length = socket.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1");
        ready(&Environment::default());
    }
}
