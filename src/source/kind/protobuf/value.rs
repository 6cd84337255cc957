//! Presents a message to serde in the form of its JSON: a map with the names of the fields, which
//! contains values, lists and other maps.

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor, value::BorrowedStrDeserializer},
    forward_to_deserialize_any,
};

use crate::protobuf::{Fields, Malformed, Value};

use super::{Message, ProtobufError, Shape};

/// A message as a whole.
#[derive(Clone, Copy)]
pub(super) struct Reader<'o> {
    pub(super) message: &'static Message,
    pub(super) octets: &'o [u8],
}

/// Implements `Deserializer` for a type with a method `visit`. A field that is present is `Some`.
macro_rules! deserializer {
    ($type:ident) => {
        impl<'de> Deserializer<'de> for $type<'de> {
            type Error = ProtobufError;

            fn deserialize_any<V: Visitor<'de>>(
                self,
                visitor: V,
            ) -> Result<V::Value, ProtobufError> {
                self.visit(visitor)
            }

            fn deserialize_option<V: Visitor<'de>>(
                self,
                visitor: V,
            ) -> Result<V::Value, ProtobufError> {
                visitor.visit_some(self)
            }

            fn deserialize_newtype_struct<V: Visitor<'de>>(
                self,
                _: &'static str,
                visitor: V,
            ) -> Result<V::Value, ProtobufError> {
                visitor.visit_newtype_struct(self)
            }

            fn deserialize_ignored_any<V: Visitor<'de>>(
                self,
                visitor: V,
            ) -> Result<V::Value, ProtobufError> {
                visitor.visit_unit()
            }

            forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
                unit unit_struct seq tuple tuple_struct map struct enum identifier
            }
        }
    };
}

deserializer!(Reader);
deserializer!(Element);
deserializer!(List);
deserializer!(TextMap);

impl<'o> Reader<'o> {
    fn visit<V: Visitor<'o>>(self, visitor: V) -> Result<V::Value, ProtobufError> {
        let fields = Fields(self.octets);
        visitor.visit_map(MessageMap { message: self.message, fields, seen: 0, current: None })
    }
}

/// The fields of a message by name.
struct MessageMap<'o> {
    message: &'static Message,
    fields: Fields<'o>,
    /// One bit for each entry of the table that has been visited.
    seen: u64,
    current: Option<Found<'o>>,
}

/// A field whose name has been visited, and whose value comes next.
struct Found<'o> {
    number: u32,
    shape: Shape,
    value: Value<'o>,
    /// The fields after it.
    after: Fields<'o>,
}

impl<'o> MapAccess<'o> for MessageMap<'o> {
    type Error = ProtobufError;

    fn next_key_seed<K: DeserializeSeed<'o>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ProtobufError> {
        while let Some(field) = self.fields.next() {
            let (number, value) = field.map_err(malformed)?;
            let entries = self.message.0.iter().enumerate();
            let Some((at, (_, name, shape))) =
                entries.into_iter().find(|(_, (known, ..))| *known == number)
            else {
                continue;
            };
            let is_absent = matches!(shape, Shape::Text) && value == Value::Octets(&[]);
            if is_absent || self.seen & 1 << at != 0 {
                continue;
            }
            self.seen |= 1 << at;
            self.current = Some(Found { number, shape: *shape, value, after: self.fields });
            return seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'o>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ProtobufError> {
        let found = self.current.take().ok_or_else(|| ProtobufError::custom("no value"))?;
        let repeated =
            Repeated { number: found.number, first: Some(found.value), rest: found.after };
        let element = match found.shape {
            Shape::Texts => Shape::Text,
            Shape::OctetsList => Shape::Octets,
            Shape::Messages(message) => Shape::Message(message),
            Shape::Map => return seed.deserialize(TextMap { entries: repeated, value: &[] }),
            shape => {
                let mut value = found.value;
                for later in repeated.skip(1) {
                    value = later?;
                }
                return seed.deserialize(Element { shape, value });
            }
        };
        seed.deserialize(List { element, values: repeated })
    }
}

/// The values of one field number.
struct Repeated<'o> {
    number: u32,
    first: Option<Value<'o>>,
    rest: Fields<'o>,
}

