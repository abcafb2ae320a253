//! `/tool/fetch` as an API client asks for it: one request from the router's own address.

use std::sync::Arc;

use routeros_api::value;
use routeros_api::wire::Sentence;

use super::Refusal;
use crate::lab::{Lab, Way};
use crate::network::RouterIndex;
use crate::script::Fetch;

/// Does what was asked for; the last row of what a router answers.
///
/// # Errors
///
/// What the router says when it may not, does not understand, or is not answered with 2xx.
pub(super) async fn fetch(lab: &Arc<Lab>, router: RouterIndex, said: &Sentence) -> Result<Sentence, Refusal> {
    let mut fetch = Fetch::default();
    for (name, value) in said.attributes() {
        let (name, value) = (value::text(name).into_owned(), value::text(value).into_owned());
        match name.as_str() {
            "url" => fetch.url = value,
            "http-method" => fetch.method = Some(value),
            "http-data" => fetch.data = Some(value),
            "http-header-field" => fetch
                .take_header_fields(&value)
                .map_err(|_| Refusal::failure("failure: header field without a colon"))?,
            "output" if value == "none" || value == "user" => {}
            "check-certificate" if value::truth(&value).is_ok() => {}
            other => return Err(Refusal::unknown_parameter(other)),
        }
    }
    if !lab.with(|state| state.router(router).device_mode.allows_push()) {
        return Err(Refusal::not_in_device_mode());
    }
    match lab.fetch(router, fetch, Way::Own).await {
        Ok(()) => Ok(Sentence::re().with("status", "finished")),
        Err(why) => Err(Refusal::failure(why)),
    }
}
