//! How a table's keys stand in the file: as Python encodes them, or as one native value of redb's.
//!
//! Python names a key by the bytes of `schemas/keys.py` whatever the table's type: a tag byte, then the
//! value, for each column. Tables with a key of one column may hold it as redb's own type instead, so
//! that a Rust program opens them as `TableDefinition<&str, _>`. The order is the same.
//!
//! | form    | redb type | tag  | the value behind the tag                                  |
//! |---------|-----------|------|-----------------------------------------------------------|
//! | tuple   | `&[u8]`   | any  | the whole encoding is the key                             |
//! | text    | `&str`    | 0x04 | UTF-8, 00 written as 00 FF, ended by 00                   |
//! | integer | `i64`     | 0x02 | 8 bytes big-endian, sign bit flipped                      |
//! | bytes   | `&[u8]`   | 0x05 | as text, but any bytes                                    |

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;

use redb::{AccessGuard, Key, Value};

use crate::errors::{Failure, Kind, Outcome};
use crate::key_bytes::{
    BLOB, INTEGER, TEXT, behind, content, end_of_text, escaped, other_class, text, unescaped,
};

const SIGN: u64 = 1 << 63;

/// A table's form, by its name in Python and in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Tuple,
    Text,
    Integer,
    Bytes,
}

impl KeyType {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "tuple" => Some(Self::Tuple),
            "text" => Some(Self::Text),
            "integer" => Some(Self::Integer),
            "bytes" => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// A key as Python names it: still redb's own bytes, or made out of a native value.
pub enum Encoded<'t> {
    Stored(AccessGuard<'t, &'static [u8]>),
    Made(Vec<u8>),
}

impl Encoded<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Stored(guard) => guard.value(),
            Self::Made(bytes) => bytes,
        }
    }
}

pub type Bounds<T> = (Bound<T>, Bound<T>);

/// What a scan is limited to: keys that begin so, behind `after` or before `before`.
pub struct Span<'a> {
    pub prefix: &'a [u8],
    pub after: Option<&'a [u8]>,
    pub before: Option<&'a [u8]>,
}

/// Converts between Python's encoding and one type of redb's.
pub trait Form {
    type Native: Key + 'static;
    /// What can be lent as a native value.
    type Owned<'a>: PartialOrd;

    /// What the check of a stored value covers before the key's own bytes, so that a key is never taken for
    /// one of another form.
    const SALT: &'static [u8];

    /// The native value; none where the encoded key is of another class.
    fn own(encoded: &[u8]) -> Option<Self::Owned<'_>>;
    fn lend<'a>(owned: &'a Self::Owned<'_>) -> <Self::Native as Value>::SelfType<'a>;
    fn encode(native: AccessGuard<'_, Self::Native>) -> Encoded<'_>;
    /// The bounds of keys that begin with an encoded prefix; none where there can be no such key.
    fn beginning(prefix: &[u8]) -> Option<Bounds<Self::Owned<'_>>>;
    /// How a key of another class compares with all of this form.
    fn compares(encoded: &[u8]) -> Option<Ordering>;

    /// The bounds of a scan; none where it can find nothing.
    fn bounds<'a>(span: &Span<'a>) -> Outcome<Option<Bounds<Self::Owned<'a>>>> {
        let Some((mut lower, mut upper)) = Self::beginning(span.prefix) else {
            return Ok(None);
        };
        if let Some(after) = span.after {
            match Self::compares(after) {
                Some(Ordering::Less) => {}
                Some(_) => return Ok(None),
                None => {
                    let after = Self::own(after).ok_or_else(wrong_key)?;
                    if !matches!(&lower, Bound::Included(first) if after < *first) {
                        lower = Bound::Excluded(after);
                    }
                }
            }
        }
        if let Some(before) = span.before {
            match Self::compares(before) {
                Some(Ordering::Greater) => {}
                Some(_) => return Ok(None),
                None => {
                    let before = Self::own(before).ok_or_else(wrong_key)?;
                    if !matches!(&upper, Bound::Excluded(end) if before > *end)
                        && !matches!(&upper, Bound::Included(last) if before > *last)
                    {
                        upper = Bound::Excluded(before);
                    }
                }
            }
        }
        Ok(ordered(&lower, &upper).then_some((lower, upper)))
    }
}

/// Whether anything can lie between: redb, like the standard library, does not take other bounds.
fn ordered<T: PartialOrd>(lower: &Bound<T>, upper: &Bound<T>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Included(first), Bound::Included(last)) => first <= last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Excluded(last) | Bound::Included(last)) => {
            first < last
        }
    }
}

pub fn wrong_key() -> Failure {
    Failure::new(Kind::Other, "a key is of another class than the table's keys")
}

pub struct Tuple;
pub struct Text;
pub struct Integer;
pub struct Bytes;

