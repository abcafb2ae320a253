//! What a sender wrote: a few named texts, from a query, a form or JSON.
//!
//! The three forms mean the same. Names nobody knows are passed over, since scripts may say more than
//! is asked; a name given twice with different values is refused, since nobody could say which counts.
//! A `%` that begins no escape stands for itself: RouterOS scripts do not escape what they send.
//!
//! Nothing in here allocates unless something had to be unescaped, and nothing panics whatever
//! the bytes are.

use kit::ARRAY_MAX;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt};

/// Why what was sent cannot be read. Never repeats a value: it might be a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// A name of a form or query is known, and its value is no UTF-8.
    NotUtf8(&'static str),
    /// A name was given twice with different values.
    Twice(&'static str),
    /// The body is not the JSON that is wanted; where and why.
    Json(String),
    /// An array holds more than [`ARRAY_MAX`] signals.
    TooMany,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::NotUtf8(name) => write!(f, "`{name}` is not UTF-8"),
            Unreadable::Twice(name) => write!(f, "`{name}` is given twice, with different values"),
            Unreadable::Json(why) => write!(f, "the body is not the JSON that is wanted: {why}"),
            Unreadable::TooMany => write!(f, "more than {ARRAY_MAX} signals in one array"),
        }
    }
}

/// A text, or a number taken as its text.
struct Text<'a>(Cow<'a, str>);

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TextVisitor)
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The texts a sender may give, by name; any may be missing.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Fields<'a> {
            $($(#[$doc])* pub $name: Option<Cow<'a, str>>,)*
        }

        impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                struct Given<'a> {
                    $(#[serde(borrow, default)] $name: Option<Text<'a>>,)*
                }
                let given = Given::deserialize(d)?;
                Ok(Fields { $($name: given.$name.map(|text| text.0),)* })
            }
        }

        impl<'a> Fields<'a> {
            /// Sets what is called `name`; passes over what nobody knows.
            fn set(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Unreadable> {
                $(if name == stringify!($name).as_bytes() {
                    let value = unescaped(value).ok_or(Unreadable::NotUtf8(stringify!($name)))?;
                    return put(&mut self.$name, value, stringify!($name));
                })*
                Ok(())
            }

            /// What was given here or there.
            ///
            /// # Errors
            ///
            /// [`Unreadable::Twice`] when both give it and not the same.
            pub fn and(mut self, other: Fields<'a>) -> Result<Fields<'a>, Unreadable> {
                $(if let Some(value) = other.$name {
                    put(&mut self.$name, value, stringify!($name))?;
                })*
                Ok(self)
            }
        }
    };
}

fields! {
    /// The sender's token, where it cannot send a header.
    token,
    /// A PPP user name.
    user,
    /// A MAC address.
    mac,
    /// The address leased to it.
    address,
    /// A device, as the network file calls it.
    id,
    /// A subscriber, as the operator's books call it.
    account,
    /// The router a session is at, as the network file calls it.
    router,
    /// What is claimed, in the words of a webhook.
    status,
    /// What is claimed, in the words of the signals API.
    says,
    /// What made the claim.
    source,
    /// The sender's boot.
    boot,
    /// The sender's sequence within that boot.
    seq,
    /// When it happened.
    at,
    /// What else there is to say.
    detail,
}

