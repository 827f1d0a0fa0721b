//! The redb file that a consumer keeps, as the Python module `consumers._redb`.
//!
//! | file           | idea                                                  |
//! |----------------|-------------------------------------------------------|
//! | database.rs    | one open file: create, open, apply, close             |
//! | transaction.rs | a write transaction that Python holds open            |
//! | snapshot.rs    | a committed state that Python holds open              |
//! | convert.rs     | Python's values as slices that can be lent            |
//! | edge.rs        | work without the GIL; where panics end                |
//! | write.rs       | what a transaction does to tables                     |
//! | read.rs        | what a committed state answers                        |
//! | scan.rs        | a scan as Python asks for it                          |
//! | keys.rs        | how keys stand in a table: as tuples, or as native values |
//! | key_bytes.rs   | the bytes of an encoded key                           |
//! | packed.rs      | rows as a snapshot's chunk packs them                 |
//! | row.rs         | rows and pages of rows, as reads find them            |
//! | value.rs       | the check that every stored value carries             |
//! | errors.rs      | every way a call can fail                             |
//! | exceptions.rs  | the same as Python's exceptions                       |

#![deny(unsafe_code)]
#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

mod convert;
mod database;
mod edge;
mod errors;
mod exceptions;
mod key_bytes;
mod keys;
mod packed;
mod read;
mod row;
mod scan;
mod snapshot;
mod transaction;
mod value;
mod write;

use pyo3::prelude::*;

#[pymodule]
fn _redb(module: &Bound<'_, PyModule>) -> PyResult<()> {
    edge::silence_panics();
    exceptions::add_to(module)?;
    module.add_class::<database::Database>()?;
    module.add_class::<transaction::WriteTransaction>()?;
    module.add_class::<snapshot::TableStats>()?;
    module.add_class::<snapshot::Snapshot>()
}
