"""The bytes of a wrapped data key, version 1: where the provider does no more than encrypt.

======== ======================================================================
bytes    field
======== ======================================================================
1        version ``0x01``
12       nonce of AES-256-GCM, random
32       ciphertext of the data key
16       tag
======== ======================================================================

The associated data is PAE of a label and the encryption context, so a wrapped key that is moved
to another owner, class or version does not open.

Specification: ``spec/data-keys.md``; NIST SP 800-38D for GCM.

Example:
    >>> split_wrapped(join_wrapped(bytes(12), bytes(48))) == (bytes(12), bytes(48))
    True
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.core import pae
from assay.keys.errors import KeysError, UnwrapError

DATA_KEY_BYTES = 32
NONCE_BYTES = 12
SEALED_BYTES = DATA_KEY_BYTES + 16
WRAPPED_BYTES = 1 + NONCE_BYTES + SEALED_BYTES

_VERSION = b"\x01"
_LABEL = b"assay data key wrap v1"


def wrap_associated_data(context: Mapping[str, str]) -> bytes:
    """Step 2 of wrapping: what GCM authenticates beside the data key.

    ``PAE([label, k1, v1, k2, v2, ...])`` with the pairs sorted by key, in UTF-8.

    Args:
        context: at least one pair.

    Raises:
        KeysError: the context is empty, or holds text that UTF-8 cannot write.
    """
    if not context:
        raise KeysError("expected an encryption context with at least one pair, found none")
    pieces = [_LABEL]
    try:
        for name in sorted(context):
            pieces += (name.encode("utf-8"), context[name].encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise KeysError(
            "expected an encryption context of valid Unicode text, found a surrogate that "
            "stands alone"
        ) from exc
    return pae(pieces)


def join_wrapped(nonce: bytes, sealed: bytes) -> bytes:
    """Step 4 of wrapping: version, nonce, ciphertext and tag in one.

    Args:
        nonce: 12 bytes.
        sealed: 48 bytes, ciphertext and tag as GCM gave them.
    """
    if len(nonce) != NONCE_BYTES or len(sealed) != SEALED_BYTES:
        raise ValueError(f"expected 12 and 48 bytes, found {len(nonce)} and {len(sealed)}")
    return _VERSION + nonce + sealed


def split_wrapped(wrapped: bytes) -> tuple[bytes, bytes]:
    """Steps 1 and 2 of unwrapping: the nonce (12 bytes), and ciphertext with tag (48 bytes).

    Raises:
        UnwrapError: another length or version.
    """
    if wrapped[:1] != _VERSION:
        found = wrapped[:1].hex() or "nothing"
        raise UnwrapError(
            f"expected a wrapped data key of version 01, found {found}; open the key service that "
            "wrapped it"
        )
    if len(wrapped) != WRAPPED_BYTES:
        raise UnwrapError(
            f"expected a wrapped data key of {WRAPPED_BYTES} bytes, found {len(wrapped)}"
        )
    return wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]


def wrap_with(cipher: AESGCM, nonce: bytes, data_key: bytes, context: Mapping[str, str]) -> bytes:
    """Wrap a data key where the KEK is in this process's memory.

    Args:
        cipher: AES-256-GCM under the KEK.
        nonce: 12 bytes, never used before under this KEK.
        data_key: 32 bytes.
        context: the encryption context.
    """
    return join_wrapped(nonce, cipher.encrypt(nonce, data_key, wrap_associated_data(context)))


def unwrap_with(cipher: AESGCM, wrapped: bytes, context: Mapping[str, str]) -> bytes:
    """Open what `wrap_with` made.

    Raises:
        UnwrapError: altered bytes, or another KEK or context.
    """
    nonce, sealed = split_wrapped(wrapped)
    try:
        return cipher.decrypt(nonce, sealed, wrap_associated_data(context))
    except InvalidTag as exc:
        raise does_not_open() from exc


def require_data_key(material: bytes) -> bytes:
    """What was unwrapped, when it has the size of a data key.

    Raises:
        UnwrapError: another size.
    """
    if len(material) != DATA_KEY_BYTES:
        raise UnwrapError(
            f"expected a data key of {DATA_KEY_BYTES} bytes inside, found {len(material)}"
        )
    return material


def does_not_open() -> UnwrapError:
    """The one answer to everything that GCM refuses, so that nobody learns which part was wrong."""
    return UnwrapError(
        "expected a data key that was wrapped under this KEK and this context, found one that "
        "does not open: another KEK, another owner, class or version, or altered bytes"
    )
