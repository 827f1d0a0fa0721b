"""What the broker lets us do: two requests of Kafka's protocol that aiokafka 0.14 has in older versions only.

Metadata version 8 and DescribeGroups version 3 (Kafka 2.3) tell with each topic and group which operations
its asker may do on it (KIP-430), so that a missing right can be named before it is needed. Metadata version
10 (Kafka 2.8) tells each topic's id, too (KIP-516): a topic that is deleted and made anew has another one.
"""

# aiokafka declares properties where its own classes, too, have constants.
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Array,
    Boolean,
    Bytes,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BytesIO
    from typing import Any


class Right(IntEnum):
    """An operation of Kafka's access control lists; the numbers are the protocol's."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def shown(self) -> str:
        """As Kafka's tools write it: Read, DescribeConfigs."""
        return "".join(part.capitalize() for part in self.name.split("_"))


def rights_of(bits: int) -> frozenset[Right]:
    """Read the protocol's bit field of operations."""
    return frozenset(right for right in Right if bits >> right & 1)


_TEXT: Final = String("utf-8")
_COMPACT_TEXT: Final = CompactString("utf-8")
_TAGS: Final = ("tags", TaggedFields)
_NO_UUID: Final = bytes(16)


class _Uuid(AbstractType[bytes]):
    """Sixteen bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(len(_NO_UUID))


class _MetadataResponse8(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("rights", Int32),
            ),
        ),
        ("cluster_rights", Int32),
    )


class _MetadataResponse10(Response):
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _COMPACT_TEXT), ("port", Int32), ("rack", _COMPACT_TEXT), _TAGS
            ),
        ),
        ("cluster_id", _COMPACT_TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _COMPACT_TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("rights", Int32),
                _TAGS,
            ),
        ),
        ("cluster_rights", Int32),
        _TAGS,
    )


class _MetadataStruct8(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse8
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_rights", Boolean),
        ("include_topic_rights", Boolean),
    )


class _MetadataStruct10(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _COMPACT_TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_rights", Boolean),
        ("include_topic_rights", Boolean),
        _TAGS,
    )


class MetadataWithRights(Request[_MetadataStruct8 | _MetadataStruct10]):
    """Asks for topics with their ids, and what we may do with each of them and with the cluster."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(
        self, request_struct_class: type[_MetadataStruct8 | _MetadataStruct10]
    ) -> _MetadataStruct8 | _MetadataStruct10:
        """The request on the wire; it never makes a topic."""
        if request_struct_class is _MetadataStruct8:
            return request_struct_class(self._topics, False, True, True)
        topics = [(_NO_UUID, name, {}) for name in self._topics]
        return request_struct_class(topics, False, True, True, {})


def topic_id_of(described: Mapping[str, Any]) -> int | None:
    """Read a topic's id: the first eight bytes of Kafka's, a signed number; None: the broker tells none."""
    uuid = described.get("topic_id", _NO_UUID)
    return None if uuid == _NO_UUID else int.from_bytes(uuid[:8], "big", signed=True)


class _GroupsResponse(Response):
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group_id", _TEXT),
                ("group_state", _TEXT),
                ("protocol_type", _TEXT),
                ("protocol_data", _TEXT),
                (
                    "members",
                    Array(
                        ("member_id", _TEXT),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("rights", Int32),
            ),
        ),
    )


class _GroupsStruct(RequestStruct):
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(_TEXT)), ("include_rights", Boolean))


class GroupsWithRights(Request[_GroupsStruct]):
    """Asks for groups, and what we may do with each of them."""

    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[_GroupsStruct]) -> _GroupsStruct:
        """The request on the wire."""
        return request_struct_class(self._groups, True)
