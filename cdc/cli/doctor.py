"""``cdc doctor``: everything a deployment needs, one line each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.doctor_cache import cache_checks
from cdc.cli.doctor_kafka import kafka_checks
from cdc.cli.doctor_source import source_checks
from cdc.cli.output import counted, print_result
from cdc.cli.output import table as text_table
from cdc.cli.running import run_async
from schemas.errors import CdcError
from schemas.kafka_calls import REQUEST_SECONDS_MAX, request_seconds

if TYPE_CHECKING:
    from cdc.cli.doctor_checks import Check
    from cdc.config import Config


def doctor(*, common: Common = DEFAULTS) -> None:
    """Check everything a deployment needs: source, Kafka, cache; exit 1 where something fails."""
    config = common.load()
    request_seconds.set(min(REQUEST_SECONDS_MAX, common.timeout_s))
    checks = run_async(_checks(config))
    failures = sum(check.level == "failure" for check in checks)
    document = {"checks": [msgspec.to_builtins(check) for check in checks], "ok": not failures}
    print_result(common, document, _text(checks))
    if failures:
        raise CdcError(
            f"{failures} of {counted(len(checks), 'check')} failed", "do what is said beside each of them"
        )


async def _checks(config: Config) -> list[Check]:
    return [
        *await source_checks(config),
        *await kafka_checks(config),
        *await asyncio.to_thread(cache_checks, config),
    ]


def _text(checks: list[Check]) -> Any:
    rows = [(_SHOWN[check.level], check.part, check.check, check.message, check.remedy) for check in checks]
    return text_table(("", "part", "check", "found", "remedy"), rows)


_SHOWN = {"ok": "ok", "warning": "WARNING", "failure": "FAILURE"}
