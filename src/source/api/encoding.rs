//! JSON and protobuf around the objects: content types, envelopes, pages and events.
//!
//! If [`KindDescriptor::message`] has a message for a kind, ndots asks for protobuf, and for JSON
//! as the second choice. The reply's `Content-Type` says which one the server chose. A server may
//! have only JSON for a kind of a CustomResourceDefinition; an aggregated server may have only
//! JSON, too.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::kind::{
    Decoded, Encoded, KindDescriptor, Message, Version,
    protobuf::{self, ProtobufError, Shape},
};

use super::{
    error::WatchError,
    page::{Page, PageMeta, items},
    status::Status,
};

/// How a server writes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Protobuf,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What Kubernetes' own clients ask for.
const ACCEPTED: &str = "application/vnd.kubernetes.protobuf,application/json";

/// Every object in protobuf has these octets first, then `runtime.Unknown`.
const MAGIC: &[u8] = b"k8s\0";

static UNKNOWN: Message = Message(&[
    (1, "typeMeta", Shape::Message(&TYPE_META)),
    (2, "raw", Shape::Octets),
    (3, "contentEncoding", Shape::Text),
]);
static TYPE_META: Message = Message(&[(2, "kind", Shape::Text)]);
static LIST: Message =
    Message(&[(1, "metadata", Shape::Message(&LIST_META)), (2, "items", Shape::OctetsList)]);
static LIST_META: Message =
    Message(&[(2, "resourceVersion", Shape::Text), (3, "continue", Shape::Text)]);
static STATUS: Message = Message(&[(3, "message", Shape::Text), (6, "code", Shape::Integer)]);
static EVENT: Message =
    Message(&[(1, "type", Shape::Text), (2, "object", Shape::Message(&RAW_EXTENSION))]);
static RAW_EXTENSION: Message = Message(&[(1, "raw", Shape::Octets)]);

impl Encoding {
    /// Adds the header that asks for this encoding.
    pub(super) fn ask(self, headers: &mut HeaderMap) {
        if self == Self::Protobuf {
            headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        }
    }

    /// The encoding of a reply with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::named(headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes))
    }

    fn named(content_type: &[u8]) -> Self {
        if content_type.starts_with(PROTOBUF.as_bytes()) { Self::Protobuf } else { Self::Json }
    }
}

/// `runtime.Unknown`: an object with its kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unknown<'u> {
    #[serde(default)]
    type_meta: TypeMeta,
    #[serde(borrow, default)]
    raw: &'u [u8],
    #[serde(default)]
    content_encoding: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TypeMeta {
    kind: String,
}

impl<'u> Unknown<'u> {
    fn open(octets: &'u [u8]) -> Result<Self, ProtobufError> {
        use serde::de::Error;
        let octets = octets
            .strip_prefix(MAGIC)
            .ok_or_else(|| ProtobufError::custom("it does not begin with k8s\\0"))?;
        let unknown: Self = protobuf::read(&UNKNOWN, octets)?;
        if !unknown.content_encoding.is_empty() {
            return Err(ProtobufError::custom("it is compressed"));
        }
        Ok(unknown)
    }
}

/// The objects of a page with its metadata.
pub(super) fn page<'p>(
    kind: &KindDescriptor,
    version: &Version,
    encoding: Encoding,
    octets: &'p [u8],
) -> Result<(PageMeta, Vec<Encoded<'p>>), WatchError> {
    #[derive(Deserialize)]
    struct List<'l> {
        #[serde(default)]
        metadata: PageMeta,
        #[serde(borrow, default, deserialize_with = "items")]
        items: Vec<&'l [u8]>,
    }
    if encoding == Encoding::Json {
        let Page { metadata, items, .. } = Page::read(kind.name, octets)?;
        return Ok((metadata, items.into_iter().map(|item| Encoded::Json(item.get())).collect()));
    }
    let unreadable = |error| WatchError::unreadable("a page", error);
    let unknown = Unknown::open(octets).map_err(unreadable)?;
    let (found, expected) = (unknown.type_meta.kind, format!("{}List", kind.name));
    if found == "Status" {
        let status = protobuf_status(octets).unwrap_or_default();
        return Err(WatchError::of_status(status, None));
    }
    let Some(message) = kind.message(version).filter(|_| found == expected) else {
        let error = format!("its kind is {found:?}, but {expected} is expected");
        return Err(WatchError::unreadable("a page", error));
    };
    let List { metadata, items } = protobuf::read(&LIST, unknown.raw).map_err(unreadable)?;
    let items = items.into_iter().map(|item| Encoded::Protobuf(message, item)).collect();
    Ok((metadata, items))
}

