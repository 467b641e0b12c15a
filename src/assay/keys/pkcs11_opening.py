"""What a token answers to a ciphertext that does not open, told from a token in trouble.

Tokens answer a wrong tag, or a wrong padding, in several ways, and some (SoftHSM:
CKR_GENERAL_ERROR) by a value that a token in trouble gives to everything. So after such an answer
the token opens something else under the same key. When it does, the ciphertext is to blame; when
it does not, the error of the token goes on.

Example:
    >>> opened(lambda: session.decrypt(key, nonce, sealed, b"associated"),
    ...        lambda: session.check_that_it_opens(key))                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable

from assay.keys.errors import CiphertextError, SessionLostError, TokenError

_NOT_AUTHENTIC = frozenset(
    {"EncryptedDataInvalid", "EncryptedDataLenRange", "SignatureInvalid", "DataInvalid"}
)
_PERHAPS_NOT_AUTHENTIC = frozenset({"GeneralError", "FunctionFailed", "DataLenRange"})


def opened(decrypt: Callable[[], bytes], check_that_it_opens: Callable[[], object]) -> bytes:
    """Decrypt.

    Args:
        decrypt: the call of the token.
        check_that_it_opens: opens under the same key what surely opens, or raises `TokenError`.

    Raises:
        CiphertextError: the ciphertext is not authentic.
        TokenError: the token failed.
    """
    try:
        return decrypt()
    except SessionLostError:
        raise
    except TokenError as exc:
        if exc.answer in _PERHAPS_NOT_AUTHENTIC:
            check_that_it_opens()
        elif exc.answer not in _NOT_AUTHENTIC:
            raise
        raise CiphertextError(
            "expected a ciphertext that opens under this key and with this associated data, found "
            "one that does not: another key, another context, or altered bytes"
        ) from exc
