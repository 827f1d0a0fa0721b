//! The four forms of keys, each as a JSON array of the key's values.

use redb::Key;

use crate::json;

type Outcome<T> = Result<T, &'static str>;

pub trait Native {
    type Type: Key + 'static;
    /// What the checksum of a row covers before the key's own bytes.
    const SALT: &'static [u8];

    fn json(key: <Self::Type as redb::Value>::SelfType<'_>) -> Outcome<String>;
}

pub struct Tuple;
pub struct Text;
pub struct Integer;
pub struct Bytes;

impl Native for Text {
    type Type = &'static str;
    const SALT: &'static [u8] = &[0x04];

    fn json(key: &str) -> Outcome<String> {
        Ok(format!("[{}]", json::text(key)))
    }
}

impl Native for Integer {
    type Type = i64;
    const SALT: &'static [u8] = &[0x02];

    fn json(key: i64) -> Outcome<String> {
        Ok(format!("[{key}]"))
    }
}

impl Native for Bytes {
    type Type = &'static [u8];
    const SALT: &'static [u8] = &[0x05];

    fn json(key: &[u8]) -> Outcome<String> {
        Ok(format!("[{}]", json::blob(key)))
    }
}

impl Native for Tuple {
    type Type = &'static [u8];
    const SALT: &'static [u8] = &[];

    /// A tag byte for each value, then its content, so that the order of the bytes is that of the values.
    fn json(mut key: &[u8]) -> Outcome<String> {
        let mut values = Vec::new();
        while let Some((tag, rest)) = key.split_first() {
            let (value, rest) = match tag {
                0x01 => ("null".to_owned(), rest),
                0x02 => {
                    let (bits, rest) = eight(rest)?;
                    ((bits ^ 1 << 63).cast_signed().to_string(), rest)
                }
                0x03 => {
                    let (bits, rest) = eight(rest)?;
                    // Positive numbers have the sign bit flipped, negative ones every bit.
                    let bits = if bits >> 63 == 1 { bits ^ 1 << 63 } else { !bits };
                    (json::real(f64::from_bits(bits)), rest)
                }
                0x04 => {
                    let (bytes, rest) = unescaped(rest)?;
                    (json::text_of_bytes(&bytes), rest)
                }
                0x05 => {
                    let (bytes, rest) = unescaped(rest)?;
                    (json::blob(&bytes), rest)
                }
                _ => return Err("a key of another format"),
            };
            values.push(value);
            key = rest;
        }
        Ok(format!("[{}]", values.join(",")))
    }
}

fn eight(bytes: &[u8]) -> Outcome<(u64, &[u8])> {
    let (bits, rest) = bytes.split_first_chunk::<8>().ok_or("a key that ends early")?;
    Ok((u64::from_be_bytes(*bits), rest))
}

/// TEXT and BLOB end with 00; a 00 within them stands as 00 FF.
fn unescaped(mut rest: &[u8]) -> Outcome<(Vec<u8>, &[u8])> {
    let mut content = Vec::new();
    loop {
        let (byte, behind) = rest.split_first().ok_or("a key that ends early")?;
        rest = behind;
        if *byte == 0 {
            match rest.split_first() {
                Some((0xff, behind)) => rest = behind,
                _ => return Ok((content, rest)),
            }
        }
        content.push(*byte);
    }
}
