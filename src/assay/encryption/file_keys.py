"""The key of a Parquet file, wrapped under the owner's data key of class ``files``.

Specification: ``spec/parquet.md``; its steps are repeated here.

Example:
    >>> place = FilePlace("tenant-1", "documents")
    >>> token = wrap_file_key(data_key, file_key, place)        # doctest: +SKIP
    >>> unwrap_file_key(data_key, token, place) == file_key     # doctest: +SKIP
    True
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from assay.core import DataKeyClass, pae
from assay.encryption.concealment import concealed
from assay.encryption.errors import (
    KeyClassError,
    TamperedFileError,
    UnknownFileKeyVersionError,
    UnsupportedFileError,
    WrongFileKeyError,
)
from assay.encryption.owner_keys import OwnerKeys
from assay.encryption.xaes import KEY_BYTES, NONCE_BYTES, TAG_BYTES, open_xaes, seal_xaes
from assay.keys import DataKey, UnknownDataKeyError

LABEL = b"assay file key v1"
VERSION = 0x21
SUITE_XAES_256_GCM = 0x01
TOKEN_BYTES = 2 + NONCE_BYTES + KEY_BYTES + TAG_BYTES

_KEY_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a file stands.

    Attributes:
        owner: whose data key wraps the file key.
        dataset: the stable name of the data set.
        file: the name of the file in it; empty when it is not bound to one.
    """

    owner: str
    dataset: str
    file: str = ""

    def associated_data(self) -> bytes:
        """PAE(["assay file key v1", owner, data set, file]).

        Raises:
            UnsupportedFileError: a name is not valid Unicode text.
        """
        try:
            names = [self.owner.encode(), self.dataset.encode(), self.file.encode()]
        except UnicodeEncodeError:
            names = None
        if names is None:
            raise UnsupportedFileError(
                "expected names of valid Unicode text, found a lone surrogate"
            )
        return pae([LABEL, *names])


