//! Reading one committed state: rows by key and by range, the tables there are, the meta entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    TableHandle, TableStats, Value,
};

use crate::errors::{Failure, Outcome};
use crate::key_bytes::BLOB;
use crate::keys::{Bytes, Form, Integer, KeyType, Text, Tuple};
use crate::row::{Found, Page, Row, collect};
use crate::value::{Seal, open_meta};

/// Tables whose names begin so are this program's own, not the user's.
pub const OWN_PREFIX: &str = "_cdc_";
pub const META_NAME: &str = "_cdc_meta";
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new(META_NAME);

type Rows<F> = ReadOnlyTable<<F as Form>::Native, &'static [u8]>;

pub fn rows_of<F: Form>(name: &str) -> TableDefinition<'_, F::Native, &'static [u8]> {
    TableDefinition::new(name)
}

/// Which native type a table has that was opened as one of bytes.
pub fn native_type<E: Into<Failure>>(found: &str, error: E) -> Outcome<KeyType> {
    if found == <&str>::type_name().name() {
        Ok(KeyType::Text)
    } else if found == i64::type_name().name() {
        Ok(KeyType::Integer)
    } else {
        Err(error.into())
    }
}

/// The name of the meta entry that tells a table of native bytes from one of tuples.
pub fn key_type_entry(table: &str) -> String {
    format!("key_type:{table}")
}

/// A table by the type of its keys.
enum Opened {
    Bytes(Rows<Tuple>, OnceLock<KeyType>),
    Text(Rows<Text>),
    Integer(Rows<Integer>),
}

/// One read transaction, with the tables opened in it so far.
pub struct View {
    transaction: ReadTransaction,
    opened: Mutex<HashMap<String, Option<Arc<Opened>>>>,
}

impl View {
    pub fn new(transaction: ReadTransaction) -> Self {
        Self {
            transaction,
            opened: Mutex::new(HashMap::new()),
        }
    }

