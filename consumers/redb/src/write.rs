//! Writing: what one transaction puts, removes and truncates, in the order redb writes fastest.

use std::ops::Bound;

use redb::{ReadableTable, ReadableTableMetadata, Table, TableError, Value, WriteTransaction};

use crate::errors::{Failure, Kind, Outcome};
use crate::keys::{Bytes, Form, Integer, KeyType, Text, Tuple, wrong_key};
use crate::read::{META, META_NAME, OWN_PREFIX, key_type_entry, marked, native_type, rows_of};
use crate::row::{Found, Page, Row, collect};
use crate::value::{Seal, seal_meta, seal_row};

/// Runs a piece of code with `$form` and `$rows` as a table's, which is made where there is none.
macro_rules! with_table {
    ($transaction:expr, $name:expr, |$form:ident, $rows:ident| $work:expr) => {{
        refuse_meta($name)?;
        match $transaction.open_table(rows_of::<Tuple>($name)) {
            #[allow(unused_mut, reason = "some only read")]
            Ok(mut $rows) => match key_type($transaction, $name)? {
                KeyType::Bytes => {
                    type $form = Bytes;
                    $work
                }
                _ => {
                    type $form = Tuple;
                    $work
                }
            },
            Err(error) => match mismatched(error)? {
                KeyType::Text => {
                    type $form = Text;
                    #[allow(unused_mut, reason = "some only read")]
                    let mut $rows = $transaction.open_table(rows_of::<Text>($name))?;
                    $work
                }
                _ => {
                    type $form = Integer;
                    #[allow(unused_mut, reason = "some only read")]
                    let mut $rows = $transaction.open_table(rows_of::<Integer>($name))?;
                    $work
                }
            },
        }
    }};
}

/// One operation on a key; no row removes it.
pub struct Op<'a> {
    pub key: &'a [u8],
    pub row: Option<&'a [u8]>,
    pub change_id: u64,
}

/// A table's operations, in the order they happened.
pub struct TableOps<'a> {
    pub table: &'a str,
    pub ops: Vec<Op<'a>>,
}

/// A meta entry; no value removes it.
pub struct MetaOp<'a> {
    pub name: &'a str,
    pub value: Option<&'a [u8]>,
}

type Rows<'txn, F> = Table<'txn, <F as Form>::Native, &'static [u8]>;

/// Writes every table's operations; of several on one key the last counts.
pub fn put(transaction: &WriteTransaction, tables: &mut [TableOps<'_>]) -> Outcome<()> {
    for TableOps { table, ops } in tables {
        sort(ops);
        with_table!(transaction, table, |F, rows| write_sorted::<F>(
            &mut rows,
            Seal::of(table, F::SALT),
            ops
        )?);
    }
    Ok(())
}

/// Writes rows of one table, if its keys can hold all of theirs; says whether they were written.
pub fn put_fitting(transaction: &WriteTransaction, table: &str, mut ops: Vec<Op<'_>>) -> Outcome<bool> {
    sort(&mut ops);
    with_table!(transaction, table, |F, rows| {
        let fitting = ops.iter().all(|op| F::own(op.key).is_some());
        if fitting {
            write_sorted::<F>(&mut rows, Seal::of(table, F::SALT), &ops)?;
        }
        Ok(fitting)
    })
}

/// The rows that the transaction sees under these keys; a damaged one is none, since it is to be replaced.
pub fn get_many(
    transaction: &WriteTransaction,
    table: &str,
    keys: &[&[u8]],
) -> Outcome<Vec<Option<Vec<u8>>>> {
    with_table!(transaction, table, |F, rows| {
        let seal = Seal::of(table, F::SALT);
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(match F::own(key) {
                None => None,
                Some(native) => match rows.get(F::lend(&native))? {
                    None => None,
                    Some(stored) => Row::checked::<F>(table, seal, key, &native, stored)
                        .ok()
                        .map(|row| row.bytes().to_vec()),
                },
            });
        }
        Ok(found)
    })
}

/// Key, row and change id.
pub type Copied = (Vec<u8>, Vec<u8>, u64);

/// A page of what the transaction sees.
pub fn scan(transaction: &WriteTransaction, table: &str, page: &Page<'_>) -> Outcome<Vec<Copied>> {
    with_table!(transaction, table, |F, rows| {
        let Some((lower, upper)) = F::bounds(&page.span)? else {
            return Ok(Vec::new());
        };
        let bounds = (lower.as_ref().map(F::lend), upper.as_ref().map(F::lend));
        let found = collect::<F>(
            table,
            rows.range::<<<F as Form>::Native as Value>::SelfType<'_>>(bounds)?,
            page,
        )?;
        Ok(found
            .iter()
            .map(|Found { key, row }| (key.bytes().to_vec(), row.bytes().to_vec(), row.change_id))
            .collect())
    })
}

pub fn count(transaction: &WriteTransaction, table: &str) -> Outcome<u64> {
    with_table!(transaction, table, |F, rows| {
        let _: Option<F> = None;
        Ok(rows.len()?)
    })
}

