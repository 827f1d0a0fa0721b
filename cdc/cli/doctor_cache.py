"""What `cdc doctor` looks at in the cache file and around it."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from cdc import limits
from cdc.cli.doctor_checks import Check, age_check, room_check
from cdc.cli.output import counted
from consumers import _redb
from consumers.cache_path import real_path
from consumers.meta import QUARANTINE_TABLE, read_checkpoint, read_definitions
from consumers.nodelock import node_lock, writer_alive
from consumers.opening import open_to_read
from consumers.store import redb_errors
from schemas.errors import CacheBusyError, CdcError

if TYPE_CHECKING:
    from pathlib import Path

    from cdc.config import Config

_PAGE_ROWS = 1000


def cache_checks(config: Config) -> list[Check]:
    """Everything about the cache file, its folder and who writes it."""
    path = real_path(config.cache.path)
    checks = [_folder(path)]
    if not path.exists():
        remedy = "the first sync, run or consume makes it"
        checks.append(Check("cache", "file", "warning", f"there is no cache file {path}", remedy))
        free_bytes = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        return [*checks, room_check(free_bytes, 0)]
    alive = writer_alive(path)
    checks.append(Check("cache", "writer", "ok", "a node writes it" if alive else "no node runs"))
    try:
        checks += _content(path, alive=alive)
    except CdcError as error:
        checks.append(Check("cache", "file", "failure", error.message, error.remedy))
    status = path.stat()
    checks.append(room_check(shutil.disk_usage(path.parent).free, status.st_size))
    age_s = max(0.0, time.time() - status.st_mtime)
    staleness_s = config.cache.max_staleness_s
    checks.append(age_check(age_s, staleness_s, alive=alive, fed_by_kafka=config.kafka is not None))
    return checks


def _folder(path: Path) -> Check:
    folder = path.parent
    if not folder.is_dir():
        return Check(
            "cache", "folder", "failure", f"there is no folder {folder}", "make it, or correct cache.path"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "let the node's user write there: a rebuild makes a new file beside the old one"
        return Check("cache", "folder", "failure", f"{folder} cannot be written", remedy)
    return Check("cache", "folder", "ok", f"{folder} can be written")


def _content(path: Path, *, alive: bool) -> list[Check]:
    database, _ = open_to_read(path)
    with database, redb_errors(path):
        meta = database.meta()
        checkpoint = read_checkpoint(meta)
        tables = list(read_definitions(meta))
        quarantined = database.count(QUARANTINE_TABLE)
        checks = [_integrity_of_rows(database, tables)] if alive else []
    if not alive:
        checks = [_integrity(path)]
    if checkpoint is None:
        checks.append(
            Check("cache", "content", "warning", "nothing was loaded yet", "run: cdc sync, or consume")
        )
    else:
        checks.append(
            Check("cache", "content", "ok", f"{counted(len(tables), 'table')} at {checkpoint.position}")
        )
    if quarantined:
        remedy = "see: cdc quarantine list"
        checks.append(Check("cache", "quarantine", "warning", counted(quarantined, "row"), remedy))
    return checks


def _integrity(path: Path) -> Check:
    """Every page, which only a writer may ask for: as a node does when it starts."""
    try:
        with node_lock(path), redb_errors(path):
            _redb.Database.open(path, shared=True, check=True).close()
    except CacheBusyError:
        return Check("cache", "integrity", "ok", "a node has just opened it")
    return Check("cache", "integrity", "ok", "every page was checked")


def _integrity_of_rows(database: _redb.Database, tables: list[str]) -> Check:
    """The rows' checksums, beside the node that writes the file; for a limited time."""
    until = time.monotonic() + limits.DOCTOR_ROWS_SECONDS_MAX
    rows = 0
    with database.snapshot() as snapshot:
        for table in tables:
            after: bytes | None = None
            while page := snapshot.scan(table, after, _PAGE_ROWS):
                rows, after = rows + len(page), page[-1][0]
                if time.monotonic() > until:
                    return Check("cache", "integrity", "ok", f"the first {rows:,} rows were checked")
    return Check("cache", "integrity", "ok", f"all {counted(rows, 'row')} were checked")
