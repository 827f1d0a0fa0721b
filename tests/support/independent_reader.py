"""Reads msgpack and keys from their published descriptions alone: no msgspec, nothing of `schemas`.

msgpack: github.com/msgpack/msgpack/blob/master/spec.md. Keys: the table at the head of ``schemas/keys.py``.
TEXT that is not UTF-8 comes out as ``("text", bytes)``.
"""

from __future__ import annotations

import struct
from typing import Any

_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
# mark: how many bytes the length takes, and what follows it
_SIZED = {
    0xC4: (1, "bytes"),
    0xC5: (2, "bytes"),
    0xC6: (4, "bytes"),
    0xC7: (1, "extension"),
    0xC8: (2, "extension"),
    0xC9: (4, "extension"),
    0xD9: (1, "text"),
    0xDA: (2, "text"),
    0xDB: (4, "text"),
    0xDC: (2, "array"),
    0xDD: (4, "array"),
    0xDE: (2, "map"),
    0xDF: (4, "map"),
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def read_msgpack(data: bytes) -> Any:
    value, rest = _value(data)
    assert rest == b"", "bytes are left over"
    return value


def _value(data: bytes):
    mark, rest = data[0], data[1:]
    if mark < 0x80 or mark >= 0xE0:
        return mark if mark < 0x80 else mark - 0x100, rest
    if mark < 0x90:
        return _content("map", mark & 0x0F, rest)
    if mark < 0xA0:
        return _content("array", mark & 0x0F, rest)
    if mark < 0xC0:
        return _content("text", mark & 0x1F, rest)
    return _marked(mark, rest)


def _marked(mark: int, rest: bytes):
    if mark in _CONSTANTS:
        return _CONSTANTS[mark], rest
    if mark in _NUMBERS:
        size = struct.calcsize(_NUMBERS[mark])
        return struct.unpack(_NUMBERS[mark], rest[:size])[0], rest[size:]
    if 0xD4 <= mark <= 0xD8:
        return _content("extension", 1 << (mark - 0xD4), rest)
    size, kind = _SIZED[mark]
    return _content(kind, int.from_bytes(rest[:size], "big"), rest[size:])


def _content(kind: str, length: int, rest: bytes):
    if kind == "array":
        items = []
        for _ in range(length):
            item, rest = _value(rest)
            items.append(item)
        return items, rest
    if kind == "map":
        pairs = {}
        for _ in range(length):
            name, rest = _value(rest)
            pairs[name], rest = _value(rest)
        return pairs, rest
    if kind == "extension":
        assert rest[0] == 1, "an extension type that is not ours"
        return ("text", rest[1 : length + 1]), rest[length + 1 :]
    content, rest = rest[:length], rest[length:]
    return content if kind == "bytes" else content.decode("utf-8"), rest


def read_key(data: bytes) -> list:
    values = []
    while data:
        tag, data = data[0], data[1:]
        if tag == 1:
            values.append(None)
        elif tag == 2:
            values.append(int.from_bytes(data[:8], "big") - 2**63)
            data = data[8:]
        elif tag == 3:
            bits = data[:8]
            positive = bits[0] >= 0x80
            stored = bytes([bits[0] ^ 0x80]) + bits[1:] if positive else bytes(byte ^ 0xFF for byte in bits)
            values.append(struct.unpack(">d", stored)[0])
            data = data[8:]
        else:
            content = bytearray()
            while data[0] != 0 or data[1:2] == b"\xff":
                width = 2 if data[0] == 0 else 1
                content.append(data[0])
                data = data[width:]
            data = data[1:]
            values.append(_text(bytes(content)) if tag == 4 else bytes(content))
    return values


def _text(data: bytes):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ("text", data)
