"""One form of bytes for what a sealed thing is bound to: equal meanings are equal bytes."""

import json
from collections.abc import Mapping

# One for all: to make it takes longer than to seal.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def canonical(values: Mapping[str, str]) -> bytes:
    return _ENCODER.encode(values).encode()
