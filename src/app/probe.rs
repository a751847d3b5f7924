//! Asks the configured platforms whether they can be reached and accept the operator's credentials, for the command
//! line. Needs neither keyring nor database, and changes nothing here or there.

use futures_util::{StreamExt as _, stream};

use super::{Error, Ports, reach, runtime_here};
use crate::config::Config;
pub use crate::upstream::{Outcome, Probed, Reachable, Suspect, Verdict};

/// Most platforms that are asked at the same time.
const AT_ONCE: usize = 4;

/// Asks the enabled platforms of these names, in that order, each once. `callback` makes a platform's callback URL.
/// Must not be called from a runtime.
///
/// # Errors
///
/// The client for talking to platforms cannot be set up.
pub fn probe(
    config: &Config,
    ports: &Ports,
    names: &[&str],
    callback: impl Fn(&str) -> String,
) -> Result<Vec<Outcome>, Error> {
    let upstream = &reach(config, ports)?;
    let runtime = runtime_here()?;
    let ask = |name: &&str| {
        let (name, callback) = ((*name).to_owned(), callback(name));
        async move { upstream.probe(&name, &callback).await }
    };
    let asked: Vec<_> = names.iter().map(ask).collect();
    Ok(runtime.block_on(stream::iter(asked).buffered(AT_ONCE).collect()))
}
