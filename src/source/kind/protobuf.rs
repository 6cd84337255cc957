//! Reads objects in the API's protobuf encoding into the same types as their JSON.
//!
//! A [`Message`] maps the numbers of the fields that ndots reads to their names in JSON. So the
//! types of the kinds, which implement `Deserialize`, are filled from either encoding, and the same
//! code turns them into facts. Fields that the table does not have are skipped without being
//! decoded, as the protobuf specification requires for unknown fields.
//!
//! The numbers are those of `generated.proto` in k8s.io/api. Kubernetes never changes them.
//!
//! An empty text is read as an absent field: the encoders of Kubernetes write every field that is
//! not a pointer, and its JSON leaves such a field out if it is empty.

mod value;

use serde::Deserialize;

use value::Reader;

/// The fields of a message that are read: number, name in JSON, and shape. At most 64.
#[derive(Debug)]
pub struct Message(pub(in crate::source) &'static [(u32, &'static str, Shape)]);

/// What a field contains.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) enum Shape {
    Text,
    /// Octets that the reader gets as they are.
    Octets,
    Integer,
    Bool,
    /// `metav1.Time`, which JSON has as a text (RFC 3339).
    Time,
    Message(&'static Message),
    Texts,
    OctetsList,
    Messages(&'static Message),
    /// A map of texts.
    Map,
}

/// Octets that are not the expected message.
pub(in crate::source) type ProtobufError = serde::de::value::Error;

/// Reads a message as a `T`. `T` may borrow from `octets`.
///
/// If a field that is not a list occurs twice, the last one counts, and messages are not merged. No
/// encoder of Kubernetes writes a field twice.
///
/// # Errors
/// If the octets are not well-formed, or if a field of the table has another type.
pub(in crate::source) fn read<'o, T: Deserialize<'o>>(
    message: &'static Message,
    octets: &'o [u8],
) -> Result<T, ProtobufError> {
    T::deserialize(Reader { message, octets })
}

#[cfg(test)]
mod tests;
