//! The bytes of an encoded key: tags, escapes, and what follows a prefix.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;

pub const INTEGER: u8 = 0x02;
pub const TEXT: u8 = 0x04;
pub const BLOB: u8 = 0x05;

const END: u8 = 0x00;
const ESCAPED: u8 = 0xff;

/// How a key whose first value is of another class compares with those of a class; tags rise as classes do.
pub fn other_class(encoded: &[u8], tag: u8) -> Option<Ordering> {
    let found = encoded.first().copied().unwrap_or_default();
    (found != tag).then(|| found.cmp(&tag))
}

/// The bytes of the one value that a key consists of.
pub fn content(encoded: &[u8], tag: u8) -> Option<Cow<'_, [u8]>> {
    let (end, body) = encoded.split_last()?;
    let (first, body) = body.split_first()?;
    if (*first, *end) == (tag, END) {
        unescaped(body)
    } else {
        None
    }
}

/// Takes the escapes out; none where a 00 is not one.
pub fn unescaped(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !body.contains(&END) {
        return Some(Cow::Borrowed(body));
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.iter();
    while let Some(byte) = rest.next() {
        bytes.push(*byte);
        if *byte == END && rest.next() != Some(&ESCAPED) {
            return None;
        }
    }
    Some(Cow::Owned(bytes))
}

/// The encoding of one value: its tag, its bytes with escapes, the end.
pub fn escaped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(content.len() + 2);
    encoded.push(tag);
    for byte in content {
        encoded.push(*byte);
        if *byte == END {
            encoded.push(ESCAPED);
        }
    }
    encoded.push(END);
    encoded
}

/// The bytes as text; none where they are not UTF-8.
pub fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The first key behind all that begin with the prefix; unbounded where none can follow them.
pub fn behind(prefix: &[u8]) -> Bound<Cow<'_, [u8]>> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(Cow::Owned(end))
}

/// The same for text, whose order by code points is that of its bytes.
pub fn end_of_text(prefix: &str) -> Option<String> {
    let mut kept = prefix.to_owned();
    while let Some(last) = kept.pop() {
        // A range of chars steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}
