"""Hypothesis strategies for what SQLite can hold, and an equality that tells 1 from 1.0 and 0.0 from -0.0."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from schemas.values import InvalidText

EDGE_INTEGERS = [
    edge + step
    for edge in (0, 2**5, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**53, -(2**5), -(2**7), -(2**15), -(2**31))
    for step in (-1, 0, 1)
] + [2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1]
EDGE_REALS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1 + 0.2,
    5e-324,
    -5e-324,
    1.7976931348623157e308,
    1e16,
    1e22,
    math.inf,
    -math.inf,
]


def _invalid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(EDGE_INTEGERS)
reals = st.floats(allow_nan=False) | st.sampled_from(EDGE_REALS)
# Few letters, NUL among them, so that values share beginnings.
texts = st.text(max_size=40) | st.text(alphabet="\x00\x01aé\U0001f600", max_size=6)
blobs = st.binary(max_size=40) | st.text(alphabet="\x00\x01\x7fÿ", max_size=6).map(
    lambda text: text.encode("latin-1")
)
invalid_texts = (
    (st.binary(min_size=1, max_size=20) | blobs.map(lambda data: data + b"\xff"))
    .filter(_invalid)
    .map(InvalidText)
)
values = st.none() | integers | reals | texts | blobs | invalid_texts
keys = st.lists(values, min_size=1, max_size=4).map(tuple)
column_names = st.text(max_size=12) | st.sampled_from(
    ['a"b', "a\\b", "a\nb", "a\x00b", "", "class", "__init__", "f0", "é", "$blob", " "]
)
rows = st.dictionaries(column_names, values, max_size=25)


def exact(value):
    """Stand in for a value in comparisons that ``1 == 1.0`` and ``0.0 == -0.0`` would blur."""
    if isinstance(value, dict):
        return [(name, exact(content)) for name, content in value.items()]
    if isinstance(value, (list, tuple)):
        return [exact(content) for content in value]
    return (type(value).__name__, value.hex() if isinstance(value, float) else value)
