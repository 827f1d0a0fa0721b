//! Values in their lossless JSON forms (docs/commands.md).

use std::error::Error;
use std::fmt::Write as _;

use rmpv::ValueRef;
use rmpv::decode::read_value_ref;

/// The msgpack extension type of TEXT that is not UTF-8.
const INVALID_TEXT: i8 = 1;

pub fn from_msgpack(mut packed: &[u8]) -> Result<String, Box<dyn Error>> {
    let value = read_value_ref(&mut packed)?;
    if packed.is_empty() {
        from_value(&value)
    } else {
        Err("bytes are left over behind a value".into())
    }
}

fn from_value(value: &ValueRef<'_>) -> Result<String, Box<dyn Error>> {
    Ok(match value {
        ValueRef::Nil => "null".to_owned(),
        ValueRef::Boolean(flag) => flag.to_string(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::F32(number) => real(f64::from(*number)),
        ValueRef::F64(number) => real(*number),
        ValueRef::String(string) => text_of_bytes(string.as_bytes()),
        ValueRef::Binary(bytes) => blob(bytes),
        ValueRef::Ext(INVALID_TEXT, bytes) => text_of_bytes(bytes),
        ValueRef::Ext(..) => return Err("an unknown extension type".into()),
        ValueRef::Array(items) => {
            let items = items.iter().map(from_value).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(","))
        }
        ValueRef::Map(entries) => {
            let mut members = Vec::with_capacity(entries.len());
            for (name, value) in entries {
                members.push(format!("{}:{}", from_value(name)?, from_value(value)?));
            }
            format!("{{{}}}", members.join(","))
        }
    })
}

/// Always with a point or an exponent, and the shortest text that reads back the same.
pub fn real(number: f64) -> String {
    if number.is_infinite() {
        let name = if number > 0.0 { "inf" } else { "-inf" };
        return format!(r#"{{"$real":"{name}"}}"#);
    }
    format!("{number:?}")
}

pub fn blob(bytes: &[u8]) -> String {
    format!(r#"{{"$blob":"{}"}}"#, base64(bytes))
}

pub fn text_of_bytes(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(valid) => text(valid),
        Err(_) => format!(r#"{{"$text":"{}"}}"#, base64(bytes)),
    }
}

pub fn text(content: &str) -> String {
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            encoded.push(if place <= chunk.len() {
                char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    encoded
}