/// Decodes the objects of a page as a list does. Tests compare the encodings of a real server with
/// it.
///
/// # Errors
/// If the octets are not a page of the kind.
pub fn decode_page(
    kind: &KindDescriptor,
    version: &Version,
    content_type: &str,
    octets: &[u8],
) -> Result<Vec<Decoded>, String> {
    let encoding = Encoding::named(content_type.as_bytes());
    let (_, items) = page(kind, version, encoding, octets).map_err(|error| error.to_string())?;
    let decoded = items.into_iter().map(|item| kind.decode(version, item));
    decoded.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// An event of a watch.
pub(super) struct Event<'e> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(super) name: Cow<'e, str>,
    pub(super) object: EventObject<'e>,
}

pub(super) enum EventObject<'e> {
    Json(&'e RawValue),
    /// The message with its envelope.
    Protobuf(&'e [u8]),
}

impl<'e> Event<'e> {
    pub(super) fn read(encoding: Encoding, octets: &'e [u8]) -> Result<Self, WatchError> {
        #[derive(Deserialize)]
        struct JsonEvent<'e> {
            #[serde(rename = "type", borrow)]
            name: Cow<'e, str>,
            #[serde(borrow)]
            object: &'e RawValue,
        }
        #[derive(Deserialize)]
        struct ProtobufEvent<'e> {
            #[serde(rename = "type", borrow)]
            name: Cow<'e, str>,
            #[serde(borrow)]
            object: RawExtension<'e>,
        }
        #[derive(Deserialize)]
        struct RawExtension<'e> {
            #[serde(borrow)]
            raw: &'e [u8],
        }
        match encoding {
            Encoding::Json => serde_json::from_slice::<JsonEvent<'_>>(octets)
                .map(|event| Self { name: event.name, object: EventObject::Json(event.object) })
                .map_err(|error| WatchError::unreadable("an event", error)),
            Encoding::Protobuf => protobuf::read::<ProtobufEvent<'_>>(&EVENT, octets)
                .map(|event| Self {
                    name: event.name,
                    object: EventObject::Protobuf(event.object.raw),
                })
                .map_err(|error| WatchError::unreadable("an event", error)),
        }
    }
}

impl<'e> EventObject<'e> {
    pub(super) fn encoded(
        &self,
        kind: &KindDescriptor,
        version: &Version,
    ) -> Result<Encoded<'e>, WatchError> {
        let octets = match *self {
            Self::Json(json) => return Ok(Encoded::Json(json.get())),
            Self::Protobuf(octets) => octets,
        };
        let unknown =
            Unknown::open(octets).map_err(|error| WatchError::unreadable("an event", error))?;
        let found = unknown.type_meta.kind;
        match kind.message(version) {
            Some(message) if found == kind.name => Ok(Encoded::Protobuf(message, unknown.raw)),
            _ => {
                let error = format!("its kind is {found:?}, but {} is expected", kind.name);
                Err(WatchError::unreadable("an event", error))
            }
        }
    }

    /// The object of the event `ERROR`.
    pub(super) fn status(&self) -> Result<Status, WatchError> {
        let octets = match self {
            Self::Json(json) => json.get().as_bytes(),
            Self::Protobuf(octets) => octets,
        };
        status(octets).map_err(|error| WatchError::unreadable("an event", error))
    }
}

/// Reads a `Status` in either encoding.
pub(super) fn status(octets: &[u8]) -> Result<Status, String> {
    if octets.starts_with(MAGIC) {
        protobuf_status(octets).map_err(|error| error.to_string())
    } else {
        serde_json::from_slice(octets).map_err(|error| error.to_string())
    }
}

fn protobuf_status(octets: &[u8]) -> Result<Status, ProtobufError> {
    protobuf::read(&STATUS, Unknown::open(octets)?.raw)
}
