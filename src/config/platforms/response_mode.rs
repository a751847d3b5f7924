//! `response_mode`: refuses authorize parameters that ask for an answer which the callback cannot read.

use crate::config::keys;
use crate::config::reader::Reader;

/// Notes a mistake for each key with a mode other than `query`. `in_url`: the parameters in `authorize_url`. A form
/// would be a POST from another site, to which browsers add no `Lax` cookies.
pub(super) fn refuse_others(reader: &mut Reader, name: &str, in_url: &[(String, String)], params: &[(String, String)]) {
    let is_other = |(key, value): &(String, String)| key == "response_mode" && !["", "query"].contains(&value.as_str());
    for (key, parameters) in [("authorize_url", in_url), ("authorize_params", params)] {
        if parameters.iter().any(is_other) {
            reader.mistake(
                &[keys::PLATFORMS, name, key],
                "asks for a response_mode other than query: the platform would send its answer in a form or a fragment, \
                 which the callback does not read. Remove response_mode",
            );
        }
    }
}
