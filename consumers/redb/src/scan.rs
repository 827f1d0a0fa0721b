//! A scan as Python asks for it, of a committed state or within a transaction.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::Held;
use crate::keys::Span;
use crate::row::Page;

/// Rows in the order of the scan: key, row, the change that wrote it.
pub type Scanned<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64)>;

/// The arguments of a scan.
pub struct Asked<'py> {
    after: Option<Held<'py>>,
    before: Option<Held<'py>>,
    prefix: Option<Held<'py>>,
    reverse: bool,
    rows_max: usize,
    bytes_max: usize,
}

impl<'py> Asked<'py> {
    pub fn new(
        bounds: (Option<Held<'py>>, Option<Held<'py>>, Option<Held<'py>>),
        reverse: bool,
        limit: i64,
        bytes_max: Option<i64>,
    ) -> PyResult<Self> {
        let (after, before, prefix) = bounds;
        Ok(Self {
            after,
            before,
            prefix,
            reverse,
            rows_max: positive("limit", limit)?,
            bytes_max: bytes_max.map_or(Ok(usize::MAX), |bytes| positive("bytes_max", bytes))?,
        })
    }

    pub fn page(&self) -> Page<'_> {
        let span = Span {
            prefix: self.prefix.as_ref().map_or(&[], Held::lend),
            after: self.after.as_ref().map(Held::lend),
            before: self.before.as_ref().map(Held::lend),
        };
        Page {
            span,
            reverse: self.reverse,
            rows_max: self.rows_max,
            bytes_max: self.bytes_max,
        }
    }
}

fn positive(name: &str, value: i64) -> PyResult<usize> {
    match usize::try_from(value) {
        Ok(0) | Err(_) => Err(PyValueError::new_err(format!("{name} must be at least 1"))),
        Ok(value) => Ok(value),
    }
}
