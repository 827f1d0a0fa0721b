//! Reading one committed state: rows by key and by range, the tables there are, the meta entries.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError, TableHandle,
};

use crate::errors::Outcome;
use crate::value::{open_meta, open_row};

/// Tables whose names begin so are this program's own, not the user's.
const OWN_PREFIX: &str = "_cdc_";
pub const META_NAME: &str = "_cdc_meta";
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new(META_NAME);

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Guard = AccessGuard<'static, &'static [u8]>;

pub fn rows_of(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// A row whose check holds; its bytes stay in redb's page until Python copies them.
pub struct Row {
    stored: Guard,
    length: usize,
    pub change_id: u64,
}

impl Row {
    fn checked(table: &str, key: &[u8], stored: Guard) -> Outcome<Self> {
        let (row, change_id) = open_row(table, key, stored.value())?;
        let length = row.len();
        Ok(Self {
            stored,
            length,
            change_id,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.stored.value()[..self.length]
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Which part of a table one scan returns.
pub struct Page<'a> {
    pub after: Option<&'a [u8]>,
    pub prefix: &'a [u8],
    pub rows_max: usize,
    pub bytes_max: usize,
}

impl<'a> Page<'a> {
    /// The keys' bounds; none where `after` lies behind all that begin with the prefix.
    fn bounds(&self, end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
        let lower = match self.after {
            Some(after) if after >= self.prefix => Bound::Excluded(after),
            _ => Bound::Included(self.prefix),
        };
        match (lower, end) {
            (Bound::Excluded(after), Some(end)) if after >= end => None,
            (_, Some(end)) => Some((lower, Bound::Excluded(end))),
            (_, None) => Some((lower, Bound::Unbounded)),
        }
    }
}

/// The first key after all that begin with the prefix; none where no key can follow them.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// One read transaction, with the tables opened in it so far.
pub struct View {
    transaction: ReadTransaction,
    opened: Mutex<HashMap<String, Option<Arc<Rows>>>>,
}

impl View {
    pub fn new(transaction: ReadTransaction) -> Self {
        Self {
            transaction,
            opened: Mutex::new(HashMap::new()),
        }
    }

    pub fn get(&self, name: &str, key: &[u8]) -> Outcome<Option<Row>> {
        match self.table(name)? {
            Some(table) => get_checked(&table, name, key),
            None => Ok(None),
        }
    }

    pub fn get_many(&self, name: &str, keys: &[&[u8]]) -> Outcome<Vec<Option<Row>>> {
        match self.table(name)? {
            Some(table) => keys.iter().map(|key| get_checked(&table, name, key)).collect(),
            None => Ok(keys.iter().map(|_| None).collect()),
        }
    }

    pub fn scan(&self, name: &str, page: &Page<'_>) -> Outcome<Vec<(Guard, Row)>> {
        let mut found = Vec::new();
        let end = end_of(page.prefix);
        let (Some(table), Some(bounds)) = (self.table(name)?, page.bounds(end.as_deref())) else {
            return Ok(found);
        };
        let mut bytes: usize = 0;
        for entry in table.range::<&[u8]>(bounds)?.take(page.rows_max) {
            let (key, stored) = entry?;
            bytes += key.value().len() + stored.value().len();
            let row = Row::checked(name, key.value(), stored)?;
            found.push((key, row));
            if bytes >= page.bytes_max {
                break;
            }
        }
        Ok(found)
    }

    pub fn count(&self, name: &str) -> Outcome<u64> {
        match self.table(name)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        }
    }

    pub fn tables(&self) -> Outcome<Vec<String>> {
        let mut names: Vec<String> = self
            .transaction
            .list_tables()?
            .map(|table| table.name().to_owned())
            .filter(|name| !name.starts_with(OWN_PREFIX))
            .collect();
        names.sort();
        Ok(names)
    }

    pub fn meta(&self) -> Outcome<Vec<(String, Vec<u8>)>> {
        let Some(table) = existing(self.transaction.open_table(META))? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in table.iter()? {
            let (name, stored) = entry?;
            let value = open_meta(META_NAME, name.value(), stored.value())?;
            found.push((name.value().to_owned(), value.to_vec()));
        }
        Ok(found)
    }

    /// The table; none where nothing was ever written to it.
    fn table(&self, name: &str) -> Outcome<Option<Arc<Rows>>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = opened.get(name) {
            return Ok(table.clone());
        }
        let table = existing(self.transaction.open_table(rows_of(name)))?.map(Arc::new);
        opened.insert(name.to_owned(), table.clone());
        Ok(table)
    }
}

fn existing<T>(opened: Result<T, TableError>) -> Outcome<Option<T>> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn get_checked(table: &Rows, name: &str, key: &[u8]) -> Outcome<Option<Row>> {
    match table.get(key)? {
        Some(stored) => Row::checked(name, key, stored).map(Some),
        None => Ok(None),
    }
}
