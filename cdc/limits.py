"""Every limit of the capture side, with its unit, in one place."""

from __future__ import annotations

PAUSE_SECONDS_MIN = 0.001
"""Pause after a poll that found something: under load the poller polls at once."""

HEARTBEAT_SECONDS = 2.0
"""How often an idle poller sends an empty group: nodes see their lag, other pollers that one works."""

SNAPSHOT_LOOK_SECONDS = 60.0
"""How often a poller looks whether there is a snapshot to start from: retention takes announcements."""

SNAPSHOT_LOOK_SECONDS_MIN = 1.0
"""The same where the events topic's retention is very short."""

LOOKS_A_RETENTION = 20
"""Looks within one retention of the events topic."""

RENEW_FRACTION = 0.5
"""Part of the events topic's retention, in time or bytes, after which a new snapshot is published."""

RETENTION_UNKNOWN_MS = 24 * 3600 * 1000
"""The retention of an events topic whose settings we may not see."""

SIZE_SAMPLES = 8
"""Records looked at to estimate the bytes of a range."""

ANNOUNCEMENTS_MAX = 5
"""How often a finished snapshot is announced while a running poller writes in between."""

STANDBY_SILENCE_SECONDS = 6.0
"""Silence of the topic after which a poller that stands by takes over: three heartbeats."""

STANDBY_LOOK_SECONDS = 0.5
"""How often a poller that stands by looks at the topic's end."""

STANDBY_DOUBLINGS_MAX = 6
"""How often the jitter before taking over is doubled, where taking over came to nothing again and again."""

IN_FLIGHT_BATCHES_MAX = 8
"""Batches handed to the producer and not yet acknowledged."""

BATCH_BYTES = 512 * 1024
"""Size of a batch of records, before compression; below the broker's usual limit of 1 MB a message."""

RECORD_BYTES_MAX = 900 * 1024
"""A larger event cannot be published as one record under the broker's usual limit."""

CHUNK_BYTES = 384 * 1024
"""Size at which a snapshot's chunk is full, before compression."""

ACK_SECONDS_MAX = 30.0
"""The longest wait for an acknowledgement: idempotent futures never fail while the broker is away."""

CHAIN_WINDOW_RECORDS = 64
"""Records first looked at, backwards from the topic's end, for the last complete group."""

CHAIN_WINDOW_RECORDS_MAX = 4096
"""The largest such window."""

TAIL_BYTES_IN_MEMORY = 8 * 1024 * 1024
"""Lines of one group that `cdc tail` holds in memory; a larger one waits for its end in a temporary file."""

TAIL_BLOCK_BYTES = 256 * 1024
"""Bytes of lines written to standard output at once."""

TAIL_YIELD_RECORDS = 500
"""Records after which `cdc tail` looks at signals: some 20 ms."""

WHY_RECORDS_MAX = 1_000_000
"""Records of the topic, or rows of the log, that `cdc why` looks through: a few seconds."""

WHY_WINDOW_RECORDS = 16_384
"""The largest window of records that it reads at once, backwards."""

WHY_EVENTS_MAX = 20
"""Pending changes of one row that it shows."""

DOCTOR_CLOCK_SECONDS_MAX = 5.0
"""Difference of the source's clock and ours that `cdc doctor` lets pass."""

DOCTOR_LOG_RETENTIONS_MAX = 2.0
"""Age of the change log's oldest row, in its retentions, above which the log seems to be held ..."""

DOCTOR_LOG_ROWS_MAX = 10_000
"""... if it has more rows than these."""

DOCTOR_READER_SILENT_SECONDS = 12 * 3600.0
"""Silence of a reader that holds the change log, above which it may have been forgotten."""

DOCTOR_MESSAGE_BYTES_MIN = RECORD_BYTES_MAX + 4096
"""The least max.message.bytes of our topics: one record of the largest size in a batch of its own."""

DOCTOR_SNAPSHOT_RETENTIONS_MAX = 0.75
"""Age of the newest snapshot, in retentions of the events topic, above which no poller seems to run."""

DOCTOR_FREE_BYTES_MIN = 64 * 1024 * 1024
"""The least free space beside the cache."""

DOCTOR_FREE_FILES_MIN = 1.5
"""Free space for a rebuild, in sizes of the cache file."""

DOCTOR_ROWS_SECONDS_MAX = 5.0
"""How long the rows of a cache that a node writes are checked."""

DAMAGED_KEYS_MAX = 500
"""Damaged rows that a node is told of and mends in one go."""

DAMAGED_PAUSE_SECONDS = 1.0
"""Pause after that."""

DAMAGED_ROWS_MAX = 10
"""Damaged rows after which a node without a source loads everything anew."""

DAMAGED_REBUILD_SECONDS = 3600.0
"""How often it does that at most."""

VERIFY_SECONDS_MAX = 3600.0
"""How long a scheduled verification may take before it is ended."""

VERIFY_REACH_SECONDS = 30.0
"""How long it goes without reaching the source."""

VERIFY_SETTLE_SECONDS = 1.0
"""How long after a repair the cache is verified again."""

VERIFY_NICE = 10
"""By how much its process stands back behind the node's."""

VERIFY_OUTPUT_BYTES_MAX = 64 * 1024
"""What it may say: a number for each table that differs."""

MOMENT_TRIES_MAX = 5
"""How often verify and its repair try to begin one of many short reads; about 2 s each while it is locked."""

VERIFY_TRIES_MAX = 3
"""How often a comparison is begun anew because the schema or the log was changed while it went on."""

MEND_TRIES_MAX = 5
"""How often rows are read again for a repair because the node went on meanwhile."""

MEND_PAUSE_SECONDS = 0.2
"""Pause before they are."""

FILE_HANDLES_MIN = 64
"""Files that a process must be allowed to have open."""

PROGRESS_LOG_SECONDS = 10.0
"""How often a load or a snapshot says in the log how far it is, where there is no terminal."""

PROGRESS_DRAW_SECONDS = 0.2
"""How often the bar on a terminal is drawn."""
