"""Drivers that speak to a source database, chosen by its URL; no knowledge of capture."""

from cdc.source.client import Client, ResultSet, Row, Statement, Transaction
from cdc.source.errors import SourceLockedError, SourceMovedError
from cdc.source.url import open_client, shown_url

__all__ = [
    "Client",
    "ResultSet",
    "Row",
    "SourceLockedError",
    "SourceMovedError",
    "Statement",
    "Transaction",
    "open_client",
    "shown_url",
]
