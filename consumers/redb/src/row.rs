//! Rows as reads find them, out of a committed state or an open write transaction alike.

use redb::{AccessGuard, Range, Value};

use crate::errors::{Failure, Outcome};
use crate::keys::{Encoded, Form, Span};
use crate::value::{Seal, open_row};

/// A row whose check holds; its bytes stay in redb's page until Python copies them.
pub struct Row<'t> {
    stored: AccessGuard<'t, &'static [u8]>,
    length: usize,
    pub change_id: u64,
}

impl<'t> Row<'t> {
    /// `key` is the encoded one, which Python is told where the check fails.
    pub fn checked<F: Form>(
        table: &str,
        seal: Seal,
        key: &[u8],
        native: &F::Owned<'_>,
        stored: AccessGuard<'t, &'static [u8]>,
    ) -> Outcome<Self> {
        let lent = F::lend(native);
        let bytes = F::Native::as_bytes(&lent);
        let Some((row, change_id)) = open_row(seal, bytes.as_ref(), stored.value()) else {
            return Err(Failure::damaged(table, key));
        };
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

/// A row and its key.
pub struct Found<'t> {
    pub key: Encoded<'t>,
    pub row: Row<'t>,
}

/// Which part of a table one scan returns, and from which end.
pub struct Page<'a> {
    pub span: Span<'a>,
    pub reverse: bool,
    pub rows_max: usize,
    pub bytes_max: usize,
}

/// Takes a page out of a range.
pub fn collect<'t, F: Form>(
    table: &str,
    range: Range<'t, F::Native, &'static [u8]>,
    page: &Page<'_>,
) -> Outcome<Vec<Found<'t>>> {
    if page.reverse {
        take::<F>(table, range.rev(), page)
    } else {
        take::<F>(table, range, page)
    }
}

type Entry<'t, F> = (
    AccessGuard<'t, <F as Form>::Native>,
    AccessGuard<'t, &'static [u8]>,
);

fn take<'t, F: Form>(
    table: &str,
    entries: impl Iterator<Item = Result<Entry<'t, F>, redb::StorageError>>,
    page: &Page<'_>,
) -> Outcome<Vec<Found<'t>>> {
    let mut found = Vec::new();
    let mut bytes: usize = 0;
    let seal = Seal::of(table, F::SALT);
    for entry in entries.take(page.rows_max) {
        let (native, stored) = entry?;
        let key = F::encode(native);
        bytes += key.bytes().len() + stored.value().len();
        let row = match F::own(key.bytes()) {
            Some(native) => Row::checked::<F>(table, seal, key.bytes(), &native, stored)?,
            None => return Err(Failure::damaged(table, key.bytes())),
        };
        found.push(Found { key, row });
        if bytes >= page.bytes_max {
            break;
        }
    }
    Ok(found)
}