impl Form for Tuple {
    type Native = &'static [u8];
    type Owned<'a> = Cow<'a, [u8]>;
    const SALT: &'static [u8] = &[];

    fn own(encoded: &[u8]) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(encoded))
    }

    fn lend<'a>(owned: &'a Cow<'_, [u8]>) -> &'a [u8] {
        owned
    }

    fn encode<'t>(native: AccessGuard<'t, &'static [u8]>) -> Encoded<'t> {
        Encoded::Stored(native)
    }

    fn beginning(prefix: &[u8]) -> Option<Bounds<Cow<'_, [u8]>>> {
        Some((Bound::Included(Cow::Borrowed(prefix)), behind(prefix)))
    }

    fn compares(_: &[u8]) -> Option<Ordering> {
        None
    }
}

impl Form for Text {
    type Native = &'static str;
    type Owned<'a> = Cow<'a, str>;
    const SALT: &'static [u8] = &[TEXT];

    fn own(encoded: &[u8]) -> Option<Cow<'_, str>> {
        text(content(encoded, TEXT)?)
    }

    fn lend<'a>(owned: &'a Cow<'_, str>) -> &'a str {
        owned
    }

    fn encode(native: AccessGuard<'_, &'static str>) -> Encoded<'static> {
        Encoded::Made(escaped(TEXT, native.value().as_bytes()))
    }

    fn beginning(prefix: &[u8]) -> Option<Bounds<Cow<'_, str>>> {
        let Some((_, rest)) = prefix.split_first() else {
            return Some((Bound::Unbounded, Bound::Unbounded));
        };
        if let Some(only) = Self::own(prefix) {
            return Some((Bound::Included(only.clone()), Bound::Included(only)));
        }
        if prefix[0] != TEXT {
            return None;
        }
        let first = text(unescaped(rest)?)?;
        let end = end_of_text(&first).map_or(Bound::Unbounded, |end| Bound::Excluded(Cow::Owned(end)));
        Some((Bound::Included(first), end))
    }

    fn compares(encoded: &[u8]) -> Option<Ordering> {
        other_class(encoded, TEXT)
    }
}

impl Form for Bytes {
    type Native = &'static [u8];
    type Owned<'a> = Cow<'a, [u8]>;
    const SALT: &'static [u8] = &[BLOB];

    fn own(encoded: &[u8]) -> Option<Cow<'_, [u8]>> {
        content(encoded, BLOB)
    }

    fn lend<'a>(owned: &'a Cow<'_, [u8]>) -> &'a [u8] {
        owned
    }

    fn encode(native: AccessGuard<'_, &'static [u8]>) -> Encoded<'static> {
        Encoded::Made(escaped(BLOB, native.value()))
    }

    fn beginning(prefix: &[u8]) -> Option<Bounds<Cow<'_, [u8]>>> {
        let Some((_, rest)) = prefix.split_first() else {
            return Some((Bound::Unbounded, Bound::Unbounded));
        };
        if let Some(only) = Self::own(prefix) {
            return Some((Bound::Included(only.clone()), Bound::Included(only)));
        }
        if prefix[0] != BLOB {
            return None;
        }
        let first = unescaped(rest)?;
        let end = behind(&first);
        let end = match end {
            Bound::Excluded(end) => Bound::Excluded(Cow::Owned(end.into_owned())),
            _ => Bound::Unbounded,
        };
        Some((Bound::Included(first), end))
    }

    fn compares(encoded: &[u8]) -> Option<Ordering> {
        other_class(encoded, BLOB)
    }
}

impl Form for Integer {
    type Native = i64;
    type Owned<'a> = i64;
    const SALT: &'static [u8] = &[INTEGER];

    fn own(encoded: &[u8]) -> Option<i64> {
        let (INTEGER, bits) = (*encoded.first()?, encoded[1..].try_into().ok()?) else {
            return None;
        };
        Some((u64::from_be_bytes(bits) ^ SIGN).cast_signed())
    }

    fn lend(owned: &i64) -> i64 {
        *owned
    }

    fn encode(native: AccessGuard<'_, i64>) -> Encoded<'static> {
        let mut encoded = Vec::with_capacity(1 + size_of::<u64>());
        encoded.push(INTEGER);
        encoded.extend_from_slice(&(native.value().cast_unsigned() ^ SIGN).to_be_bytes());
        Encoded::Made(encoded)
    }

    fn beginning(prefix: &[u8]) -> Option<Bounds<i64>> {
        if prefix.is_empty() || prefix == [INTEGER] {
            return Some((Bound::Unbounded, Bound::Unbounded));
        }
        let only = Self::own(prefix)?;
        Some((Bound::Included(only), Bound::Included(only)))
    }

    fn compares(encoded: &[u8]) -> Option<Ordering> {
        other_class(encoded, INTEGER)
    }
}