@concealed
def wrap_file_key(
    data_key: DataKey,
    file_key: bytes,
    place: FilePlace,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> str:
    """Wrap the key of a file.

    Args:
        data_key: of class ``files``, of the owner of the place.
        file_key: 32 bytes.
        place: where the file will stand.
        random: where random bytes come from.

    Returns:
        The token: base64 of 74 bytes.

    Raises:
        KeyClassError: the data key is of another class.
        UnsupportedFileError: the file key has another length, or a name is not valid text.
    """
    _refuse_other_class(data_key)  # step 1
    if len(file_key) != KEY_BYTES:  # 2
        raise UnsupportedFileError(
            f"expected a file key of {KEY_BYTES} bytes, found {len(file_key)}; set the engine's "
            "length of data keys to 256 bits"
        )
    nonce = random(NONCE_BYTES)  # 3
    data_key.uses.count()
    sealed = seal_xaes(data_key.material, nonce, file_key, place.associated_data())  # 4
    return base64.b64encode(bytes([VERSION, SUITE_XAES_256_GCM]) + nonce + sealed).decode()  # 5


@concealed
def unwrap_file_key(data_key: DataKey, token: str, place: FilePlace) -> bytes:
    """Unwrap the key of a file, 32 bytes: steps 3 to 6 of unwrapping.

    Args:
        data_key: the one that the file names.
        token: as the file's key metadata has it.
        place: where the file was found.

    Raises:
        KeyClassError: the data key is of another class.
        UnknownFileKeyVersionError: another version or suite.
        TamperedFileError: altered, or of another file.
    """
    _refuse_other_class(data_key)
    wrapped = _decode(token)
    nonce, sealed = wrapped[2 : 2 + NONCE_BYTES], wrapped[2 + NONCE_BYTES :]
    try:
        return open_xaes(data_key.material, nonce, sealed, place.associated_data())  # 6
    except InvalidTag as exc:
        raise TamperedFileError(
            "expected the key of this file, found one that was altered, or that belongs to another "
            "data set or file; restore the file"
        ) from exc


def token_seal_id(token: str) -> bytes:
    """Which sealing a token belongs to: its nonce, 24 bytes, not secret.

    Raises:
        UnknownFileKeyVersionError: another version or suite.
        TamperedFileError: no token.
    """
    return _decode(token)[2 : 2 + NONCE_BYTES]


class FileKeys:
    """What a key service does for one file: wraps its key, or unwraps it.

    Args:
        keyring: has or makes the owner's data keys.
        place: where the file stands.
        random: where random bytes come from.

    Attributes:
        file_key: the key that was wrapped or unwrapped first, which is the footer's; None before.
        seal_id: which sealing of the file it belongs to; None before.
    """

    def __init__(
        self,
        keyring: OwnerKeys,
        place: FilePlace,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keyring = keyring
        self._place = place
        self._random = random
        self.file_key: bytes | None = None
        self.seal_id: bytes | None = None

    def master_key_id(self) -> str:
        """The name of the owner's newest data key in a file: 32 hexadecimal digits.

        Raises:
            assay.keys.KeysError: it is not to be had.
        """
        return self._keyring.current(self._place.owner, DataKeyClass.FILES).key_id.hex()

    def wrap(self, file_key: bytes, master_key_id: str) -> str:
        """Wrap a file key.

        Raises:
            SealedFileError: as `wrap_file_key` and `unwrap` do.
            assay.keys.KeysError: the data key is not to be had.
        """
        data_key = self._data_key(master_key_id)
        token = wrap_file_key(data_key, file_key, self._place, random=self._random)
        self._keep(file_key, token)
        return token

    def unwrap(self, token: str, master_key_id: str) -> bytes:
        """Unwrap a file key.

        Raises:
            TamperedFileError: the id is none; otherwise as `unwrap_file_key` does.
            WrongFileKeyError: the owner has no such data key.
            assay.keys.KeysError: the data key is not to be had.
        """
        file_key = unwrap_file_key(self._data_key(master_key_id), token, self._place)
        self._keep(file_key, token)
        return file_key

    def _keep(self, file_key: bytes, token: str) -> None:
        if self.file_key is None:
            self.file_key, self.seal_id = file_key, token_seal_id(token)

    def _data_key(self, master_key_id: str) -> DataKey:
        if not _KEY_ID.fullmatch(master_key_id):  # unwrapping, step 1
            raise TamperedFileError(
                "expected the id of a data key in the file, found something else; it was altered, "
                "or its key is wrapped by another key service"
            )
        key_id = bytes.fromhex(master_key_id)
        try:
            return self._keyring.by_id(self._place.owner, DataKeyClass.FILES, key_id)
        except UnknownDataKeyError as exc:
            raise WrongFileKeyError(  # 2
                f"expected a file under a data key of its owner, found {master_key_id}: it belongs "
                "to another owner, or its key was destroyed"
            ) from exc


def _decode(token: str) -> bytes:
    try:
        wrapped = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        wrapped = b""
    # Unused bits of the last character must be zero: each token has one spelling.
    if len(wrapped) < 2 or base64.b64encode(wrapped).decode() != token:  # 3
        raise TamperedFileError("expected a wrapped file key in base64, found something else")
    if wrapped[:2] != bytes([VERSION, SUITE_XAES_256_GCM]):  # 4
        raise UnknownFileKeyVersionError(
            f"expected a file key of version {VERSION} and suite {SUITE_XAES_256_GCM}, found "
            f"{wrapped[0]} and {wrapped[1]}; a newer release may know it"
        )
    if len(wrapped) != TOKEN_BYTES:  # 5
        raise TamperedFileError(
            f"expected a wrapped file key of {TOKEN_BYTES} bytes, found {len(wrapped)}"
        )
    return wrapped


def _refuse_other_class(key: DataKey) -> None:
    if key.key_class is not DataKeyClass.FILES:
        raise KeyClassError(
            f"expected a data key of class files, found one of class {key.key_class.value}"
        )
