//! Reads the pages of a list.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{limits, source::kind::or_default};

use super::{error::WatchError, status::Status};

/// A page of a list. Its objects are decoded one by one.
#[derive(Deserialize)]
pub(crate) struct Page<'p> {
    #[serde(borrow)]
    kind: Cow<'p, str>,
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    /// Required, but some servers write `null` for an empty list.
    #[serde(borrow, deserialize_with = "items")]
    pub(crate) items: Vec<&'p RawValue>,
}

impl<'p> Page<'p> {
    /// Reads a page of a list of `kind`, such as `Service`. Other JSON is an error: if it counted
    /// as an empty list, all names of the kind would disappear.
    pub(crate) fn read(kind: &str, json: &'p [u8]) -> Result<Self, WatchError> {
        let expected = format!("{kind}List");
        match serde_json::from_slice::<Self>(json) {
            Ok(page) if page.kind == expected => Ok(page),
            other => Err(not_a_page(&expected, json, other.err())),
        }
    }
}

/// Reads the objects of a page, if they are not too many. `null` is an empty list.
pub(super) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_option(Items(PhantomData))
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of a list")
    }

    fn visit_none<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = objects.next_element()? {
            if items.len() == limits::API_PAGE_OBJECTS {
                let most = limits::API_PAGE_OBJECTS;
                return Err(A::Error::custom(format!("it has more than {most} objects")));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// Why `json` is not a page of the kind `expected`.
fn not_a_page(expected: &str, json: &[u8], error: Option<serde_json::Error>) -> WatchError {
    #[derive(Deserialize)]
    struct Typed {
        kind: String,
    }
    match serde_json::from_slice::<Typed>(json) {
        // A server or a proxy in front of it may send an error with the HTTP status 200.
        Ok(Typed { kind }) if kind == "Status" => {
            let mut status: Status = serde_json::from_slice(json).unwrap_or_default();
            if status.message.is_empty() {
                "the server reported success instead of a list".clone_into(&mut status.message);
            }
            WatchError::of_status(status, None)
        }
        Ok(Typed { kind }) if kind != expected => WatchError::unreadable(
            "a page",
            format!("its kind is {kind:?}, but {expected} is expected"),
        ),
        _ => WatchError::unreadable(
            "a page",
            error.map_or_else(|| "it is not a list".to_owned(), |error| error.to_string()),
        ),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PageMeta {
    #[serde(rename = "resourceVersion", deserialize_with = "or_default")]
    pub(crate) resource_version: String,
    /// Where the next page begins; empty on the last one.
    #[serde(rename = "continue", deserialize_with = "or_default")]
    pub(crate) after: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_the_kind_is_a_page() {
        for (json, expected) in [
            (r#"{"kind":"ServiceList","items":[{},{}]}"#, Ok(2)),
            (r#"{"kind":"ServiceList","metadata":{"continue":"a"},"items":[]}"#, Ok(0)),
            (r#"{"kind":"ServiceList","items":null}"#, Ok(0)),
            (r#"{"kind":"ServiceList"}"#, Err("missing field `items`")),
            (r#"{"kind":"ServiceList","items":{}}"#, Err("invalid type: map")),
            (r#"{"kind":"PodList","items":[]}"#, Err(r#"its kind is "PodList", but ServiceList"#)),
            (r#"{"items":[]}"#, Err("missing field `kind`")),
            ("{}", Err("missing field `kind`")),
            ("[]", Err("invalid length")),
            ("null", Err("invalid type")),
            ("", Err("EOF")),
            ("<html>", Err("expected value")),
            (r#"{"kind":"Status","message":"try later","code":429}"#, Err("try later")),
            (r#"{"kind":"Status","status":"Success"}"#, Err("reported success instead of a list")),
            (r#"{"kind":"ServiceList","items":[{}"#, Err("EOF")),
        ] {
            let found = Page::read("Service", json.as_bytes());
            match (found, expected) {
                (Ok(page), Ok(count)) => assert_eq!(page.items.len(), count, "{json}"),
                (Err(error), Err(text)) => {
                    assert!(error.to_string().contains(text), "{json}: {error}");
                }
                (found, _) => panic!("{json}: {:?}", found.map(|page| page.items.len())),
            }
        }
    }

    /// Decoded empty objects would need several times the octets of their page in memory.
    #[test]
    fn a_page_with_too_many_objects_is_an_error() {
        let page = |count| {
            let items = vec!["{}"; count].join(",");
            format!(r#"{{"kind":"PodList","items":[{items}]}}"#)
        };
        let most = limits::API_PAGE_OBJECTS;
        assert_eq!(Page::read("Pod", page(most).as_bytes()).unwrap().items.len(), most);
        let error = Page::read("Pod", page(most + 1).as_bytes()).err().unwrap().to_string();
        assert!(error.contains(&format!("more than {most} objects")), "{error}");
    }
}
