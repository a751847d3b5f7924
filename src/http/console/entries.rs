//! Entries of the audit trail, as rows of a page.

use std::collections::BTreeMap;

use super::view::{Time, View};
use crate::domain::audit::{DONE, Recorded};
use crate::domain::id::AccessKeyId;

/// An entry in words.
pub(crate) struct EntryRow {
    pub(crate) time: Time,
    pub(crate) action: &'static str,
    pub(crate) actor: &'static str,
    /// Name of the key that acted, or of the one that began the connection; its id where the name is not known.
    pub(crate) key: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) object: String,
    /// `None` for what simply succeeded.
    pub(crate) outcome: Option<String>,
}

pub(crate) fn entry_row(at: &View<'_>, recorded: Recorded, keys: &BTreeMap<AccessKeyId, String>) -> EntryRow {
    let entry = recorded.entry;
    let key = entry.by.access_key_id.map(|id| keys.get(&id).cloned().unwrap_or_else(|| id.to_string()));
    EntryRow {
        time: at.time(recorded.at),
        action: entry.action.into_str(),
        actor: (at.words.actor)(entry.by.actor),
        key,
        address: entry.by.address.map(|address| address.to_string()),
        object: entry.object,
        outcome: Some(entry.outcome.into_owned()).filter(|outcome| outcome != DONE),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn entry(text: &str) -> EntryRow {
        let own = || text.to_owned();
        EntryRow {
            time: Time { shown: own(), exact: own() },
            action: "account.connected",
            actor: "",
            key: Some(own()),
            address: Some(own()),
            object: own(),
            outcome: Some(own()),
        }
    }
}
