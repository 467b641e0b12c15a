"""The fields of a row as bytes: a MessagePack map whose values keep their types.

Specification: ``spec/row-envelope.md``, "Payload".

Example:
    >>> from datetime import date
    >>> decode_payload(encode_payload({"born": date(1815, 12, 10), "name": "Ada"}))
    {'born': datetime.date(1815, 12, 10), 'name': 'Ada'}
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.msgpack import Ext

from assay.encryption.errors import MalformedPayloadError, UnsupportedValueError
from assay.encryption.extensions import decode_extension, encode_extension
from assay.encryption.frozen import FrozenDict, FrozenList
from assay.encryption.padding import filler_bytes

PADDING_FIELD = ""
"""The reserved name of the entry that only makes a payload longer."""

NATIVE_KINDS = frozenset({str, bytes, bool, float, int, type(None)})
"""The types that MessagePack has itself; integers only as far as they have 64 bits."""

_NATIVE = NATIVE_KINDS | {Ext}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, object], ext_hook=decode_extension).decode


def encode_payload(fields: Mapping[str, object], *, padded: bool = False) -> bytes:
    """Encode fields as a payload.

    Args:
        fields: name to value. A value is None, or of exactly one of the types bool, int, float,
            str, bytes, UUID, Decimal, date, time, datetime, or a list or a dict with text keys
            of such values; what `decode_payload` returned for an unknown extension passes too.
        padded: lengthen the payload to a length of Padmé.

    Raises:
        UnsupportedValueError: a value of another type, or one that would lose something. The
            message names the field, never the value.
    """
    if padded or PADDING_FIELD in fields:
        return _encode_carefully(fields, padded=padded)
    for name, value in fields.items():
        if type(value) not in _NATIVE or type(name) is not str:
            return _encode_carefully(fields, padded=False)
    try:
        return _encode(fields)
    except (OverflowError, UnicodeEncodeError):
        pass  # the careful way says which field it was, without its value
    return _encode_carefully(fields, padded=False)


def encode_checked_payload(fields: Mapping[str, object]) -> bytes:
    """Encode fields as `encode_payload` does, when their types were checked before.

    Args:
        fields: text to values of exactly the types None, bool, int, float, str and bytes.

    Raises:
        UnsupportedValueError: text that is not valid Unicode.
    """
    try:
        return _encode(fields)
    except (OverflowError, UnicodeEncodeError):
        pass  # as in encode_payload
    return _encode_carefully(fields, padded=False)


def decode_payload(payload: bytes) -> dict[str, object]:
    """Decode a payload; padding is dropped, unknown extensions are kept as they are.

    Raises:
        MalformedPayloadError: not a MessagePack map with text keys, or an extension of another
            form than specified.
    """
    try:
        fields = _decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError) as exc:
        reason = type(exc).__name__
    else:
        if PADDING_FIELD in fields:
            del fields[PADDING_FIELD]
        return fields
    # Raised out here so that no chained error carries a piece of the payload.
    raise MalformedPayloadError(
        f"expected a map of fields as spec/row-envelope.md has it, found something else ({reason})"
    )


def _encode_carefully(fields: Mapping[str, object], *, padded: bool) -> bytes:
    plain = _convert_fields(fields)
    if padded:
        plain[PADDING_FIELD] = b""
        plain[PADDING_FIELD] = bytes(filler_bytes(len(_encode(plain))))
    return _encode(plain)


def _convert_fields(fields: Mapping[str, object]) -> dict[str, object]:
    plain = {}
    for name, value in fields.items():
        if type(name) is not str or name == PADDING_FIELD:
            raise UnsupportedValueError("expected field names of text, none of them empty")
        try:
            plain[name] = _convert(value)
        except RecursionError:
            reason = "expected lists and dicts that end, found a cycle or too many levels"
        except UnsupportedValueError as exc:
            reason = str(exc)
        else:
            continue
        raise UnsupportedValueError(f"field {name!r}: {reason}")
    return plain


def _convert(value: object) -> object:
    if type(value) is str:
        _refuse_surrogates(value)
        return value
    if type(value) is int:
        return value if -(2**63) <= value < 2**64 else encode_extension(value)
    if type(value) in _NATIVE:
        return value
    if isinstance(value, list) and type(value) in (list, FrozenList):
        return [_convert(item) for item in value]
    if isinstance(value, dict) and type(value) in (dict, FrozenDict):
        return {_convert_key(key): _convert(item) for key, item in value.items()}
    return encode_extension(value)


def _convert_key(key: object) -> str:
    if type(key) is not str:
        raise UnsupportedValueError(f"expected a dict with text keys, found {type(key).__name__}")
    _refuse_surrogates(key)
    return key


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return
    raise UnsupportedValueError("expected valid Unicode text, found a lone surrogate")
