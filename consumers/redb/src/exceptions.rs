//! The exceptions that Python sees.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{Failure, Kind};

macro_rules! exceptions {
    ($($name:ident($base:ident): $doc:literal;)*) => {
        $(create_exception!(consumers._redb, $name, $base, $doc);)*

        pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add(stringify!($name), module.py().get_type::<$name>())?;)*
            Ok(())
        }
    };
}

exceptions! {
    RedbError(PyException): "Base of every error of this module.";
    BusyError(RedbError): "Another process, or something open in this one, has it.";
    NotFoundError(RedbError): "There is no such file.";
    NotADatabaseError(RedbError): "The file is not one that this module wrote.";
    CorruptedError(RedbError): "The file is damaged beyond repair.";
    RepairNeededError(RedbError): "A writer must open the file first, to repair it.";
    DamagedRowError(RedbError): "A stored value fails its check; has table and key.";
    StorageFullError(RedbError): "There is no room left for the file.";
    ClosedError(RedbError): "The handle was closed, or its transaction is over.";
    IoError(RedbError): "The operating system failed the file.";
    ExistsError(IoError): "There is a file already where one was to be made.";
    ReadOnlyError(RedbError): "The database was opened for reading only.";
    PanickedError(RedbError): "redb met a state that it holds impossible.";
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        let message = failure.message;
        match failure.kind {
            Kind::Other => RedbError::new_err(message),
            Kind::Busy => BusyError::new_err(message),
            Kind::NotFound => NotFoundError::new_err(message),
            Kind::NotADatabase => NotADatabaseError::new_err(message),
            Kind::Corrupted => CorruptedError::new_err(message),
            Kind::RepairNeeded => RepairNeededError::new_err(message),
            Kind::DamagedRow { table, key } => damaged_row(message, &table, &key),
            Kind::StorageFull => StorageFullError::new_err(message),
            Kind::Closed => ClosedError::new_err(message),
            Kind::Io => IoError::new_err(message),
            Kind::Exists => ExistsError::new_err(message),
            Kind::ReadOnly => ReadOnlyError::new_err(message),
            Kind::Panicked => PanickedError::new_err(message),
        }
    }
}

fn damaged_row(message: String, table: &str, key: &[u8]) -> PyErr {
    let error = DamagedRowError::new_err(message);
    Python::attach(|py| {
        let value = error.value(py);
        match value
            .setattr("table", table)
            .and_then(|()| value.setattr("key", PyBytes::new(py, key)))
        {
            Ok(()) => error,
            Err(failed) => failed,
        }
    })
}
