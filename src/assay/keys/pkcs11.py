"""PKCS#11 by python-pkcs11: the one file that speaks to it.

Standard: OASIS PKCS#11 3.0 (2.40 is enough). Three thin types, `Module`, `Token` and `Session`,
whose calls take and give plain values and raise `TokenError`. They know nothing of threads, forks
and shared logins: that is ``pkcs11_sharing``, the only one who may call them.

Least privilege: KEKs are made with ENCRYPT and DECRYPT only, signing keys with SIGN only; both
SENSITIVE, not EXTRACTABLE, and not MODIFIABLE and not COPYABLE where the token knows these.

Example:
    >>> module = Module("/usr/lib/softhsm/libsofthsm2.so")       # doctest: +SKIP
    >>> [token.selector.label for token in module.tokens()]      # doctest: +SKIP
    ['assay']
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag

from assay.keys.errors import (
    KeyExistsError,
    KeyNotFoundError,
    SessionLostError,
    TokenError,
    TokenPinError,
)
from assay.keys.pkcs11_uri import KeySelector, TokenSelector
from assay.keys.service import KeyOrigin, TokenFacts

SOFTWARE_TOKENS = (
    "softhsm", "kryoptic", "softtok", "soft token", "nss ", "mozilla", "gnome", "p11-kit",
    "swtpm", "simulator", "emulator", "mock",
)  # fmt: skip
"""Words, in lower case, by which software tokens name themselves. None of them is an HSM."""

ATTRIBUTES = (
    "ALWAYS_SENSITIVE", "COPYABLE", "DECRYPT", "DERIVE", "DESTROYABLE", "ENCRYPT", "EXTRACTABLE",
    "LOCAL", "MODIFIABLE", "NEVER_EXTRACTABLE", "PRIVATE", "SENSITIVE", "SIGN", "TOKEN", "UNWRAP",
    "VERIFY", "WRAP",
)  # fmt: skip
"""The boolean attributes (CKA_...) that say what a key is and may."""

_GUARDED: Mapping[Attribute, bool] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_EXPORTABLE: Mapping[Attribute, bool] = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
# Not every token knows these two (they came with PKCS#11 2.40), so they are given up in turn.
_FROZEN: tuple[Mapping[Attribute, bool], ...] = (
    {Attribute.MODIFIABLE: False, Attribute.COPYABLE: False},
    {Attribute.MODIFIABLE: False},
    {},
)
_TEMPLATE_REFUSED = (
    pkcs11.AttributeTypeInvalid, pkcs11.AttributeValueInvalid, pkcs11.AttributeReadOnly,
    pkcs11.TemplateInconsistent, pkcs11.DomainParamsInvalid,
)  # fmt: skip
_PIN_REFUSED = (
    pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked,
    pkcs11.PinExpired, pkcs11.PinTooWeak, pkcs11.UserPinNotInitialized,
)  # fmt: skip
_SESSION_LOST = (
    pkcs11.SessionHandleInvalid, pkcs11.SessionClosed, pkcs11.UserNotLoggedIn,
    pkcs11.ObjectHandleInvalid, pkcs11.KeyHandleInvalid, pkcs11.WrappingKeyHandleInvalid,
)  # fmt: skip
# Return values that python-pkcs11 0.10 has no exception for.
_UNMAPPED = {
    "0x1b": "ActionProhibited",
    "0x190": "CryptokiNotInitialized",
    "0x191": "CryptokiAlreadyInitialized",
}
_CURVE_ED25519 = (b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519")
"""The OID 1.3.101.112 (RFC 8410) and the curve's name (PKCS#11 3.0, section 2.3.10), in DER."""


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    try:
        yield
    except pkcs11.PKCS11Error as exc:
        answer = _answer(exc)
        if isinstance(exc, _PIN_REFUSED):
            kind: type[TokenError] = TokenPinError
        elif isinstance(exc, _SESSION_LOST) or answer == "CryptokiNotInitialized":
            kind = SessionLostError
        else:
            kind = TokenError
        raise kind(what, answer) from exc