fn put<'a>(
    place: &mut Option<Cow<'a, str>>,
    value: Cow<'a, str>,
    name: &'static str,
) -> Result<(), Unreadable> {
    match place {
        Some(before) if *before != value => Err(Unreadable::Twice(name)),
        Some(_) => Ok(()),
        None => {
            *place = Some(value);
            Ok(())
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads `name=value` pairs parted by `&`, as in a query or a form.
    ///
    /// # Errors
    ///
    /// [`Unreadable::NotUtf8`], [`Unreadable::Twice`].
    pub fn of_form(form: &'a [u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields::default();
        for pair in form.split(|b| *b == b'&') {
            let at = pair.iter().position(|b| *b == b'=');
            let (name, value) = at.map_or((pair, &pair[pair.len()..]), |at| (&pair[..at], &pair[at + 1..]));
            fields.set(name, value)?;
        }
        Ok(fields)
    }

    /// Reads one JSON object.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Json`].
    pub fn of_json(json: &'a [u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(json).map_err(|error| Unreadable::Json(error.to_string()))
    }

    /// Reads a body: JSON when its type says so or it begins like an object, else a form. An empty one
    /// gives nothing.
    ///
    /// # Errors
    ///
    /// [`Unreadable`].
    pub fn of_body(content_type: Option<&str>, body: &'a [u8]) -> Result<Self, Unreadable> {
        let Some(first) = body.iter().find(|b| !b.is_ascii_whitespace()) else {
            return Ok(Fields::default());
        };
        let says = |word: &str| content_type.is_some_and(|kind| kind.contains(word));
        if says("json") || (*first == b'{' && !says("form-urlencoded")) {
            Self::of_json(body)
        } else {
            // Scripts end their lines.
            Self::of_form(body.trim_ascii())
        }
    }
}

/// An array of signals, each as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<'a>(pub Vec<Fields<'a>>);

impl<'a> Batch<'a> {
    /// Reads a JSON array of at most [`ARRAY_MAX`] objects.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Json`], [`Unreadable::TooMany`].
    pub fn of_json(json: &'a [u8]) -> Result<Self, Unreadable> {
        let batch: Vec<Fields<'a>> = serde_json::from_slice::<Counted<'a>>(json)
            .map_err(|error| Unreadable::Json(error.to_string()))?
            .0
            .ok_or(Unreadable::TooMany)?;
        Ok(Self(batch))
    }
}

/// No more than [`ARRAY_MAX`] are kept, however many there are: `None` then.
struct Counted<'a>(Option<Vec<Fields<'a>>>);

impl<'de> Deserialize<'de> for Counted<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Counted<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of signals")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Counted<'de>, A::Error> {
                let mut all = Vec::new();
                while all.len() < ARRAY_MAX {
                    let Some(fields) = array.next_element()? else { return Ok(Counted(Some(all))) };
                    all.push(fields);
                }
                let mut more = false;
                while array.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Counted((!more).then_some(all)))
            }
        }
        d.deserialize_seq(Array)
    }
}

