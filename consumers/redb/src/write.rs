//! Writing: what one transaction puts, removes and truncates, in the order redb writes fastest.

use std::ops::Bound;

use redb::{ReadableTable, Table, WriteTransaction};

use crate::errors::{Failure, Kind, Outcome};
use crate::read::{META, META_NAME, rows_of};
use crate::value::{seal_meta, seal_row};

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

type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// Writes every table's operations; of several on one key the last counts.
pub fn put(transaction: &WriteTransaction, tables: &mut [TableOps<'_>]) -> Outcome<()> {
    for TableOps { table, ops } in tables {
        refuse_meta(table)?;
        sort(ops);
        write_sorted(&mut transaction.open_table(rows_of(table))?, ops)?;
    }
    Ok(())
}

/// Removes every row; the table stays, empty.
pub fn truncate(transaction: &WriteTransaction, table: &str) -> Outcome<()> {
    drop_table(transaction, table)?;
    transaction.open_table(rows_of(table))?;
    Ok(())
}

/// Removes the table; says whether there was one.
pub fn drop_table(transaction: &WriteTransaction, table: &str) -> Outcome<bool> {
    refuse_meta(table)?;
    Ok(transaction.delete_table(rows_of(table))?)
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
fn write_sorted(table: &mut Rows<'_>, ops: &[Op<'_>]) -> Outcome<()> {
    let above = match table.last()? {
        Some((last, _)) => ops.partition_point(|op| op.key <= last.value()),
        None => 0,
    };
    let (within, behind) = ops.split_at(above);
    let mut stored = Vec::new();
    for op in within {
        match op.row {
            Some(row) => {
                seal_row(&mut stored, op.key, row, op.change_id);
                table.insert(op.key, stored.as_slice())?;
            }
            None => {
                table.remove(op.key)?;
            }
        }
    }
    let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
    for op in behind {
        if let Some(row) = op.row {
            seal_row(&mut stored, op.key, row, op.change_id);
            cursor.insert_before(op.key, stored.as_slice())?;
        }
    }
    Ok(cursor.close()?)
}
