"""The bytes of a wrapped data key, version 2: what a key service wrapped, and under which KEK.

======== ======================================================================
bytes    field
======== ======================================================================
1        version ``0x02``
2        length of the name, big-endian, 1 to 1024
n        name of the KEK: its key URI without options, UTF-8
m        what the key service returned, 1 to 8192 bytes
======== ======================================================================

The KEK is named, so that a data key opens after the alias moved by which its KEK was found.

Specification: ``spec/data-keys.md``, "Wrapped data key, version 2".

Example:
    >>> split_service_wrapped(join_service_wrapped("aws-kms:arn:...", b"blob"))
    ServiceWrapped(kek='aws-kms:arn:...', ciphertext=b'blob')
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.keys.errors import UnwrapError

MOST_NAME_BYTES = 1024
MOST_CIPHERTEXT_BYTES = 8192

_VERSION = b"\x02"
_HEADER_BYTES = 3


@dataclass(frozen=True, slots=True)
class ServiceWrapped:
    """A wrapped data key in its parts.

    Attributes:
        kek: key URI of the KEK, without options.
        ciphertext: what only the key service can open.
    """

    kek: str
    ciphertext: bytes


def join_service_wrapped(kek: str, ciphertext: bytes) -> bytes:
    """Step 3 of wrapping: version, length, name and ciphertext in one.

    Args:
        kek: key URI of the KEK without options, 1 to 1024 bytes in UTF-8.
        ciphertext: 1 to 8192 bytes.
    """
    name = kek.encode("utf-8")
    if not 1 <= len(name) <= MOST_NAME_BYTES or not 1 <= len(ciphertext) <= MOST_CIPHERTEXT_BYTES:
        raise ValueError(
            f"expected a name of 1 to {MOST_NAME_BYTES} bytes and a ciphertext of 1 to "
            f"{MOST_CIPHERTEXT_BYTES}, found {len(name)} and {len(ciphertext)}"
        )
    return _VERSION + len(name).to_bytes(2, "big") + name + ciphertext


def split_service_wrapped(wrapped: bytes) -> ServiceWrapped:
    """Steps 1 and 2 of unwrapping.

    Raises:
        UnwrapError: another version, lengths that do not fit, or a name that is not UTF-8.
    """
    if wrapped[:1] != _VERSION:  # step 1
        found = wrapped[:1].hex() or "nothing"
        raise UnwrapError(
            f"expected a data key that a key service wrapped (version 02), found {found}; open the "
            "key service that wrapped it"
        )
    name_bytes = int.from_bytes(wrapped[1:_HEADER_BYTES], "big")  # step 2
    name = wrapped[_HEADER_BYTES : _HEADER_BYTES + name_bytes]
    ciphertext = wrapped[_HEADER_BYTES + name_bytes :]
    if not (
        1 <= name_bytes <= MOST_NAME_BYTES
        and len(name) == name_bytes
        and 1 <= len(ciphertext) <= MOST_CIPHERTEXT_BYTES
    ):
        raise UnwrapError(
            f"expected the name of a KEK and a ciphertext, found {len(wrapped)} bytes of which the "
            f"name should be {name_bytes}; the key table was altered"
        )
    try:
        return ServiceWrapped(name.decode("utf-8"), ciphertext)
    except UnicodeDecodeError as exc:
        raise UnwrapError(
            "expected the name of a KEK in UTF-8, found other bytes; the key table was altered"
        ) from exc
