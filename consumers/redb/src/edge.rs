//! Where Python's calls become work without the GIL, and where panics end.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;

use pyo3::prelude::*;

use crate::errors::{Failure, Kind, Outcome};

thread_local! {
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of this library off standard error; `caught` reports them as errors instead.
pub fn silence_panics() {
    set_hook(Box::new(|info| {
        if let Some(place) = info.location() {
            // Without the folders, which are those of the machine that built this.
            let file = Path::new(place.file()).file_name().unwrap_or_default().display();
            PANIC_PLACE.with_borrow_mut(|kept| *kept = format!("{file}:{}", place.line()));
        }
    }));
}

/// Runs `work`, turning a panic into a failure: `PanicException` would escape `except Exception`.
pub fn caught<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Failure::new(Kind::Panicked, told(&*panic))))
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