def _answer(exc: pkcs11.PKCS11Error) -> str:
    if type(exc) is not pkcs11.PKCS11Error:
        return type(exc).__name__
    return _UNMAPPED.get(str(exc).rpartition(" ")[2], str(exc))


class Module:
    """One PKCS#11 library, loaded and initialised.

    Raises:
        TokenError: it cannot be loaded or initialised.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with _named_errors("load its library"):
            self._lib = pkcs11.lib(path)

    def restart(self) -> None:
        """Initialise again; every session and handle is void afterwards."""
        with _named_errors("initialise again"):
            self._lib.reinitialize()

    def tokens(self) -> list[Token]:
        """Every token that is initialised."""
        with _named_errors("be listed"):
            return [
                Token(self._lib, self.path, token)
                for token in self._lib.get_tokens()
                if token.flags & TokenFlag.TOKEN_INITIALIZED
            ]

    def initialise_token(self, label: str, so_pin: str) -> None:
        """Initialise a free slot as a token (C_InitToken, which python-pkcs11 does not have).

        In this process, so that no PIN stands on the command line of another one.
        """
        with _named_errors("show a free slot"):
            free = [
                slot.slot_id
                for slot in self._lib.get_slots()
                if not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED
            ]
        try:
            init_token = ctypes.CDLL(self.path).C_InitToken
        except (OSError, AttributeError) as exc:
            raise TokenError("be initialised", "no C_InitToken in the library") from exc
        if not free:
            raise TokenError("be initialised", "no free slot")
        init_token.argtypes = (ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
        init_token.restype = ctypes.c_ulong
        pin = so_pin.encode()
        answer = init_token(free[0], pin, len(pin), label.encode().ljust(32))
        if answer:
            raise TokenError("be initialised", f"return value {answer:#x}")


class Token:
    """One initialised token in a slot of a module."""

    def __init__(self, lib: Any, path: str, token: Any) -> None:
        self._lib = lib
        self._path = path
        self._token = token
        serial = token.serial.decode("utf-8", "replace")
        self.selector = TokenSelector(token.label, serial, token.manufacturer_id, token.model)

    def login(self, pin: str) -> Session:
        """A session for reading and writing, as the token's user."""
        with _named_errors("log in"):
            try:
                return Session(self._token.open(rw=True, user_pin=pin))
            except pkcs11.UserAlreadyLoggedIn:
                # Other code of this process logged in; a login counts for the whole process.
                return Session(self._token.open(rw=True))

    def set_user_pin(self, so_pin: str, user_pin: str) -> None:
        """Set the user's PIN for the first time, as the security officer."""
        with _named_errors("set the user's PIN"):
            session = self._token.open(rw=True, so_pin=so_pin)
            try:
                session.init_pin(user_pin)
            finally:
                session.close()

    def facts(self, *, signing: bool) -> TokenFacts:
        """What library, slot, token and the mechanism that makes such keys say of themselves."""
        lib, token, slot = self._lib, self._token, self._token.slot
        mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if signing else Mechanism.AES_KEY_GEN
        names = (
            lib.manufacturer_id, lib.library_description, token.manufacturer_id, token.model,
            slot.manufacturer_id, slot.slot_description,
        )  # fmt: skip
        with _named_errors("describe itself"):
            return TokenFacts(
                module_path=self._path,
                library_manufacturer=lib.manufacturer_id,
                library_description=lib.library_description,
                library_version=".".join(map(str, lib.library_version)),
                token_label=token.label,
                token_manufacturer=token.manufacturer_id,
                token_model=token.model,
                token_serial=self.selector.serial or "",
                hardware_slot=bool(slot.flags & pkcs11.SlotFlag.HW_SLOT),
                hardware_mechanism=_in_hardware(slot.get_mechanism_info(mechanism).flags),
                known_software=any(
                    word in f"{name} ".lower() for name in names for word in SOFTWARE_TOKENS
                ),
            )


