//! A write transaction that Python holds open, and the turn that lets one at a time be open.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use redb::Durability;

use crate::convert::{Held, HeldTable, hold_meta, hold_tables, lend_meta, lend_tables};
use crate::edge::detached;
use crate::errors::{Failure, Kind, Outcome};
use crate::keys::KeyType;
use crate::packed::unpack;
use crate::scan::{Asked, Scanned};
use crate::write;

type Live = Mutex<Option<Open>>;

struct Open {
    transaction: redb::WriteTransaction,
    // A call failed half-way: what it wrote must not be committed without the rest.
    failed: bool,
    // After the transaction, so that it is over when the next one takes its turn.
    _turn: Turn,
}

/// Who may write: redb would block for ever where one thread begins twice.
#[derive(Default)]
pub struct Turns {
    taken: Mutex<bool>,
    given_back: Condvar,
    live: Mutex<Weak<Live>>,
}

/// The right to be the one write transaction; given back when dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    pub fn take(self: &Arc<Self>, wait: Duration) -> Outcome<Turn> {
        let (mut taken, timeout) = self
            .given_back
            .wait_timeout_while(lock(&self.taken), wait, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(Failure::new(
                Kind::Busy,
                format!("another write transaction was open for {} s", wait.as_secs_f32()),
            ));
        }
        *taken = true;
        Ok(Turn(Arc::clone(self)))
    }

    /// Ends the transaction that Python holds open, if it does.
    pub fn abort_live(&self) {
        if let Some(live) = lock(&self.live).upgrade() {
            abort(&live);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.taken) = false;
        self.0.given_back.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn abort(live: &Live) {
    if let Some(open) = lock(live).take() {
        // Its changes are gone even where this fails; redb remembers the error and tells the next write.
        let _ = open.transaction.abort();
    }
}

/// Refused before the work of a commit, so that the transaction can still be committed durably.
pub fn set_durable(transaction: &mut redb::WriteTransaction, durable: bool) -> Outcome<()> {
    let durability = if durable {
        Durability::Immediate
    } else {
        Durability::None
    };
    Ok(transaction.set_durability(durability)?)
}

#[pyclass(frozen, module = "consumers._redb")]
pub struct WriteTransaction {
    live: Arc<Live>,
}

impl WriteTransaction {
    pub fn new(transaction: redb::WriteTransaction, turn: Turn) -> Self {
        let turns = Arc::clone(&turn.0);
        let live = Arc::new(Mutex::new(Some(Open {
            transaction,
            failed: false,
            _turn: turn,
        })));
        *lock(&turns.live) = Arc::downgrade(&live);
        Self { live }
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&redb::WriteTransaction) -> Outcome<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            let mut live = lock(&self.live);
            let open = live.as_mut().ok_or_else(over)?;
            let failed_before = mem::replace(&mut open.failed, true);
            let done = work(&open.transaction)?;
            open.failed = failed_before;
            Ok(done)
        })
    }
}

fn over() -> Failure {
    Failure::closed("write transaction")
}

#[pymethods]
impl WriteTransaction {
    fn put(&self, py: Python<'_>, ops: &Bound<'_, PyDict>) -> PyResult<()> {
        let held = hold_tables(ops)?;
        let mut tables = lend_tables(&held);
        self.with(py, |transaction| write::put(transaction, &mut tables))
    }

    fn append(&self, py: Python<'_>, table: String, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let held = HeldTable::new(table, rows)?;
        let mut tables = [held.lend()];
        self.with(py, |transaction| write::put(transaction, &mut tables))
    }

    fn append_packed(&self, py: Python<'_>, table: &str, packed: Held<'_>) -> PyResult<Option<usize>> {
        let packed = packed.lend();
        self.with(py, |transaction| {
            let Some(rows) = unpack(packed) else {
                return Ok(None);
            };
            let count = rows.len();
            Ok(write::put_fitting(transaction, table, rows)?.then_some(count))
        })
    }

    #[pyo3(signature = (table, key_type="tuple"))]
    fn truncate(&self, py: Python<'_>, table: &str, key_type: &str) -> PyResult<()> {
        let key_type = KeyType::named(key_type)
            .ok_or_else(|| PyValueError::new_err("key_type must be tuple, text, integer or bytes"))?;
        self.with(py, |transaction| write::truncate(transaction, table, key_type))
    }

    fn get_many<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        keys: Vec<Held<'py>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
        let keys: Vec<&[u8]> = keys.iter().map(Held::lend).collect();
        let rows = self.with(py, |transaction| write::get_many(transaction, table, &keys))?;
        Ok(rows
            .iter()
            .map(|row| row.as_ref().map(|row| PyBytes::new(py, row)))
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
        let found = self.with(py, |transaction| write::scan(transaction, table, &page))?;
        Ok(found
            .iter()
            .map(|(key, row, change_id)| (PyBytes::new(py, key), PyBytes::new(py, row), *change_id))
            .collect())
    }

    fn count(&self, py: Python<'_>, table: &str) -> PyResult<u64> {
        self.with(py, |transaction| write::count(transaction, table))
    }

    fn drop_table(&self, py: Python<'_>, table: &str) -> PyResult<bool> {
        self.with(py, |transaction| write::drop_table(transaction, table))
    }

    fn set_meta(&self, py: Python<'_>, meta: &Bound<'_, PyDict>) -> PyResult<()> {
        let held = hold_meta(meta)?;
        let entries = lend_meta(&held);
        self.with(py, |transaction| write::set_meta(transaction, &entries))
    }

    #[pyo3(signature = (durable=true))]
    fn commit(&self, py: Python<'_>, durable: bool) -> PyResult<()> {
        detached(py, || {
            let mut live = lock(&self.live);
            let open = live.as_mut().ok_or_else(over)?;
            if open.failed {
                return Err(Failure::new(
                    Kind::Other,
                    "a write of this transaction failed: abort it",
                ));
            }
            set_durable(&mut open.transaction, durable)?;
            let open = live.take().ok_or_else(over)?;
            Ok(open.transaction.commit()?)
        })
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            abort(&self.live);
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
        self.abort(py)
    }
}
