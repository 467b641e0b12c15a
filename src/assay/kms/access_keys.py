"""The secrets of access keys: stored sealed under a key of the token, open only in memory.

A secret must be known to verify what was signed with it (SigV4 is symmetric), so it cannot be
stored as a hash. It is sealed inside of the token, with its access key id as associated data.

Example:
    >>> record, secret = secrets.make(principal_arn, now)               # doctest: +SKIP
"""

from __future__ import annotations

import base64
from datetime import datetime

from assay.core import pae
from assay.kms.errors import InternalError, InvalidCiphertextError
from assay.kms.records import AccessKeyRecord
from assay.kms.token import Token

_LABEL = b"assay kms access key v1"
_NONCE_BYTES = 12
_MOST_OPEN = 10_000


class Secrets:
    """Seals and opens secrets.

    Args:
        token: holds the key.
        handle: of the key, which is of the kind ``SYMMETRIC_DEFAULT``.
    """

    def __init__(self, token: Token, handle: bytes) -> None:
        self._token = token
        self._handle = handle
        self._open: dict[tuple[str, bytes], str] = {}

    def make(self, principal: str, now: datetime) -> tuple[AccessKeyRecord, str]:
        """A new access key, and its secret, which is shown this once.

        Args:
            principal: the ARN of whose it is.
            now: when it is made.
        """
        access_key_id = "AKIA" + base64.b32encode(self._token.random(10)).decode()
        secret = base64.b64encode(self._token.random(30)).decode()
        nonce, sealed = self._token.encrypt(
            self._handle, secret.encode(), _associated(access_key_id)
        )
        return AccessKeyRecord(access_key_id, principal, nonce + sealed, now), secret

    def open(self, record: AccessKeyRecord) -> str:
        """The secret of an access key.

        Raises:
            InternalError: it does not open: the state was altered, or the token is another.
        """
        place = (record.access_key_id, record.sealed_secret)
        known = self._open.get(place)
        if known is not None:
            return known
        nonce, sealed = record.sealed_secret[:_NONCE_BYTES], record.sealed_secret[_NONCE_BYTES:]
        try:
            secret = self._token.decrypt(
                self._handle, nonce, sealed, _associated(record.access_key_id)
            ).decode()
        except InvalidCiphertextError as exc:
            raise InternalError(
                f"expected the secret of {record.access_key_id} to open under the key of the "
                "token, found one that does not: the state was altered, or the token is another"
            ) from exc
        if len(self._open) >= _MOST_OPEN:
            self._open.clear()
        self._open[place] = secret
        return secret


def _associated(access_key_id: str) -> bytes:
    return pae([_LABEL, access_key_id.encode()])