/// Removes every row; the table stays, empty, and has keys of this type from now on.
pub fn truncate(transaction: &WriteTransaction, table: &str, key_type: KeyType) -> Outcome<()> {
    drop_table(transaction, table)?;
    match key_type {
        KeyType::Tuple | KeyType::Bytes => drop(transaction.open_table(rows_of::<Tuple>(table))?),
        KeyType::Text => drop(transaction.open_table(rows_of::<Text>(table))?),
        KeyType::Integer => drop(transaction.open_table(rows_of::<Integer>(table))?),
    }
    if key_type == KeyType::Bytes {
        let name = key_type_entry(table);
        let value = Some(b"bytes".as_slice());
        set_meta(transaction, &[MetaOp { name: &name, value }])?;
    }
    Ok(())
}

/// Removes the table; says whether there was one.
pub fn drop_table(transaction: &WriteTransaction, table: &str) -> Outcome<bool> {
    refuse_meta(table)?;
    if key_type(transaction, table)? == KeyType::Bytes {
        let name = key_type_entry(table);
        set_meta(
            transaction,
            &[MetaOp {
                name: &name,
                value: None,
            }],
        )?;
    }
    Ok(transaction.delete_table(rows_of::<Tuple>(table))?)
}

/// How the keys of a table of bytes stand in it.
fn key_type(transaction: &WriteTransaction, table: &str) -> Outcome<KeyType> {
    if table.starts_with(OWN_PREFIX) {
        return Ok(KeyType::Tuple);
    }
    marked(&transaction.open_table(META)?, table)
}

/// Which type a table has that cannot be opened as one of bytes.
fn mismatched(error: TableError) -> Outcome<KeyType> {
    let TableError::TableTypeMismatch { key, .. } = &error else {
        return Err(error.into());
    };
    let found = key.name().to_owned();
    native_type(&found, error)
}

pub fn set_meta(transaction: &WriteTransaction, entries: &[MetaOp<'_>]) -> Outcome<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut meta = transaction.open_table(META)?;
    let mut stored = Vec::new();
    for MetaOp { name, value } in entries {
        match value {
            Some(value) => {
                seal_meta(&mut stored, name, value);
                meta.insert(*name, stored.as_slice())?;
            }
            None => {
                meta.remove(*name)?;
            }
        }
    }
    Ok(())
}

fn refuse_meta(table: &str) -> Outcome<()> {
    if table == META_NAME {
        return Err(Failure::new(
            Kind::Other,
            format!("{META_NAME} is written by set_meta alone"),
        ));
    }
    Ok(())
}

/// Orders operations by key and leaves the last of each; sorted input (a bulk load) only pays the look.
fn sort(ops: &mut Vec<Op<'_>>) {
    if ops.is_sorted_by(|a, b| a.key < b.key) {
        return;
    }
    ops.sort_by(|a, b| a.key.cmp(b.key));
    ops.reverse();
    ops.dedup_by(|a, b| a.key == b.key);
    ops.reverse();
}

/// Keys above the table's last go through a cursor, three times as fast as one by one.
fn write_sorted<F: Form>(table: &mut Rows<'_, F>, seal: Seal, ops: &[Op<'_>]) -> Outcome<()> {
    let above = match table.last()? {
        Some((last, _)) => {
            let last = F::encode(last);
            ops.partition_point(|op| op.key <= last.bytes())
        }
        None => 0,
    };
    let (within, behind) = ops.split_at(above);
    let mut stored = Vec::new();
    for op in within {
        let Some(native) = F::own(op.key) else {
            refuse_row(op)?;
            continue;
        };
        let key = F::lend(&native);
        match op.row {
            Some(row) => {
                seal_under::<F>(&mut stored, seal, &key, row, op.change_id);
                table.insert(key, stored.as_slice())?;
            }
            None => {
                table.remove(key)?;
            }
        }
    }
    let mut cursor = table.upper_bound_mut(Bound::<<F::Native as Value>::SelfType<'_>>::Unbounded)?;
    for op in behind {
        if let Some(row) = op.row {
            let native = F::own(op.key).ok_or_else(wrong_key)?;
            let key = F::lend(&native);
            seal_under::<F>(&mut stored, seal, &key, row, op.change_id);
            cursor.insert_before(key, stored.as_slice())?;
        }
    }
    Ok(cursor.close()?)
}

/// `seal_row` under a native key.
fn seal_under<F: Form>(
    stored: &mut Vec<u8>,
    seal: Seal,
    key: &<F::Native as Value>::SelfType<'_>,
    row: &[u8],
    change_id: u64,
) {
    seal_row(stored, seal, F::Native::as_bytes(key).as_ref(), row, change_id);
}

/// A row under a key that the table cannot hold is refused; there is none to be removed.
fn refuse_row(op: &Op<'_>) -> Outcome<()> {
    if op.row.is_some() {
        Err(wrong_key())
    } else {
        Ok(())
    }
}
