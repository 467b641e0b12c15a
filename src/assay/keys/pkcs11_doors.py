"""Every way in which PKCS#11 lets a key leave, really tried.

Each attempt is made on the key itself, and its outcome is a fact: the token's own answer. What
would make an attempt prove nothing is guarded against: a key is wrapped only under a wrapping key
that was seen to wrap another key, made for that purpose, a moment before. A door that cannot be
tried is listed as such; it is never counted as refused.

1. read CKA_VALUE, or of an RSA key its six parts (C_GetAttributeValue);
2. make it extractable, or not sensitive (C_SetAttributeValue);
3. copy it as an extractable, or not sensitive, key (C_CopyObject);
4. wrap it under another key (C_WrapKey), with each AES wrapping mechanism the token offers.

Standard: PKCS#11 3.0, sections 4.8 (key objects) and 5.18 (key management functions).

Example:
    >>> attempts, untried = shared_token.run(
    ...     lambda session: try_doors(session, key))     # doctest: +SKIP
    >>> all(attempt.refused for attempt in attempts)     # doctest: +SKIP
    True
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from assay.keys.errors import SessionLostError, TokenError
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11_uri import KeySelector
from assay.keys.service import ExportAttempt
from assay.keys.token_keys import AES_256, KeyType

WRAPPING_MECHANISMS = ("AES_KEY_WRAP", "AES_KEY_WRAP_PAD", "AES_CBC_PAD")
_MATERIAL = {
    KeyType.RSA: (
        "PRIVATE_EXPONENT", "PRIME_1", "PRIME_2", "EXPONENT_1", "EXPONENT_2", "COEFFICIENT",
    )
}  # fmt: skip
"""The attributes that are the key itself; CKA_VALUE where nothing else is said."""

_FREEDOMS = (("EXTRACTABLE", True), ("SENSITIVE", False))
# Answers of a token in trouble: they say nothing about the key.
_TROUBLE = frozenset(
    {"DeviceError", "DeviceMemory", "DeviceRemoved", "HostMemory", "TokenNotPresent"}
)

_NOT_OFFERED = frozenset({"MechanismInvalid"})


def try_doors(
    session: Session, key: KeySelector
) -> tuple[tuple[ExportAttempt, ...], tuple[str, ...]]:
    """Try to get a key out.

    Args:
        session: on the token that holds it.
        key: which one.

    Returns:
        the attempts, and one sentence for each door that could not be tried.

    Raises:
        KeyServiceError: the token is in trouble, so its answers mean nothing.
    """
    attempts = [
        _attempt(f"read CKA_{name}", _reading(session, key, name))
        for name in _MATERIAL.get(key.key_type, ("VALUE",))
    ]
    for name, value in _FREEDOMS:
        attempts.append(
            _attempt(f"set CKA_{name} to {value}", _changing(session, key, name, value=value))
        )
        attempts.append(
            _attempt(f"copy with CKA_{name} {value}", _copying(session, key, name, value=value))
        )
    wraps, untried = _try_wraps(session, key)
    return (*attempts, *wraps), untried


def _attempt(door: str, open_it: Callable[[], str | None]) -> ExportAttempt:
    """Try one door; ``open_it`` says what came out, or None when nothing did."""
    try:
        came_out = open_it()
    except SessionLostError:
        raise
    except TokenError as exc:
        if exc.answer in _TROUBLE:
            raise
        return ExportAttempt(door, refused=True, answer=exc.answer)
    if came_out is None:
        return ExportAttempt(door, refused=True, answer="accepted without effect")
    return ExportAttempt(door, refused=False, answer=came_out)


def _gave(size_bytes: int) -> str | None:
    return f"gave {size_bytes} bytes" if size_bytes else None


def _reading(session: Session, key: KeySelector, name: str) -> Callable[[], str | None]:
    return lambda: _gave(session.read_material(key, name))


def _changing(
    session: Session, key: KeySelector, name: str, *, value: bool
) -> Callable[[], str | None]:
    def change() -> str | None:
        if session.attributes(key)[name] is value:
            return f"CKA_{name} was {value} before"
        if session.change(key, name, value) is not value:
            return None
        session.change(key, name, not value)
        return f"CKA_{name} became {value}"

    return change


def _copying(
    session: Session, key: KeySelector, name: str, *, value: bool
) -> Callable[[], str | None]:
    def copy() -> str | None:
        found = session.copy(key, name, value)
        return f"CKA_{name} is {value} in the copy" if found is value else None

    return copy


def _wrapping(
    session: Session, key: KeySelector, mechanism: str, under: KeySelector
) -> Callable[[], str | None]:
    return lambda: _gave(session.wrap(key, mechanism, under))


def _try_wraps(
    session: Session, key: KeySelector
) -> tuple[tuple[ExportAttempt, ...], tuple[str, ...]]:
    mark = secrets.token_hex(8)
    wrapping = KeySelector(f"assay-wrapping-{mark}", None, KeyType.AES)
    control = KeySelector(f"assay-wrappable-{mark}", None, KeyType.AES)
    attempts: list[ExportAttempt] = []
    untried: list[str] = []
    try:
        session.create_wrapping_key(wrapping)
        session.create(control, AES_256, exportable=True, store=False)
        for mechanism in WRAPPING_MECHANISMS:
            door = f"wrap under another key with {mechanism}"
            try:
                session.wrap(control, mechanism, wrapping)
            except SessionLostError:
                raise
            except TokenError as exc:
                if exc.answer not in _NOT_OFFERED:
                    untried.append(f"{door}: it does not wrap an extractable key ({exc.answer})")
                continue
            attempts.append(_attempt(door, _wrapping(session, key, mechanism, wrapping)))
    except SessionLostError:
        raise
    except TokenError as exc:
        untried.append(f"wrap under another key: {exc.answer} when the token should make one")
    finally:
        for made in (wrapping, control):
            session.destroy(made)
    if not attempts and not untried:
        untried.append("wrap under another key: the token offers no AES wrapping mechanism")
    return tuple(attempts), tuple(untried)
