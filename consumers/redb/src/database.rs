//! One open file: made, opened, written in whole transactions, read at its newest commit, closed.

use std::fs::{File, remove_file};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use redb::backends::FileBackend;
use redb::{Builder, ConcurrencyMode, ReadableDatabase};

use crate::convert::{Held, hold_meta, hold_tables, lend_meta, lend_tables};
use crate::edge::detached;
use crate::errors::{Failure, Outcome};
use crate::read::View;
use crate::snapshot::Snapshot;
use crate::transaction::{Turns, WriteTransaction, set_durable};
use crate::write;

/// Half of it may be dirty pages of the open transaction; redb writes the rest out early.
const CACHE_BYTES: usize = 64 << 20;
const WAIT_S: f64 = 30.0;

enum Handle {
    Writer(redb::Database),
    Reader(redb::ReadOnlyDatabase),
}

impl Handle {
    fn view(&self) -> Outcome<View> {
        Ok(View::new(match self {
            Self::Writer(database) => database.begin_read()?,
            Self::Reader(database) => database.begin_read()?,
        }))
    }

    fn writer(&self) -> Outcome<&redb::Database> {
        match self {
            Self::Writer(database) => Ok(database),
            Self::Reader(_) => Err(Failure::read_only()),
        }
    }

    /// Whether the file was left clean. A writer that failed before cannot leave it so, and has said why.
    fn close(self) -> bool {
        match self {
            Self::Writer(database) => database.close().is_ok(),
            Self::Reader(database) => database.close().is_ok(),
        }
    }
}

#[pyclass(frozen, module = "consumers._redb")]
pub struct Database {
    handle: RwLock<Option<Handle>>,
    turns: Arc<Turns>,
    #[pyo3(get)]
    path: PathBuf,
    /// Whether other processes can read the file meanwhile.
    #[pyo3(get)]
    shared: bool,
    /// Whether every page was verified when it was opened, as after an unclean end.
    #[pyo3(get)]
    verified: bool,
    #[pyo3(get)]
    readonly: bool,
}

impl Database {
    fn new(handle: Handle, path: PathBuf, shared: bool, verified: bool) -> Self {
        let readonly = matches!(handle, Handle::Reader(_));
        Self {
            handle: RwLock::new(Some(handle)),
            turns: Arc::default(),
            path,
            shared,
            verified,
            readonly,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Handle) -> Outcome<T>) -> Outcome<T> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        work(handle.as_ref().ok_or_else(|| Failure::closed("database"))?)
    }

    /// Runs work on the file as a whole, with no other call at it.
    fn alone<T: Send>(
        &self,
        py: Python<'_>,
        timeout: f64,
        work: impl FnOnce(&mut redb::Database) -> Outcome<T> + Send,
    ) -> PyResult<T> {
        let wait = waiting(timeout)?;
        detached(py, || {
            let _turn = self.turns.take(wait)?;
            let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
            match handle.as_mut() {
                Some(Handle::Writer(database)) => work(database),
                Some(Handle::Reader(_)) => Err(Failure::read_only()),
                None => Err(Failure::closed("database")),
            }
        })
    }

    /// A snapshot of the newest commit, for one call.
    fn newest(&self, py: Python<'_>) -> PyResult<Snapshot> {
        detached(py, || self.with(Handle::view).map(Snapshot::new))
    }
}

fn builder(shared: bool, cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder.set_concurrency_mode(if shared {
        ConcurrencyMode::SingleWriter
    } else {
        ConcurrencyMode::ExclusiveWriter
    });
    builder
}

/// Takes a new file only: redb would make any empty file a database.
fn create_new(path: &Path, builder: &Builder) -> Outcome<redb::Database> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| Failure::from_io(&error))?;
    let created = FileBackend::new(file).and_then(|backend| builder.create_with_backend(backend));
    created.map_err(|error| {
        let _ = remove_file(path);
        error.into()
    })
}

fn waiting(timeout: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(timeout).map_err(|error| PyValueError::new_err(format!("timeout: {error}")))
}

