"""What every source that is a file must be, whichever engine reads it: looked at without opening it.

SQLite drops all locks that this process has on a file when any descriptor of it is closed (fcntl), so nothing
here may open one.
"""

from __future__ import annotations

import os
import stat

from schemas.errors import UsageError

_REMEDY = "give the path of an existing database file"


def check_is_file(path: str) -> None:
    """Refuse a path at which no database can be. An empty file is one without tables, as for SQLite's tools.

    Raises:
        UsageError: it does not exist, is no regular file, may not be read, or has one byte.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 -- a path is text here
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise UsageError(f"the source {path!r} cannot be opened: {reason}", _REMEDY) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise UsageError(f"the source {path!r} is {kind}", _REMEDY)
    if not os.access(path, os.R_OK):
        raise UsageError(f"the source {path!r} may not be read", "give this user access to the file")
    if status.st_size == 1:
        # The one length at which SQLite does not look for its header, but sees an empty file and writes over
        # it (os_unix.c, unixFileSize).
        raise UsageError(f"the source {path!r} is no SQLite database", _REMEDY)


def absolute(path: str) -> str:
    """Fix a relative path to the folder of now; pathlib would also change how it is written."""
    return os.path.abspath(path) if path else path  # noqa: PTH100 -- see above
