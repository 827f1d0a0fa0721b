//! Python's values as slices that the work can read with the GIL released, and results back.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::row::Row;
use crate::write::{MetaOp, Op, TableOps};

/// Bytes that nobody can change or free while the GIL is released.
pub enum Held<'py> {
    Bytes(Bound<'py, PyBytes>),
    /// Out of another buffer (`msgspec.Raw`, `bytearray`), which its owner might change meanwhile.
    Copy(Vec<u8>),
}

impl<'py> FromPyObject<'_, 'py> for Held<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.to_owned()));
        }
        match PyBuffer::<u8>::get(&value) {
            Ok(buffer) => Ok(Self::Copy(buffer.to_vec(value.py())?)),
            Err(_) => Err(PyTypeError::new_err(format!(
                "must be bytes, not {}",
                value.get_type().name()?
            ))),
        }
    }
}

impl Held<'_> {
    pub fn lend(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copy(bytes) => bytes,
        }
    }
}

struct HeldOp<'py> {
    key: Held<'py>,
    row: Option<Held<'py>>,
    change_id: u64,
}

impl<'py> HeldOp<'py> {
    fn new(item: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (key, row, change_id) = item.cast::<PyTuple>()?.extract()?;
        Ok(Self { key, row, change_id })
    }
}

/// One table's operations as Python gave them.
pub struct HeldTable<'py> {
    table: String,
    ops: Vec<HeldOp<'py>>,
}

impl<'py> HeldTable<'py> {
    pub fn new(table: String, list: &Bound<'py, PyAny>) -> PyResult<Self> {
        let list = list
            .cast::<PyList>()
            .map_err(|_| PyTypeError::new_err(format!("the operations of {table:?} must be a list")))?;
        let mut ops = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            ops.push(HeldOp::new(&item).map_err(|cause| refused(item.py(), &table, index, cause))?);
        }
        Ok(Self { table, ops })
    }

    pub fn lend(&self) -> TableOps<'_> {
        let ops = self.ops.iter().map(|op| Op {
            key: op.key.lend(),
            row: op.row.as_ref().map(Held::lend),
            change_id: op.change_id,
        });
        TableOps {
            table: &self.table,
            ops: ops.collect(),
        }
    }
}

/// Says which operation is wrong, but not what it holds.
fn refused(py: Python<'_>, table: &str, index: usize, cause: PyErr) -> PyErr {
    let message = format!(
        "operation {index} of {table:?} must be (key: bytes, row: bytes | None, change_id: int of 0 to 2**64 - 1)"
    );
    let error = if cause.is_instance_of::<PyOverflowError>(py) {
        PyValueError::new_err(message)
    } else {
        PyTypeError::new_err(message)
    };
    error.set_cause(py, Some(cause));
    error
}

pub fn hold_tables<'py>(ops: &Bound<'py, PyDict>) -> PyResult<Vec<HeldTable<'py>>> {
    ops.iter()
        .map(|(table, list)| HeldTable::new(name_of(&table, "table")?, &list))
        .collect()
}

pub fn lend_tables<'a>(held: &'a [HeldTable<'_>]) -> Vec<TableOps<'a>> {
    held.iter().map(HeldTable::lend).collect()
}

pub type HeldMeta<'py> = (String, Option<Held<'py>>);

pub fn hold_meta<'py>(meta: &Bound<'py, PyDict>) -> PyResult<Vec<HeldMeta<'py>>> {
    meta.iter()
        .map(|(name, value)| Ok((name_of(&name, "meta")?, value.extract()?)))
        .collect()
}

pub fn lend_meta<'a>(held: &'a [HeldMeta<'_>]) -> Vec<MetaOp<'a>> {
    held.iter()
        .map(|(name, value)| MetaOp {
            name,
            value: value.as_ref().map(Held::lend),
        })
        .collect()
}

fn name_of(name: &Bound<'_, PyAny>, what: &str) -> PyResult<String> {
    match name.cast::<PyString>() {
        Ok(name) => Ok(name.to_str()?.to_owned()),
        Err(_) => Err(PyTypeError::new_err(format!("a {what} name must be a str"))),
    }
}

pub fn row_to_bytes<'py>(py: Python<'py>, row: &Row<'_>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, row.bytes())
}
