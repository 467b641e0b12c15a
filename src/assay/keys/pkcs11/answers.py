"""What a token answers, as errors of this room with the name of the return value.

Example:
    >>> with named_errors("sign"):                       # doctest: +SKIP
    ...     key.sign(message)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pkcs11

from assay.keys.errors import SessionLostError, TokenError, TokenPinError

_PIN_REFUSED = (
    pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked,
    pkcs11.PinExpired, pkcs11.PinTooWeak, pkcs11.UserPinNotInitialized,
)  # fmt: skip
# A token that was taken out is lost as well: its sessions are void when it comes back.
_SESSION_LOST = (
    pkcs11.SessionHandleInvalid, pkcs11.SessionClosed, pkcs11.UserNotLoggedIn,
    pkcs11.ObjectHandleInvalid, pkcs11.KeyHandleInvalid, pkcs11.WrappingKeyHandleInvalid,
    pkcs11.DeviceRemoved, pkcs11.TokenNotPresent,
)  # fmt: skip
NOT_INITIALIZED = "CryptokiNotInitialized"
# Return values that python-pkcs11 0.10 has no exception for.
_UNMAPPED = {
    "0x1b": "ActionProhibited",
    "0x140": "CurveNotSupported",
    "0x190": NOT_INITIALIZED,
    "0x191": "CryptokiAlreadyInitialized",
}


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Turn an answer into a `TokenError` that says what the token should have done.

    Raises:
        SessionLostError: the session or a handle of it is void.
        TokenPinError: the PIN was refused.
        TokenError: any other answer.
    """
    try:
        yield
    except pkcs11.PKCS11Error as exc:
        answer = answer_of(exc)
        if isinstance(exc, _PIN_REFUSED):
            kind: type[TokenError] = TokenPinError
        elif isinstance(exc, _SESSION_LOST) or answer == NOT_INITIALIZED:
            kind = SessionLostError
        else:
            kind = TokenError
        raise kind(what, answer) from exc


def answer_of(exc: pkcs11.PKCS11Error) -> str:
    """The name of a return value ("KeyUnextractable" for CKR_KEY_UNEXTRACTABLE)."""
    if type(exc) is not pkcs11.PKCS11Error:
        return type(exc).__name__
    if str(exc).startswith("Initialisation error (not initialized)"):
        return NOT_INITIALIZED
    return _UNMAPPED.get(str(exc).rpartition(" ")[2], str(exc))
