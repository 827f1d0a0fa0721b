"""Every limit of the apply side, with its unit, in one place."""

from __future__ import annotations

COMMIT_ROWS_MAX = 20_000
"""Rows of one commit: beyond this a larger commit is hardly faster, and a reader waits longer for it."""

COMMIT_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of rows of one commit, which is also what may wait in memory behind a commit under way."""

STREAM_ROWS_MAX = 20_000
"""A group that grows past this is streamed into one open write transaction, part by part."""

STREAM_BYTES_MAX = 16 * 1024 * 1024
"""The same limit in bytes."""

IDLE_COMMIT_SECONDS = 5.0
"""How long a checkpoint without rows (an empty group) may wait for rows to be committed with."""

FETCH_WAIT_MS = 200
"""How long one fetch waits for records before the loop looks at its other duties."""

FETCH_RECORDS_MAX = 10_000
"""Records handed over by one fetch: at most about 20 ms of decoding on the event loop."""

FEED_ROWS_MAX = 1_000
"""Rows taken in before the event loop has its turn: at most about 40 ms, where they come in JSON."""

FETCH_BYTES_MAX = 8 * 1024 * 1024
"""Bytes asked for in one fetch."""

LOAD_FETCH_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of a snapshot's chunks in one fetch; while they are written, the next ones are fetched."""

LOAD_COMMIT_BYTES = 16 * 1024 * 1024
"""Rows of a load that are committed together: they and their pages must fit half of redb's cache (64 MiB)."""

WATCHDOG_SECONDS = 15.0
"""Silence after which the topic is asked for its end, to tell an idle topic from a broker that is away."""

KAFKA_REQUEST_SECONDS = 10.0
"""The longest wait for one answer of a broker (aiokafka's own calls may wait for ever)."""

GROUP_COMMIT_SECONDS = 1.0
"""How often at most the offset is committed to the Kafka group (for people who watch lag there)."""

MANIFEST_WAIT_SECONDS = 2.0
"""How often a node that lacks a snapshot looks for one."""

UPGRADE_LOOK_SECONDS = 10.0
"""How often a node that stopped at an event of a newer major version looks whether it can go on."""

EVICTION_KEYS_MAX = 50_000
"""Keys remembered of one bounded table within a transaction; beyond, every row of it is looked at instead."""

EVICTION_PAGE_KEYS = 1_000
"""Keys of rows that leave a bounded table in one step."""

SNAPSHOT_TRIES_MAX = 10
"""How often in a row a snapshot may be deleted while a node loads it."""

ORDERS_MAX = 64
"""Requests that may wait for the node's next checkpoint."""

PAUSED_LOOK_SECONDS = 1.0
"""How often a paused node looks whether it was told to stop pausing in a way that did not wake it."""

HOLD_SECONDS = 5.0
"""How long a node stands still for one batch of a repair, unless it is let go before."""

CONTROL_CONNECTIONS_MAX = 16
"""Connections to the control socket at a time."""

CONTROL_REQUEST_BYTES_MAX = 32 * 1024 * 1024
"""One request, or one answer: a line of JSON."""

CONTROL_REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, or an answer to be taken."""

CONTROL_WORKING_SECONDS = 2.0
"""How often whoever waits for an answer is told that the work goes on."""

MEND_ROWS_MAX = 500
"""Rows of one batch of a repair."""

MEND_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of rows of one batch of a repair; a single larger row is a batch of its own."""

CHANGES_COMMITS_MAX = 4096
"""Commits that the ring of newest changes tells of: how far behind a watcher may be."""

CHANGES_BYTES_MAX = 8 * 1024 * 1024
"""The ring's size in bytes."""

CHANGES_COMMIT_BYTES_MAX = 1024 * 1024
"""Bytes of keys that one commit tells watchers of; beyond, they are told to read the table again."""

CHANGES_PAGE = 256
"""Commits that a watcher takes in at once."""

CORRUPT_FILES_MAX = 2
"""Damaged cache files that are kept aside, the newest; each may be as large as the cache."""

UNSAID_MAX = 1_000
"""Quarantined rows that wait to be told to the quarantine topic; beyond, they are only marked in the file."""

INDEX_LOT_BYTES = 16 * 1024 * 1024
"""Entries of an index that are sorted and written at a time when it is built; four times that in memory."""

TELL_PAUSE_SECONDS = 0.2
"""How often a reader's process tells the node of damaged rows."""

TELL_SECONDS = 0.5
"""How long it waits for the node to take note."""

TOLD_KEY_BYTES_MAX = 64 * 1024
"""A longer key is not told."""