impl<'o> Iterator for Repeated<'o> {
    type Item = Result<Value<'o>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        self.rest.find_map(|field| match field {
            Ok((number, value)) if number == self.number => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(malformed(error))),
        })
    }
}

struct List<'o> {
    element: Shape,
    values: Repeated<'o>,
}

impl<'o> List<'o> {
    fn visit<V: Visitor<'o>>(self, visitor: V) -> Result<V::Value, ProtobufError> {
        visitor.visit_seq(self)
    }
}

impl<'o> SeqAccess<'o> for List<'o> {
    type Error = ProtobufError;

    fn next_element_seed<T: DeserializeSeed<'o>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ProtobufError> {
        let Some(value) = self.values.next().transpose()? else { return Ok(None) };
        seed.deserialize(Element { shape: self.element, value }).map(Some)
    }
}

/// A map of texts: protobuf writes each entry as a message of a key (1) and a value (2).
struct TextMap<'o> {
    entries: Repeated<'o>,
    /// The value of the entry whose key was visited.
    value: &'o [u8],
}

impl<'o> TextMap<'o> {
    fn visit<V: Visitor<'o>>(self, visitor: V) -> Result<V::Value, ProtobufError> {
        visitor.visit_map(self)
    }
}

impl<'o> MapAccess<'o> for TextMap<'o> {
    type Error = ProtobufError;

    fn next_key_seed<K: DeserializeSeed<'o>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ProtobufError> {
        let Some(entry) = self.entries.next().transpose()? else { return Ok(None) };
        let (mut key, mut value) = (&[][..], &[][..]);
        for field in Fields(octets(entry)?) {
            match field.map_err(malformed)? {
                (1, text) => key = octets(text)?,
                (2, text) => value = octets(text)?,
                _ => {}
            }
        }
        self.value = value;
        seed.deserialize(Element { shape: Shape::Text, value: Value::Octets(key) }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'o>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ProtobufError> {
        seed.deserialize(Element { shape: Shape::Text, value: Value::Octets(self.value) })
    }
}

/// One value of a field that is not a list, or of a list.
struct Element<'o> {
    shape: Shape,
    value: Value<'o>,
}

impl<'o> Element<'o> {
    fn visit<V: Visitor<'o>>(self, visitor: V) -> Result<V::Value, ProtobufError> {
        match (self.shape, self.value) {
            (Shape::Text, Value::Octets(octets)) => match str::from_utf8(octets) {
                Ok(text) => visitor.visit_borrowed_str(text),
                // The JSON encoder of Go writes U+FFFD, too.
                Err(_) => visitor.visit_string(String::from_utf8_lossy(octets).into_owned()),
            },
            (Shape::Octets, Value::Octets(octets)) => visitor.visit_borrowed_bytes(octets),
            // Negative numbers are written as 64-bit two's complement.
            (Shape::Integer, Value::Number(number)) => visitor.visit_i64(number.cast_signed()),
            (Shape::Bool, Value::Number(number)) => visitor.visit_bool(number != 0),
            (Shape::Time, Value::Octets(octets)) => visitor.visit_string(time(octets)?),
            (Shape::Message(message), Value::Octets(octets)) => {
                Reader { message, octets }.visit(visitor)
            }
            _ => Err(ProtobufError::custom("a field has another wire type than in the API")),
        }
    }
}

fn malformed(error: Malformed) -> ProtobufError {
    ProtobufError::custom(error.0)
}

fn octets(value: Value<'_>) -> Result<&[u8], ProtobufError> {
    match value {
        Value::Octets(octets) => Ok(octets),
        Value::Number(_) | Value::Fixed => {
            Err(ProtobufError::custom("an entry of a map is not a message"))
        }
    }
}

/// `metav1.Time`: seconds (1) and nanoseconds (2) since 1970. JSON has the seconds only.
fn time(octets: &[u8]) -> Result<String, ProtobufError> {
    let mut seconds = 0;
    for field in Fields(octets) {
        if let (1, Value::Number(number)) = field.map_err(malformed)? {
            seconds = number.cast_signed();
        }
    }
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_string())
        .map_err(|_| ProtobufError::custom("a time is out of range"))
}
