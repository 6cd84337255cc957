//! The octets of fields: numbers little-endian, lengths and counts in four octets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::model::{Endpoint, EndpointRef, Endpoints};

/// The octets that have not been read.
pub(super) struct Input<'i>(pub(super) &'i [u8]);

impl<'i> Input<'i> {
    fn octets(&mut self, count: usize) -> Option<&'i [u8]> {
        let (octets, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(octets)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.octets(N)?.first_chunk().copied()
    }
}

/// A value that a snapshot can hold.
pub(super) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);

    /// `None` if the octets are not such a value.
    fn take(input: &mut Input<'_>) -> Option<Self>;
}

/// Implements [`Field`] for structs, field by field. A field that is added to a struct does not
/// compile until it is listed, which also asks for another [`FORMAT`](super::FORMAT).
macro_rules! records {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(input: &mut Input<'_>) -> Option<Self> {
                Some(Self { $($field: Field::take(input)?),* })
            }
        }
    )*};
}
pub(super) use records;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(input: &mut Input<'_>) -> Option<Self> {
                input.array().map(Self::from_le_bytes)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i64);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        match u8::take(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    // Texts of objects have at most some thousand octets.
    (text.len() as u32).put(out);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'i>(input: &mut Input<'i>) -> Option<&'i str> {
    let length = u32::take(input)?;
    std::str::from_utf8(input.octets(length as usize)?).ok()
}

macro_rules! texts {
    ($($text:ty),*) => {$(
        impl Field for $text {
            fn put(&self, out: &mut Vec<u8>) {
                put_text(self, out);
            }

            fn take(input: &mut Input<'_>) -> Option<Self> {
                take_text(input).map(Into::into)
            }
        }
    )*};
}
texts!(Box<str>, Arc<str>, String);

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        match bool::take(input)? {
            true => T::take(input).map(Some),
            false => Some(None),
        }
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        T::take(input).map(Self::new)
    }
}

fn put_all<T: Field>(values: &[T], out: &mut Vec<u8>) {
    (values.len() as u32).put(out);
    values.iter().for_each(|value| value.put(out));
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(self, out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let count = u32::take(input)? as usize;
        // Every value has an octet at least, so a wrong count cannot ask for more memory.
        let mut values = Self::with_capacity(count.min(input.0.len()).min(64));
        for _ in 0..count {
            values.push(T::take(input)?);
        }
        Some(values)
    }
}

impl<T: Field> Field for Box<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(self, out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Vec::take(input).map(Vec::into_boxed_slice)
    }
}

impl<T: Field> Field for Arc<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(self, out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Vec::take(input).map(Into::into)
    }
}

/// As a list of [`Endpoint`]s.
impl Field for Endpoints {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        for EndpointRef { address, details } in self.iter() {
            address.put(out);
            details.is_some().put(out);
            if let Some(details) = details {
                details.put(out);
            }
        }
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Vec::<Endpoint>::take(input).map(Into::into)
    }
}

impl<T: Field, U: Field> Field for (T, U) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some((T::take(input)?, U::take(input)?))
    }
}

impl Field for [u32; 3] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|number| number.put(out));
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some([u32::take(input)?, u32::take(input)?, u32::take(input)?])
    }
}

impl Field for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(v4) => {
                4_u8.put(out);
                out.extend_from_slice(&v4.octets());
            }
            Self::V6(v6) => {
                6_u8.put(out);
                out.extend_from_slice(&v6.octets());
            }
        }
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        match u8::take(input)? {
            4 => input.array::<4>().map(|octets| Ipv4Addr::from(octets).into()),
            6 => input.array::<16>().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }
}