/// `+` is a space, `%XX` a byte, anything else itself. `None`: no UTF-8.
fn unescaped(value: &[u8]) -> Option<Cow<'_, str>> {
    if !value.iter().any(|b| matches!(b, b'+' | b'%')) {
        return std::str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    let digit = |at: usize| value.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut bytes = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        at += 1;
        bytes.push(match (byte, digit(at), digit(at + 1)) {
            (b'+', _, _) => b' ',
            (b'%', Some(high), Some(low)) => {
                at += 2;
                u8::try_from(high * 16 + low).ok()?
            }
            _ => *byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_borrowed(text: &Option<Cow<'_, str>>) -> bool {
        matches!(text, Some(Cow::Borrowed(_)))
    }

    #[test]
    fn the_three_forms_mean_the_same() {
        let form = Fields::of_form(b"user=u+1&status=online&boot=b%201&seq=7&unknown=x").unwrap();
        let json = Fields::of_json(br#"{"user":"u 1","status":"online","boot":"b 1","seq":7,"unknown":[1]}"#)
            .unwrap();
        assert_eq!(form, json);
        assert_eq!(form.user.as_deref(), Some("u 1"));
        assert_eq!(form.seq.as_deref(), Some("7"));
        assert!(is_borrowed(&form.status) && is_borrowed(&json.user));
    }

    #[test]
    fn the_form_of_a_body_follows_from_its_type_or_its_look() {
        let json = br#" {"id":"a"}"#;
        for kind in [None, Some("application/json; charset=utf-8"), Some("text/plain")] {
            assert_eq!(Fields::of_body(kind, json).unwrap().id.as_deref(), Some("a"), "{kind:?}");
        }
        for kind in [None, Some("application/x-www-form-urlencoded")] {
            assert_eq!(Fields::of_body(kind, b"id=a\r\n").unwrap().id.as_deref(), Some("a"), "{kind:?}");
        }
        assert_eq!(Fields::of_body(None, b" \n").unwrap(), Fields::default());
        assert!(matches!(Fields::of_body(Some("application/json"), b"id=a"), Err(Unreadable::Json(_))));
    }

    #[test]
    fn what_is_given_twice_must_be_the_same() {
        assert_eq!(Fields::of_form(b"id=a&id=b"), Err(Unreadable::Twice("id")));
        assert!(Fields::of_form(b"id=a&id=a").is_ok());
        let (query, body) = (Fields::of_form(b"id=a").unwrap(), Fields::of_form(b"id=b&seq=1").unwrap());
        assert_eq!(query.clone().and(body), Err(Unreadable::Twice("id")));
        let both = query.and(Fields::of_form(b"seq=1").unwrap()).unwrap();
        assert_eq!((both.id.as_deref(), both.seq.as_deref()), (Some("a"), Some("1")));
        assert!(matches!(Fields::of_json(br#"{"id":"a","id":"a"}"#), Err(Unreadable::Json(_))));
    }

    #[test]
    fn a_percent_sign_that_escapes_nothing_is_itself() {
        let user = |form: &'static [u8]| Fields::of_form(form).unwrap().user.unwrap().into_owned();
        assert_eq!(user(b"user=50%"), "50%");
        assert_eq!(user(b"user=50%zz%4"), "50%zz%4");
        assert_eq!(user(b"user=%c3%A4"), "\u{e4}");
        assert_eq!(Fields::of_form(b"user=%ff"), Err(Unreadable::NotUtf8("user")));
        assert!(Fields::of_form(b"unknown=%ff").is_ok());
    }

    #[test]
    fn an_array_holds_a_thousand_and_no_more() {
        let array = |n: usize| format!("[{}]", vec!["{}"; n].join(","));
        assert_eq!(Batch::of_json(array(ARRAY_MAX).as_bytes()).unwrap().0.len(), ARRAY_MAX);
        assert_eq!(Batch::of_json(array(ARRAY_MAX + 1).as_bytes()), Err(Unreadable::TooMany));
        assert_eq!(Batch::of_json(b"[]").unwrap().0.len(), 0);
        for wrong in [&b"{}"[..], b"[1]", b"[{}", b"", b"null", br#"[{"id":true}]"#] {
            assert!(matches!(Batch::of_json(wrong), Err(Unreadable::Json(_))), "{wrong:?}");
        }
    }

    #[test]
    fn no_error_repeats_what_was_sent() {
        for body in [&br#"{"token":["mw_secret"]}"#[..], br#"{"token":"mw_secret"#, br#"{"token":mw_secret}"#]
        {
            assert!(!Fields::of_json(body).unwrap_err().to_string().contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>) {
            drop(Fields::of_form(&bytes));
            drop(Fields::of_json(&bytes));
            drop(Fields::of_body(None, &bytes));
            drop(Batch::of_json(&bytes));
        }

        #[test]
        fn nearly_right_forms_never_panic(form in "(user|id|seq|boot|at|%|=|&|[+%a-f0-9]){0,40}") {
            drop(Fields::of_form(form.as_bytes()));
        }

        #[test]
        fn nearly_right_json_never_panics(json in r#"(\[|\]|\{|\}|"id"|"seq"|:|,|"\\u00[0-9a-f]{2}"|-?[0-9]{1,20}|null|true){0,30}"#) {
            drop(Fields::of_json(json.as_bytes()));
            drop(Batch::of_json(json.as_bytes()));
        }

        #[test]
        fn what_was_escaped_comes_out_as_it_was(user in "\\PC{0,40}") {
            let escaped: String = user.bytes().map(|b| format!("%{b:02X}")).collect();
            let form = format!("user={escaped}");
            let fields = Fields::of_form(form.as_bytes()).unwrap();
            prop_assert_eq!(fields.user.as_deref(), Some(user.as_str()));
        }
    }
}
