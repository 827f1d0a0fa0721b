//! Reads a cache file from Rust: `read-cache CACHE.redb [TABLE...]` prints rows as JSON lines, all tables when none
//! is named; `read-cache CACHE.redb --checkpoint` prints how far the file came.
//!
//! Written from docs/cache-file.md alone. It opens the file beside a running node and reads one committed
//! state: all lines of one run belong together.

mod json;
mod key;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::{env, str};

use redb::{
    Builder, ConcurrencyMode, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle,
};

use crate::key::Native;

type Outcome<T> = Result<T, Box<dyn Error>>;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("_cdc_meta");
const OWN_PREFIX: &str = "_cdc_";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut arguments = env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: read-cache CACHE.redb [TABLE... | --checkpoint]")?;
    let mut tables: Vec<String> = arguments.collect();
    // The mode that nodes write in (`cache.readers = "shared"`): both sides must name the same.
    let database = Builder::new()
        .set_concurrency_mode(ConcurrencyMode::SingleWriter)
        .open_read_only(path)?;
    let state = database.begin_read()?;
    let mut output = BufWriter::new(io::stdout().lock());
    if tables == ["--checkpoint"] {
        let checkpoint = meta(&state, "checkpoint")?.ok_or("nothing was loaded yet")?;
        writeln!(output, "{}", json::from_msgpack(&checkpoint)?)?;
        return Ok(output.flush()?);
    }
    if tables.is_empty() {
        tables = state
            .list_tables()?
            .map(|table| table.name().to_owned())
            .collect();
        tables.retain(|name| !name.starts_with(OWN_PREFIX));
        tables.sort();
    }
    for table in &tables {
        print_table(&state, table, &mut output)?;
    }
    Ok(output.flush()?)
}

/// Keys are bytes, unless the table's definition asks for one of redb's own types.
fn print_table(state: &ReadTransaction, table: &str, output: &mut impl Write) -> Outcome<()> {
    if meta(state, &format!("key_type:{table}"))?.as_deref() == Some(b"bytes") {
        return print_rows::<key::Bytes>(state, table, output);
    }
    match print_rows::<key::Tuple>(state, table, output) {
        Err(error) if mismatch(&*error) => {}
        done => return done,
    }
    match print_rows::<key::Text>(state, table, output) {
        Err(error) if mismatch(&*error) => print_rows::<key::Integer>(state, table, output),
        done => done,
    }
}

fn mismatch(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(TableError::TableTypeMismatch { .. }))
}

fn print_rows<N: Native>(state: &ReadTransaction, table: &str, output: &mut impl Write) -> Outcome<()> {
    let rows = state.open_table(TableDefinition::<N::Type, &[u8]>::new(table))?;
    let seal = [table.as_bytes(), &[0], N::SALT].concat();
    for entry in rows.iter()? {
        let (key, stored) = entry?;
        let bytes = <N::Type as redb::Value>::as_bytes(&key.value()).as_ref().to_vec();
        let (row, change_id) = checked_row(&seal, &bytes, stored.value())
            .ok_or_else(|| format!("a damaged row in {table}: its checksum does not hold"))?;
        writeln!(
            output,
            r#"{{"table":{},"key":{},"row":{},"change_id":{change_id}}}"#,
            json::text(table),
            N::json(key.value())?,
            json::from_msgpack(row)?,
        )?;
    }
    Ok(())
}

/// A stored row without its trailer, and the change id in it; none where the check does not hold.
fn checked_row<'a>(seal: &[u8], key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (row, change_id) = checked(seal, key, stored)?.split_last_chunk::<8>()?;
    Some((row, u64::from_le_bytes(*change_id)))
}

fn checked<'a>(seal: &[u8], key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (body, crc) = stored.split_last_chunk::<4>()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(seal);
    hasher.update(key);
    hasher.update(body);
    (hasher.finalize() == u32::from_le_bytes(*crc)).then_some(body)
}

fn meta(state: &ReadTransaction, name: &str) -> Outcome<Option<Vec<u8>>> {
    let Some(stored) = state.open_table(META)?.get(name)? else {
        return Ok(None);
    };
    let value = checked(&[], name.as_bytes(), stored.value()).ok_or("a damaged entry in _cdc_meta")?;
    Ok(Some(value.to_vec()))
}