def _in_hardware(flags: MechanismFlag) -> bool:
    # SoftHSM 2.6 leaves the flags of some mechanisms uninitialised. A key generation mechanism
    # that does not say that it generates keys says nothing else that can be believed either.
    generates = MechanismFlag.GENERATE | MechanismFlag.GENERATE_KEY_PAIR
    return bool(flags & generates) and bool(flags & MechanismFlag.HW)


class Session:
    """One session, logged in. Key handles are looked up once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._handles: dict[tuple[KeySelector, bool], Any] = {}

    def close(self) -> None:
        """Close, and log out when this session logged in."""
        with _named_errors("close a session"):
            self._session.close()

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator (C_GenerateRandom)."""
        with _named_errors("give random bytes"):
            return bytes(self._session.generate_random(size_bytes * 8))

    def encrypt(self, key: KeySelector, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """AES-GCM (CKM_AES_GCM): ciphertext and tag, 16 bytes longer than the data."""
        with _named_errors("encrypt"):
            return bytes(self._find(key).encrypt(data, **_gcm(nonce, associated)))

    def decrypt(self, key: KeySelector, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `encrypt` made."""
        with _named_errors("decrypt"):
            return bytes(self._find(key).decrypt(sealed, **_gcm(nonce, associated)))

    def sign(self, key: KeySelector, message: bytes) -> bytes:
        """An Ed25519 signature (CKM_EDDSA): 64 bytes."""
        with _named_errors("sign"):
            return bytes(self._find(key).sign(message, mechanism=Mechanism.EDDSA))

    def public_point(self, key: KeySelector) -> bytes:
        """CKA_EC_POINT of the public half: a DER octet string of 32 bytes, or just these."""
        with _named_errors("give the public key"):
            return bytes(self._find(key, public=True)[Attribute.EC_POINT])

    def count(self, key: KeySelector) -> int:
        """How many keys answer to the selector."""
        with _named_errors("look for a key"):
            return len(list(self._session.get_objects(_template(key))))

    def create(self, key: KeySelector, *, exportable: bool = False, store: bool = True) -> None:
        """Generate a key inside the token: AES-256, or an Ed25519 pair.

        Args:
            key: its label and id; without an id, a random one.
            exportable: make a key that can leave, for drills that must catch it.
            store: keep it (CKA_TOKEN); else it ends with the session.

        Raises:
            KeyExistsError: a key answers to that name.
        """
        if self.count(key):
            raise KeyExistsError(
                f"expected no key {key.label or key.id!r} on the token, found one; it was not "
                "overwritten"
            )
        freedom = _EXPORTABLE if exportable else _GUARDED
        generate = self._generate_ed25519 if key.signing else self._generate_aes
        options = {"label": key.label, "id": key.id or self.random(8), "store": store}
        with _named_errors("generate a key"):
            made = _first_accepted(
                lambda frozen: generate(options, {**freedom, **frozen}),
                ({},) if exportable else _FROZEN,
            )
            if self.count(key) != 1:
                for half in made:
                    half.destroy()
                raise KeyExistsError(
                    f"expected to be the only one who makes the key {key.label or key.id!r}, "
                    "found another made in the same moment; it was not overwritten"
                )

    def _generate_aes(self, options: dict[str, Any], template: Mapping[Attribute, bool]) -> Any:
        capabilities = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        made = self._session.generate_key(
            KeyType.AES, 256, capabilities=capabilities, template=template, **options
        )
        return (made,)

    def _generate_ed25519(self, options: dict[str, Any], template: Mapping[Attribute, bool]) -> Any:
        def generate(curve: bytes) -> Any:
            parameters = self._session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: curve}, local=True
            )
            return parameters.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                public_template={Attribute.PRIVATE: False},
                private_template=template,
                **options,
            )

        return _first_accepted(generate, _CURVE_ED25519)

    def destroy(self, key: KeySelector) -> None:
        """Destroy a key, and its public half."""
        with _named_errors("destroy a key"):
            for public in (True, False) if key.signing else (False,):
                for half in list(self._session.get_objects(_template(key, public=public))):
                    half.destroy()
        self._handles.clear()

    def attributes(self, key: KeySelector) -> dict[str, bool | None]:
        """What the token says that a key is and may, by `ATTRIBUTES`; None where it is silent."""
        with _named_errors("describe a key"):
            handle = self._find(key)
            return {name: _flag(handle, Attribute[name]) for name in ATTRIBUTES}

    def origin(self, key: KeySelector) -> KeyOrigin:
        """Where the token says that a key was made (CKA_LOCAL, CKA_KEY_GEN_MECHANISM)."""
        with _named_errors("describe a key"):
            handle = self._find(key)
            mechanism = _attribute(handle, Attribute.KEY_GEN_MECHANISM)
            return KeyOrigin(_flag(handle, Attribute.LOCAL), getattr(mechanism, "name", None))

    def read_value(self, key: KeySelector) -> int:
        """Try to read the material (CKA_VALUE); how many bytes came, never which."""
        with _named_errors("give a key away"):
            return len(bytes(self._find(key)[Attribute.VALUE]))

    def change(self, key: KeySelector, name: str, value: bool) -> bool | None:
        """Try to set an attribute (C_SetAttributeValue); what it is afterwards."""
        with _named_errors("change a key"):
            handle = self._find(key)
            handle[Attribute[name]] = value
            return _flag(handle, Attribute[name])

    def copy(self, key: KeySelector, name: str, value: bool) -> bool | None:
        """Try to copy with another attribute (C_CopyObject); what it is in the copy."""
        with _named_errors("copy a key"):
            copy = self._find(key).copy({Attribute[name]: value, Attribute.TOKEN: False})
            try:
                return _flag(copy, Attribute[name])
            finally:
                copy.destroy()

    def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
        """Try to wrap a key under another (C_WrapKey); how many bytes came, never which."""
        with _named_errors("wrap a key"):
            handle = self._find(wrapping)
            return len(handle.wrap_key(self._find(key), mechanism=Mechanism[mechanism]))

    def create_wrapping_key(self, key: KeySelector) -> None:
        """Generate an AES-256 key for the session that may wrap others."""
        with _named_errors("make a wrapping key"):
            self._session.generate_key(
                KeyType.AES, 256, label=key.label, store=False, capabilities=MechanismFlag.WRAP
            )

    def _find(self, key: KeySelector, *, public: bool = False) -> Any:
        if (key, public) not in self._handles:
            found = list(self._session.get_objects(_template(key, public=public)))
            if len(found) != 1:
                kind = "Ed25519" if key.signing else "AES"
                raise KeyNotFoundError(
                    f"expected one {kind} key {key.label or key.id!r} on the token, found "
                    f"{len(found)}; create it, or name it more closely (id=)"
                )
            self._handles[key, public] = found[0]
        return self._handles[key, public]


def _template(key: KeySelector, *, public: bool = False) -> dict[Attribute, Any]:
    half = ObjectClass.PUBLIC_KEY if public else ObjectClass.PRIVATE_KEY
    template: dict[Attribute, Any] = {
        Attribute.CLASS: half if key.signing else ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.EC_EDWARDS if key.signing else KeyType.AES,
    }
    if key.label is not None:
        template[Attribute.LABEL] = key.label
    if key.id is not None:
        template[Attribute.ID] = key.id
    return template


def _gcm(nonce: bytes, associated: bytes) -> dict[str, Any]:
    parameters = pkcs11.GCMParams(nonce, associated, 128)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": parameters}


def _flag(handle: Any, attribute: Attribute) -> bool | None:
    value = _attribute(handle, attribute)
    return None if value is None else bool(value)


def _attribute(handle: Any, attribute: Attribute) -> Any:
    try:
        return handle[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        return None
    except ValueError:
        return None  # a vendor's own mechanism number, which python-pkcs11 has no name for


def _first_accepted(attempt: Callable[[Any], Any], choices: tuple[Any, ...]) -> Any:
    """The outcome of the first choice whose template the token accepts."""
    for choice in choices[:-1]:
        try:
            return attempt(choice)
        except _TEMPLATE_REFUSED:
            continue
    return attempt(choices[-1])
