"""UUID version 7 (RFC 9562, section 5.7): identifiers that sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A UUIDv7 greater than every other one this process has made.

    The 48-bit Unix time in milliseconds is followed by 12 bits of the fraction of that
    millisecond (RFC 9562, section 6.2, method 3), so that identifiers made within one
    millisecond keep their order, and by 62 random bits.
    """
    global _last  # noqa: PLW0603 - the order is one for the whole process
    with _lock:
        nanoseconds = time.time_ns()
        stamp = (nanoseconds // 1_000_000 << 12) | (nanoseconds % 1_000_000) * 4096 // 1_000_000
        # The clock may stand still or step back: the order must not.
        _last = stamp = max(stamp, _last + 1)
    random_bits = int.from_bytes(os.urandom(8)) >> 2
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | random_bits)
