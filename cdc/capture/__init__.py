"""Change capture by triggers: the log, the schema it follows, and reading both (DESIGN section 2)."""

from cdc.capture.capture import Capture
from cdc.capture.encode import Change
from cdc.capture.errors import CaptureStaleError, LogBrokenError
from cdc.capture.install import InstallReport
from cdc.capture.log import Backlog, LogState
from cdc.capture.log_rows import LogRow
from cdc.capture.reader import CaptureReader
from cdc.capture.source_reader import SourceReader
from cdc.capture.table import Skipped

__all__ = [
    "Backlog",
    "Capture",
    "CaptureReader",
    "CaptureStaleError",
    "Change",
    "InstallReport",
    "LogBrokenError",
    "LogRow",
    "LogState",
    "Skipped",
    "SourceReader",
]
