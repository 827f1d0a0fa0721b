//! Every way a call can fail, told without Python so that it can be told while the GIL is released.

use std::io;
use std::path::Path;

pub type Outcome<T> = Result<T, Failure>;

/// Which exception a failure becomes.
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
    Panicked,
}

/// What went wrong, and in which file where that is known.
pub struct Failure {
    pub kind: Kind,
    pub message: String,
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
        let message = match error {
            redb::Error::RepairAborted => {
                "its writer ended uncleanly; open it for writing to repair it".into()
            }
            _ => error.to_string(),
        };
        Self::new(kind_of(&error), message)
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
        // Pages that the header speaks of lie behind the file's end.
        K::UnexpectedEof => Kind::Corrupted,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Kind::StorageFull,
        K::AlreadyExists => Kind::Exists,
        _ => Kind::Io,
    }
}
