//! What must hold for any bytes whatever: for the fuzzer, and for the test that stands in for it.

use ingest::fields::{Batch, Fields};
use std::borrow::Cow;

/// No decoder panics, none makes more of what it was given, and the forms agree with each other.
///
/// # Panics
///
/// When a law does not hold for `bytes`.
pub(crate) fn holds_for(bytes: &[u8]) {
    let form = Fields::of_form(bytes);
    if let Ok(fields) = &form {
        is_bounded(fields, bytes);
        assert_eq!(fields.clone().and(fields.clone()).as_ref(), Ok(fields), "the same twice is the same");
    }
    let json = Fields::of_json(bytes);
    if let Ok(fields) = &json {
        is_bounded(fields, bytes);
    }
    match Fields::of_body(Some("application/json"), bytes) {
        Ok(fields) if bytes.trim_ascii().is_empty() => assert_eq!(fields, Fields::default()),
        read => assert_eq!(read.is_ok(), json.is_ok(), "a type that says JSON means JSON"),
    }
    if let Ok(Batch(all)) = Batch::of_json(bytes) {
        assert!(all.len() <= kit::ARRAY_MAX);
        for fields in &all {
            is_bounded(fields, bytes);
        }
    }
}

fn is_bounded(fields: &Fields<'_>, bytes: &[u8]) {
    let Fields {
        token,
        user,
        mac,
        address,
        id,
        account,
        router,
        status,
        says,
        source,
        boot,
        seq,
        at,
        detail,
    } = fields;
    let all = [token, user, mac, address, id, account, router, status, says, source, boot, seq, at, detail];
    let held: usize = all.into_iter().flatten().map(|text: &Cow<'_, str>| text.len()).sum();
    assert!(held <= bytes.len(), "{held} bytes were made of {}", bytes.len());
}
