"""Patch of pamqp's decoders, so that one odd message does not close the connection.

It can go when https://github.com/mosquito/aiormq/issues/186 is mended for strings and tables as well.
"""

from collections.abc import Callable

from pamqp import common, decode

_HEADERS_BYTES = 32 * 1024


def decode_whatever_was_sent() -> None:
    """Make pamqp read every message that RabbitMQ accepts.

    Without this patch, one property that pamqp cannot decode closes the connection; RabbitMQ redelivers the
    message, and all that was in flight with it, until everything has reached the delivery limit.
    """
    decode.METHODS.update(shortstr=_short_string, timestamp=_timestamp, table=_table)


def _short_string(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _timestamp(value: bytes) -> tuple[int, common.FieldValue]:
    return _or_else(decode.timestamp, value, (8, None))


def _table(value: bytes) -> tuple[int, common.FieldValue]:
    end = 4 + int.from_bytes(value[:4])
    if end > _HEADERS_BYTES:  # pamqp takes time by the square of the size: half a second for a full frame
        return end, {}
    return _or_else(decode.field_table, value, (end, {}))


def _or_else(
    decoder: Callable[[bytes], tuple[int, common.FieldValue]],
    value: bytes,
    otherwise: tuple[int, common.FieldValue],
) -> tuple[int, common.FieldValue]:
    try:
        return decoder(value)
    except (ValueError, OverflowError, OSError, RecursionError):
        return otherwise
