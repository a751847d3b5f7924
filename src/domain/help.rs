//! Who can end a failure: one name in metric, log and `health`.

use strum::{IntoStaticStr, VariantArray};

/// Who can end a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Help {
    /// Connects again, grants permissions, or settles something with their account.
    AccountOwner,
    /// No answer says whose fault it is.
    NobodyKnown,
    /// Changes the OAuth app, a setting or a payment.
    Operator,
    /// An outage or throttling ends by itself.
    Platform,
}

impl Help {
    /// The name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.into_str()
    }
}
