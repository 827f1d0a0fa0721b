"""Runs a command beside a Kafka broker of its own: ``python -m tests.support.with_kafka COMMAND...``.

The command finds the broker's address in CDC_BOOTSTRAP_SERVERS. This is how ``make bench`` gets a broker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.kafka import LONG_RUN, KafkaBroker


def main(command: list[str]) -> int:
    """Start the broker, run the command, end the broker; gives the command's exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="cdc-kafka-") as folder,
        KafkaBroker(Path(folder), java=LONG_RUN) as broker,
    ):
        child = subprocess.Popen(command, env={**os.environ, "CDC_BOOTSTRAP_SERVERS": broker.bootstrap})
        # Ctrl-C reaches the command too, which then ends in good order; the broker waits for it.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
