//! A committed state that Python holds open, and the conversion of what it answers.

use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::convert::{Held, row_to_bytes};
use crate::edge::detached;
use crate::errors::{Failure, Outcome};
use crate::read::View;
use crate::row::Found;
use crate::scan::{Asked, Scanned};

#[pyclass(frozen, module = "consumers._redb")]
pub struct Snapshot {
    view: RwLock<Option<View>>,
}

impl Snapshot {
    pub fn new(view: View) -> Self {
        Self {
            view: RwLock::new(Some(view)),
        }
    }

    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&View) -> Outcome<T> + Send) -> PyResult<T> {
        detached(py, || {
            let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
            work(view.as_ref().ok_or_else(|| Failure::closed("snapshot"))?)
        })
    }
}

/// What redb says of a table.
#[pyclass(frozen, get_all, module = "consumers._redb")]
pub struct TableStats {
    rows: u64,
    stored_bytes: u64,
    metadata_bytes: u64,
    fragmented_bytes: u64,
    leaf_pages: u64,
    branch_pages: u64,
    tree_height: u32,
}

#[pymethods]
impl Snapshot {
    pub fn get<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        key: Held<'py>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let key = key.lend();
        let row = self.with(py, |view| view.get(table, key))?;
        Ok(row.map(|row| row_to_bytes(py, &row)))
    }

    fn get_stamped<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        key: Held<'py>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, u64)>> {
        let key = key.lend();
        let row = self.with(py, |view| view.get(table, key))?;
        Ok(row.map(|row| (row_to_bytes(py, &row), row.change_id)))
    }

    pub fn get_many<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        keys: Vec<Held<'py>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
        let keys: Vec<&[u8]> = keys.iter().map(Held::lend).collect();
        let rows = self.with(py, |view| view.get_many(table, &keys))?;
        Ok(rows
            .iter()
            .map(|row| row.as_ref().map(|row| row_to_bytes(py, row)))
            .collect())
    }

    #[pyo3(signature = (
        table, after=None, limit=1000, prefix=None, *, before=None, reverse=false, bytes_max=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "all but two by name")]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        after: Option<Held<'py>>,
        limit: i64,
        prefix: Option<Held<'py>>,
        before: Option<Held<'py>>,
        reverse: bool,
        bytes_max: Option<i64>,
    ) -> PyResult<Scanned<'py>> {
        let asked = Asked::new((after, before, prefix), reverse, limit, bytes_max)?;
        let page = asked.page();
        let found = self.with(py, |view| view.scan(table, &page))?;
        Ok(found
            .iter()
            .map(|Found { key, row }| {
                (
                    PyBytes::new(py, key.bytes()),
                    row_to_bytes(py, row),
                    row.change_id,
                )
            })
            .collect())
    }

    pub fn count(&self, py: Python<'_>, table: &str) -> PyResult<u64> {
        self.with(py, |view| view.count(table))
    }

    fn stats(&self, py: Python<'_>, table: &str) -> PyResult<Option<TableStats>> {
        let found = self.with(py, |view| view.stats(table))?;
        Ok(found.map(|(rows, stats)| TableStats {
            rows,
            stored_bytes: stats.stored_bytes(),
            metadata_bytes: stats.metadata_bytes(),
            fragmented_bytes: stats.fragmented_bytes(),
            leaf_pages: stats.leaf_pages(),
            branch_pages: stats.branch_pages(),
            tree_height: stats.tree_height(),
        }))
    }

    fn tables(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, View::tables)
    }

    pub fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.with(py, View::meta)?;
        let meta = PyDict::new(py);
        for (name, value) in found {
            meta.set_item(name, PyBytes::new(py, &value))?;
        }
        Ok(meta)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            self.view.write().unwrap_or_else(PoisonError::into_inner).take();
            Ok(())
        })
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(py)
    }
}
