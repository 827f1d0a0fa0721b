//! How another Rust program reads a cache file: `cargo run --example read_cache -- cache.redb TABLE`.
//!
//! Prints each row of a table as `KEY ROW CHANGE_ID`, key and row in hex. Keys are tuples in the
//! encoding of `schemas/keys.py`, rows msgpack maps from column names to values; this program needs
//! neither. It opens the file beside a running node, and follows nobody: one committed state.

use std::env;
use std::error::Error;
use std::fmt::Write as _;

use redb::{Builder, ConcurrencyMode, ReadableDatabase, ReadableTable, TableDefinition};

fn main() -> Result<(), Box<dyn Error>> {
    let (Some(path), Some(table)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err("usage: read_cache PATH TABLE".into());
    };
    let database = Builder::new()
        .set_concurrency_mode(ConcurrencyMode::SingleWriter)
        .open_read_only(path)?;
    let definition = TableDefinition::<&[u8], &[u8]>::new(&table);
    let transaction = database.begin_read()?;
    let rows = transaction.open_table(definition)?;
    for entry in rows.iter()? {
        let (key, stored) = entry?;
        let (row, change_id) = checked(key.value(), stored.value()).ok_or("a damaged row")?;
        println!("{} {} {change_id}", hex(key.value()), hex(row));
    }
    Ok(())
}

/// The row and its change id; none where the stored CRC-32 is not that of key, row and change id.
fn checked<'a>(key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (body, crc) = stored.split_last_chunk::<4>()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    if hasher.finalize() != u32::from_le_bytes(*crc) {
        return None;
    }
    let (row, change_id) = body.split_last_chunk::<8>()?;
    Some((row, u64::from_le_bytes(*change_id)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