#[pymethods]
impl Database {
    #[staticmethod]
    #[pyo3(signature = (path, *, shared=true, cache_bytes=CACHE_BYTES))]
    fn create(py: Python<'_>, path: PathBuf, shared: bool, cache_bytes: usize) -> PyResult<Self> {
        detached(py, || {
            let database =
                create_new(&path, &builder(shared, cache_bytes)).map_err(|failure| failure.at(&path))?;
            Ok(Self::new(Handle::Writer(database), path, shared, false))
        })
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, shared=true, check=false, cache_bytes=CACHE_BYTES))]
    fn open(py: Python<'_>, path: PathBuf, shared: bool, check: bool, cache_bytes: usize) -> PyResult<Self> {
        detached(py, || {
            let verified = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&verified);
            let database = builder(shared, cache_bytes)
                .set_check_integrity_on_open(check)
                .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
                .open(&path)
                .map_err(|error| Failure::from(error).at(&path))?;
            let verified = verified.load(Ordering::Relaxed);
            Ok(Self::new(Handle::Writer(database), path, shared, verified))
        })
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, cache_bytes=CACHE_BYTES))]
    fn open_read_only(py: Python<'_>, path: PathBuf, cache_bytes: usize) -> PyResult<Self> {
        detached(py, || {
            let database = builder(true, cache_bytes)
                .open_read_only(&path)
                .map_err(|error| Failure::from(error).at(&path))?;
            Ok(Self::new(Handle::Reader(database), path, true, false))
        })
    }

    #[pyo3(signature = (ops, meta, *, durable=true, timeout=WAIT_S))]
    fn apply(
        &self,
        py: Python<'_>,
        ops: &Bound<'_, PyDict>,
        meta: &Bound<'_, PyDict>,
        durable: bool,
        timeout: f64,
    ) -> PyResult<()> {
        let (held_tables, held_meta) = (hold_tables(ops)?, hold_meta(meta)?);
        let (mut tables, entries) = (lend_tables(&held_tables), lend_meta(&held_meta));
        let wait = waiting(timeout)?;
        detached(py, || {
            let _turn = self.turns.take(wait)?;
            self.with(|handle| {
                let mut transaction = handle.writer()?.begin_write()?;
                set_durable(&mut transaction, durable)?;
                write::put(&transaction, &mut tables)?;
                write::set_meta(&transaction, &entries)?;
                Ok(transaction.commit()?)
            })
        })
    }

    #[pyo3(signature = (*, timeout=WAIT_S))]
    fn begin(&self, py: Python<'_>, timeout: f64) -> PyResult<WriteTransaction> {
        let wait = waiting(timeout)?;
        detached(py, || {
            let turn = self.turns.take(wait)?;
            self.with(|handle| Ok(WriteTransaction::new(handle.writer()?.begin_write()?, turn)))
        })
    }

    fn snapshot(&self, py: Python<'_>) -> PyResult<Snapshot> {
        self.newest(py)
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        key: Held<'py>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.newest(py)?.get(py, table, key)
    }

    fn get_many<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        keys: Vec<Held<'py>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
        self.newest(py)?.get_many(py, table, keys)
    }

    fn count(&self, py: Python<'_>, table: &str) -> PyResult<u64> {
        self.newest(py)?.count(py, table)
    }

    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.newest(py)?.meta(py)
    }

    #[pyo3(signature = (*, timeout=WAIT_S))]
    fn check_integrity(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        self.alone(py, timeout, |database| Ok(database.check_integrity()?))
    }

    #[pyo3(signature = (*, timeout=WAIT_S))]
    fn compact(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        self.alone(py, timeout, |database| Ok(database.compact()?))
    }

    fn close(&self, py: Python<'_>) -> PyResult<bool> {
        detached(py, || {
            let handle = self.handle.write().unwrap_or_else(PoisonError::into_inner).take();
            // redb would keep the file locked for as long as the transaction lives.
            self.turns.abort_live();
            Ok(handle.is_none_or(Handle::close))
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
        self.close(py)?;
        Ok(())
    }
}
