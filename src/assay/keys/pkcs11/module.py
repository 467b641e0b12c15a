"""A PKCS#11 library and the tokens in its slots.

Example:
    >>> Module("/usr/lib/softhsm/libsofthsm2.so").tokens()[0].login(pin)   # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
from typing import Any

import pkcs11
from pkcs11 import Mechanism, MechanismFlag, TokenFlag

from assay.keys.errors import TokenError
from assay.keys.pkcs11.answers import NOT_INITIALIZED, answer_of, named_errors
from assay.keys.pkcs11.session import Session
from assay.keys.pkcs11_uri import TokenSelector
from assay.keys.service import TokenFacts

SOFTWARE_TOKENS = (
    "softhsm", "kryoptic", "softtok", "soft token", "nss ", "mozilla", "gnome", "p11-kit",
    "swtpm", "simulator", "emulator", "mock",
)  # fmt: skip
"""Words, in lower case, by which software tokens name themselves. None of them is an HSM."""


class Module:
    """One PKCS#11 library, loaded and initialised.

    Raises:
        TokenError: it cannot be loaded or initialised.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with named_errors("load its library"):
            self._lib = pkcs11.lib(path)

    def restart(self) -> None:
        """Initialise again; every session and handle is void afterwards."""
        with named_errors("initialise again"):
            try:
                self._lib.finalize()
            except pkcs11.PKCS11Error as exc:
                if answer_of(exc) != NOT_INITIALIZED:  # other code of the process ended it
                    raise
            self._lib.initialize()

    def tokens(self) -> list[Token]:
        """Every token that is initialised."""
        with named_errors("be listed"):
            return [
                Token(self._lib, self.path, token)
                for token in self._lib.get_tokens()
                if token.flags & TokenFlag.TOKEN_INITIALIZED
            ]

    def initialise_token(self, label: str, so_pin: str) -> None:
        """Initialise a free slot as a token (C_InitToken, which python-pkcs11 does not have).

        In this process, so that no PIN stands on the command line of another one.
        """
        with named_errors("show a free slot"):
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
        with named_errors("log in"):
            try:
                return Session(self._token.open(rw=True, user_pin=pin))
            except pkcs11.UserAlreadyLoggedIn:
                # Other code of this process logged in; a login counts for the whole process.
                return Session(self._token.open(rw=True))

    def set_user_pin(self, so_pin: str, user_pin: str) -> None:
        """Set the user's PIN for the first time, as the security officer."""
        with named_errors("set the user's PIN"):
            session = self._token.open(rw=True, so_pin=so_pin)
            try:
                session.init_pin(user_pin)
            finally:
                session.close()

    def facts(self, generation: str) -> TokenFacts:
        """What library, slot, token and a mechanism that makes keys say of themselves."""
        lib, token, slot = self._lib, self._token, self._token.slot
        mechanism = Mechanism[generation]
        names = (
            lib.manufacturer_id, lib.library_description, token.manufacturer_id, token.model,
            slot.manufacturer_id, slot.slot_description,
        )  # fmt: skip
        with named_errors("describe itself"):
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
