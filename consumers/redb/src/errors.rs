//! Every way a call can fail, as the exception Python sees; panics end here too.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::{create_exception, types::PyBytes};

create_exception!(
    consumers._redb,
    RedbError,
    PyException,
    "Base of every error of this module."
);
create_exception!(
    consumers._redb,
    BusyError,
    RedbError,
    "Another process, or another transaction here, has it."
);
create_exception!(
    consumers._redb,
    NotFoundError,
    RedbError,
    "There is no such file."
);
create_exception!(
    consumers._redb,
    NotADatabaseError,
    RedbError,
    "The file is not one that this module wrote."
);
create_exception!(
    consumers._redb,
    CorruptedError,
    RedbError,
    "The file is damaged beyond repair."
);
create_exception!(
    consumers._redb,
    RepairNeededError,
    RedbError,
    "A writer must open the file first, to repair it."
);
create_exception!(
    consumers._redb,
    DamagedRowError,
    RedbError,
    "A stored value fails its check; has table and key."
);
create_exception!(
    consumers._redb,
    StorageFullError,
    RedbError,
    "There is no room left for the file."
);
create_exception!(
    consumers._redb,
    ClosedError,
    RedbError,
    "The handle was closed, or its transaction is over."
);
create_exception!(
    consumers._redb,
    IoError,
    RedbError,
    "The operating system failed the file."
);
create_exception!(
    consumers._redb,
    ExistsError,
    IoError,
    "There is a file already where one was to be made."
);
create_exception!(
    consumers._redb,
    ReadOnlyError,
    RedbError,
    "The database was opened for reading only."
);

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("RedbError", py.get_type::<RedbError>())?;
    module.add("BusyError", py.get_type::<BusyError>())?;
    module.add("NotFoundError", py.get_type::<NotFoundError>())?;
    module.add("NotADatabaseError", py.get_type::<NotADatabaseError>())?;
    module.add("CorruptedError", py.get_type::<CorruptedError>())?;
    module.add("RepairNeededError", py.get_type::<RepairNeededError>())?;
    module.add("DamagedRowError", py.get_type::<DamagedRowError>())?;
    module.add("StorageFullError", py.get_type::<StorageFullError>())?;
    module.add("ClosedError", py.get_type::<ClosedError>())?;
    module.add("IoError", py.get_type::<IoError>())?;
    module.add("ExistsError", py.get_type::<ExistsError>())?;
    module.add("ReadOnlyError", py.get_type::<ReadOnlyError>())
}

pub type Outcome<T> = Result<T, Failure>;

/// Which exception a failure becomes.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Other,
    Busy,
    NotFound,
    NotADatabase,
    Corrupted,
    RepairNeeded,
    DamagedRow { table: String, key: Vec<u8> },
    StorageFull,
    Closed,
    Io,
    Exists,
    ReadOnly,
}

/// What went wrong, told without Python so that it can be made while the GIL is released.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    message: String,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub fn closed(what: &str) -> Self {
        Self::new(Kind::Closed, format!("the {what} is closed"))
    }

    pub fn read_only() -> Self {
        Self::new(Kind::ReadOnly, "the database was opened for reading only")
    }

    /// The message leaves the key out: a key is cell values, and messages end up in logs.
    pub fn damaged(table: &str, key: &[u8]) -> Self {
        let kind = Kind::DamagedRow {
            table: table.to_owned(),
            key: key.to_vec(),
        };
        Self::new(kind, format!("a stored value of {table:?} fails its check"))
    }

    /// Says which file the failure is about.
    pub fn at(mut self, path: &Path) -> Self {
        self.message = format!("{}: {}", path.display(), self.message);
        self
    }

    pub fn from_io(error: &io::Error) -> Self {
        Self::new(kind_of_io(error), error.to_string())
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: redb::Error = error.into();
        Self::new(kind_of(&error), error.to_string())
    }
}

fn kind_of(error: &redb::Error) -> Kind {
    use redb::Error as E;
    match error {
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch | E::TransactionInProgress | E::WouldBlock => {
            Kind::Busy
        }
        E::RepairAborted => Kind::RepairNeeded,
        E::Corrupted(_) => Kind::Corrupted,
        E::UpgradeRequired(_)
        | E::TableTypeMismatch { .. }
        | E::TypeDefinitionChanged { .. }
        | E::TableIsMultimap(_)
        | E::TableIsNotMultimap(_) => Kind::NotADatabase,
        E::DatabaseClosed => Kind::Closed,
        E::PreviousIo => Kind::Io,
        E::Io(error) => kind_of_io(error),
        _ => Kind::Other,
    }
}

fn kind_of_io(error: &io::Error) -> Kind {
    use io::ErrorKind as K;
    match error.kind() {
        K::NotFound => Kind::NotFound,
        K::InvalidData | K::IsADirectory => Kind::NotADatabase,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Kind::StorageFull,
        K::AlreadyExists => Kind::Exists,
        _ => Kind::Io,
    }
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

thread_local! {
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of this library off standard error; `caught` reports them as errors instead.
pub fn silence_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANIC_PLACE.with_borrow_mut(|kept| *kept = place);
    }));
}

/// Runs `work`, turning a panic into a failure: `PanicException` would escape `except Exception`.
pub fn caught<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Failure::new(Kind::Other, told(&*panic))))
}

/// Runs `work` with the GIL released.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Outcome<T> + Send) -> PyResult<T> {
    Ok(py.detach(|| caught(work))?)
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text: &dyn Display = if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        &"unknown"
    };
    let mut message = format!("redb panicked: {text}");
    let place = PANIC_PLACE.with_borrow_mut(std::mem::take);
    if !place.is_empty() {
        let _ = write!(message, " ({place})");
    }
    message
}
