//! A stored value: the bytes given, then a trailer by which every read checks them.
//!
//! redb verifies its page checksums only when it repairs, never on a read, so a flipped bit would
//! come back as a silently wrong row.
//!
//! | table       | stored value                                                             |
//! |-------------|--------------------------------------------------------------------------|
//! | user tables | row, change id (u64 little-endian), CRC-32 over key, row and change id   |
//! | of native keys | the same; before the key the CRC covers a byte for its class: 0x02 integer, 0x04 text, 0x05 bytes |
//! | `_cdc_meta` | value, CRC-32 over name and value                                        |
//!
//! The CRC is IEEE's (zlib's), little-endian.

use crc32fast::Hasher;

use crate::errors::{Failure, Outcome};

const CHANGE_ID: usize = size_of::<u64>();
const CRC: usize = size_of::<u32>();

/// Writes the stored form of a row into `stored`, replacing what was there.
pub fn seal_row(stored: &mut Vec<u8>, salt: &[u8], key: &[u8], row: &[u8], change_id: u64) {
    stored.clear();
    stored.reserve(row.len() + CHANGE_ID + CRC);
    stored.extend_from_slice(row);
    stored.extend_from_slice(&change_id.to_le_bytes());
    let crc = checksum(salt, key, stored);
    stored.extend_from_slice(&crc.to_le_bytes());
}

/// The row and the change id in a stored value, if its check holds.
pub fn open_row<'a>(salt: &[u8], key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (row, change_id) = checked(salt, key, stored)?.split_last_chunk::<CHANGE_ID>()?;
    Some((row, u64::from_le_bytes(*change_id)))
}

pub fn seal_meta(stored: &mut Vec<u8>, name: &str, value: &[u8]) {
    stored.clear();
    stored.extend_from_slice(value);
    stored.extend_from_slice(&checksum(&[], name.as_bytes(), value).to_le_bytes());
}

pub fn open_meta<'a>(table: &str, name: &str, stored: &'a [u8]) -> Outcome<&'a [u8]> {
    checked(&[], name.as_bytes(), stored).ok_or_else(|| Failure::damaged(table, name.as_bytes()))
}

fn checked<'a>(salt: &[u8], key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (body, crc) = stored.split_last_chunk::<CRC>()?;
    (checksum(salt, key, body) == u32::from_le_bytes(*crc)).then_some(body)
}

fn checksum(salt: &[u8], key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}