    pub fn get(&self, name: &str, key: &[u8]) -> Outcome<Option<Row<'static>>> {
        match self.table(name)? {
            Some(table) => self.get_in(&table, name, key),
            None => Ok(None),
        }
    }

    pub fn get_many(&self, name: &str, keys: &[&[u8]]) -> Outcome<Vec<Option<Row<'static>>>> {
        match self.table(name)? {
            Some(table) => keys.iter().map(|key| self.get_in(&table, name, key)).collect(),
            None => Ok(keys.iter().map(|_| None).collect()),
        }
    }

    pub fn scan(&self, name: &str, page: &Page<'_>) -> Outcome<Vec<Found<'static>>> {
        let Some(table) = self.table(name)? else {
            return Ok(Vec::new());
        };
        match &*table {
            Opened::Text(rows) => scan_in::<Text>(rows, name, page),
            Opened::Integer(rows) => scan_in::<Integer>(rows, name, page),
            Opened::Bytes(rows, known) if self.bytes_type(name, known)? == KeyType::Bytes => {
                scan_in::<Bytes>(rows, name, page)
            }
            Opened::Bytes(rows, _) => scan_in::<Tuple>(rows, name, page),
        }
    }

    pub fn count(&self, name: &str) -> Outcome<u64> {
        let Some(table) = self.table(name)? else {
            return Ok(0);
        };
        Ok(match &*table {
            Opened::Bytes(rows, _) => rows.len()?,
            Opened::Text(rows) => rows.len()?,
            Opened::Integer(rows) => rows.len()?,
        })
    }

    /// Rows and redb's own figures; none where there is no such table.
    pub fn stats(&self, name: &str) -> Outcome<Option<(u64, TableStats)>> {
        let Some(table) = self.table(name)? else {
            return Ok(None);
        };
        Ok(Some(match &*table {
            Opened::Bytes(rows, _) => (rows.len()?, rows.stats()?),
            Opened::Text(rows) => (rows.len()?, rows.stats()?),
            Opened::Integer(rows) => (rows.len()?, rows.stats()?),
        }))
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

    fn get_in(&self, table: &Opened, name: &str, key: &[u8]) -> Outcome<Option<Row<'static>>> {
        match table {
            Opened::Text(rows) => get_checked::<Text>(rows, name, key),
            Opened::Integer(rows) => get_checked::<Integer>(rows, name, key),
            Opened::Bytes(rows, known) => {
                // The meta table is asked only where a table of tuples gives no answer: the check of a row
                // holds under its own form alone, so what is found is right.
                let found = get_checked::<Tuple>(rows, name, key);
                let missed = !matches!(found, Ok(Some(_)));
                if missed && key.first() == Some(&BLOB) && self.bytes_type(name, known)? == KeyType::Bytes {
                    return get_checked::<Bytes>(rows, name, key);
                }
                found
            }
        }
    }

    /// Whether a table of bytes holds tuples or native bytes.
    fn bytes_type(&self, name: &str, known: &OnceLock<KeyType>) -> Outcome<KeyType> {
        if let Some(found) = known.get() {
            return Ok(*found);
        }
        let found = match existing(self.transaction.open_table(META))? {
            Some(meta) if !name.starts_with(OWN_PREFIX) => marked(&meta, name)?,
            _ => KeyType::Tuple,
        };
        Ok(*known.get_or_init(|| found))
    }

    /// The table; none where nothing was ever written to it.
    fn table(&self, name: &str) -> Outcome<Option<Arc<Opened>>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = opened.get(name) {
            return Ok(table.clone());
        }
        let table = self.open(name)?.map(Arc::new);
        opened.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    fn open(&self, name: &str) -> Outcome<Option<Opened>> {
        let error = match self.transaction.open_table(rows_of::<Tuple>(name)) {
            Ok(rows) => return Ok(Some(Opened::Bytes(rows, OnceLock::new()))),
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => error,
        };
        let TableError::TableTypeMismatch { key, .. } = &error else {
            return Err(error.into());
        };
        if name.starts_with(OWN_PREFIX) {
            return Err(error.into());
        }
        let found = key.name().to_owned();
        Ok(Some(match native_type(&found, error)? {
            KeyType::Text => Opened::Text(self.transaction.open_table(rows_of::<Text>(name))?),
            _ => Opened::Integer(self.transaction.open_table(rows_of::<Integer>(name))?),
        }))
    }
}

/// What the meta table says of a table of bytes.
pub fn marked(meta: &impl ReadableTable<&'static str, &'static [u8]>, table: &str) -> Outcome<KeyType> {
    let entry = key_type_entry(table);
    let Some(stored) = meta.get(entry.as_str())? else {
        return Ok(KeyType::Tuple);
    };
    let named = str::from_utf8(open_meta(META_NAME, &entry, stored.value())?).ok();
    named
        .and_then(KeyType::named)
        .ok_or_else(|| Failure::damaged(META_NAME, entry.as_bytes()))
}

fn existing<T>(opened: Result<T, TableError>) -> Outcome<Option<T>> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn get_checked<F: Form>(table: &Rows<F>, name: &str, key: &[u8]) -> Outcome<Option<Row<'static>>> {
    let Some(native) = F::own(key) else {
        // A key of another class is none of this table's.
        return Ok(None);
    };
    match table.get(F::lend(&native))? {
        Some(stored) => Row::checked::<F>(name, Seal::of(name, F::SALT), key, &native, stored).map(Some),
        None => Ok(None),
    }
}

fn scan_in<F: Form>(table: &Rows<F>, name: &str, page: &Page<'_>) -> Outcome<Vec<Found<'static>>> {
    let Some((lower, upper)) = F::bounds(&page.span)? else {
        return Ok(Vec::new());
    };
    let bounds = (lower.as_ref().map(F::lend), upper.as_ref().map(F::lend));
    collect::<F>(
        name,
        table.range::<<F::Native as Value>::SelfType<'_>>(bounds)?,
        page,
    )
}
