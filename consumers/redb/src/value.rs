//! A stored value: the bytes given, then a trailer by which every read checks them.
//!
//! redb verifies its page checksums only when it repairs, never on a read, so a flipped bit would
//! come back as a silently wrong row.
//!
//! | table       | stored value                                                             |
//! |-------------|--------------------------------------------------------------------------|
//! | user tables | row, change id (u64 little-endian), CRC-32 over table, 0x00, key, row and change id |
//! | of native keys | the same; before the key the CRC covers a byte for its class: 0x02 integer, 0x04 text, 0x05 bytes |
//! | `_cdc_meta` | value, CRC-32 over name and value                                        |
//!
//! The CRC is IEEE's (zlib's), little-endian.

use crc32fast::Hasher;

use crate::errors::{Failure, Outcome};

const CHANGE_ID: usize = size_of::<u64>();
const CRC: usize = size_of::<u32>();

/// What the checks of one table's rows begin with: its name, so that a page of another one is never taken
/// for its own, and the salt of its form. Made once for many rows.
#[derive(Clone, Copy)]
pub struct Seal(u32);

impl Seal {
    /// Nothing before the key: the meta table's.
    const NONE: Self = Self(0);

    pub fn of(table: &str, salt: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(table.as_bytes());
        hasher.update(&[0]);
        hasher.update(salt);
        Self(hasher.finalize())
    }
}

/// Writes the stored form of a row into `stored`, replacing what was there.
pub fn seal_row(stored: &mut Vec<u8>, seal: Seal, key: &[u8], row: &[u8], change_id: u64) {
    stored.clear();
    stored.reserve(row.len() + CHANGE_ID + CRC);
    stored.extend_from_slice(row);
    stored.extend_from_slice(&change_id.to_le_bytes());
    let crc = checksum(seal, key, stored);
    stored.extend_from_slice(&crc.to_le_bytes());
}

/// The row and the change id in a stored value, if its check holds.
pub fn open_row<'a>(seal: Seal, key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (row, change_id) = checked(seal, key, stored)?.split_last_chunk::<CHANGE_ID>()?;
    Some((row, u64::from_le_bytes(*change_id)))
}

pub fn seal_meta(stored: &mut Vec<u8>, name: &str, value: &[u8]) {
    stored.clear();
    stored.extend_from_slice(value);
    stored.extend_from_slice(&checksum(Seal::NONE, name.as_bytes(), value).to_le_bytes());
}

pub fn open_meta<'a>(table: &str, name: &str, stored: &'a [u8]) -> Outcome<&'a [u8]> {
    checked(Seal::NONE, name.as_bytes(), stored).ok_or_else(|| Failure::damaged(table, name.as_bytes()))
}

fn checked<'a>(seal: Seal, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (body, crc) = stored.split_last_chunk::<CRC>()?;
    (checksum(seal, key, body) == u32::from_le_bytes(*crc)).then_some(body)
}

fn checksum(seal: Seal, key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seal.0);
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}
