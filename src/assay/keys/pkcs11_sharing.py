"""One PKCS#11 session for each token of the process, shared between threads and over forks.

PKCS#11 libraries are initialised once for a process, and a login counts for all of it. So:

1. python-pkcs11 initialises without OS locking, and calls from several threads corrupt the
   library. Every call of the process goes through one lock.
2. A second login answers UserAlreadyLoggedIn. Whoever opens a token that is open already shares
   its session, after the PIN was compared; the last one who closes it logs out.
3. After a fork the child's session is void. The child initialises the library and logs in again
   at its first call; a fork waits until no other thread is inside a library.
4. A session that the token has dropped is opened again, once for a call. When the token does not
   show up, the library is initialised again: some notice only then that a token came back.
5. A library that does not return holds up the others no longer than `TURN_SECONDS` each. A PIN
   that was refused is not tried again: too many tries lock a token.

The PIN stays in this process's memory while the token is open, for 3 and 4.

Example:
    >>> token = SharedToken.open(Path("/usr/lib/softhsm/libsofthsm2.so"),
    ...                          TokenSelector("assay"), pin)            # doctest: +SKIP
    >>> token.run(lambda session: len(session.random(32)))               # doctest: +SKIP
    32
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from assay.core import resolve_reference
from assay.keys.errors import (
    KeyAccessError,
    KeyExistsError,
    KeyServiceError,
    SessionLostError,
    TokenError,
)
from assay.keys.pkcs11 import Module, Session, Token
from assay.keys.pkcs11_uri import Pkcs11Uri, TokenSelector, find_module
from assay.keys.service import TokenFacts

T = TypeVar("T")

SOFTHSM_VARIABLE = "SOFTHSM2_CONF"

TURN_SECONDS = 60.0
"""How long a call waits for the calls before it: as long as several RSA keys take to be made."""

# SoftHSM says so while another process logs in, or makes a key.
_PERHAPS_PASSING = frozenset({"GeneralError", "FunctionFailed", "DeviceError"})
_PAUSES_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.3)

_LOCK = threading.RLock()
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)


@contextmanager
def _turn() -> Iterator[None]:
    if not _LOCK.acquire(timeout=TURN_SECONDS):
        raise KeyServiceError(
            f"expected the token to be done with the calls before this one in {TURN_SECONDS:.0f} "
            "s, found it still at work; look whether it answers at all"
        )
    try:
        yield
    finally:
        _LOCK.release()


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again when a token answers like one whose files another process writes just then."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return ask()
        except TokenError as exc:
            if exc.answer not in _PERHAPS_PASSING:
                raise
        time.sleep(pause_seconds)
    return ask()


class _Library:
    """One loaded module; ``generation`` counts how often it was initialised again."""

    def __init__(self, path: str) -> None:
        self.module = Module(path)
        self.generation = 0
        self.open_tokens = 0
        self._note_where_it_began()

    def follow(self) -> None:
        """Initialise again when this process is a fork of the one that did."""
        if self._process != os.getpid():
            self.restart()

    def restart(self) -> None:
        """Initialise again; every session and handle is void."""
        self.module.restart()
        self.generation += 1
        self._note_where_it_began()

    def _note_where_it_began(self) -> None:
        self._process = os.getpid()
        self.configuration = os.environ.get(SOFTHSM_VARIABLE)

    def find(self, selector: TokenSelector, *, restarting: bool) -> Token:
        """The one token that fits.

        A token whose files another process writes just then is not seen, by SoftHSM until the
        library is initialised again; nor is one that was initialised, or came back, since.

        Args:
            selector: which token.
            restarting: initialise again while there is none; it voids every session.
        """
        found: list[Token] = []
        trouble: TokenError | None = None
        for pause_seconds in (0.0, *_PAUSES_SECONDS):
            try:
                if pause_seconds:
                    time.sleep(pause_seconds)
                    if restarting:
                        self.restart()
                found = [each for each in self.module.tokens() if selector.fits(each.selector)]
            except TokenError as exc:
                trouble = exc
                continue
            trouble = None
            if found:
                break
        if trouble is not None:
            raise trouble
        if len(found) != 1:
            raise KeyServiceError(
                f"expected one token {selector.label or selector.serial!r} in "
                f"{self.module.path}, found {len(found)}; initialise it, or name it more closely "
                f"(serial=, manufacturer=, model=). SoftHSM looks where {SOFTHSM_VARIABLE} says"
            )
        return found[0]


_LIBRARIES: dict[str, _Library] = {}
_TOKENS: dict[tuple[str, TokenSelector], SharedToken] = {}


def _library(path: Path) -> _Library:
    real = str(path.resolve())
    library = _LIBRARIES.get(real)
    if library is None:
        library = _LIBRARIES[real] = _Library(real)
        return library
    library.follow()
    if library.configuration != os.environ.get(SOFTHSM_VARIABLE):
        if library.open_tokens:
            raise KeyServiceError(
                f"expected {SOFTHSM_VARIABLE} to stay as it was while tokens are open, found "
                "another value; close them first"
            )
        library.restart()
    return library


class SharedToken:
    """One token of the process with its one session. Make it with `open`."""

    def __init__(self, library: _Library, selector: TokenSelector, pin: str) -> None:
        self.selector = selector
        self._library = library
        self._pin = pin
        self._users = 0
        self._session: Session | None = None
        self._generation = -1
        self._pin_was_refused = False

    @classmethod
    def open(cls, module: Path, selector: TokenSelector, pin: str) -> SharedToken:
        """Open a token, or share it with those who have it open.

        Args:
            module: the PKCS#11 library.
            selector: which token.
            pin: its user PIN.

        Raises:
            KeyAccessError: the PIN was refused.
            KeyServiceError: no library, not one such token, or it failed.
        """
        with _turn():
            library = _library(module)
            exact = library.find(selector, restarting=not library.open_tokens).selector
            place = (library.module.path, exact)
            shared = _TOKENS.get(place)
            if shared is None:
                shared = cls(library, exact, pin)
                shared._session_now()
                _TOKENS[place] = shared
                library.open_tokens += 1
            elif not hmac.compare_digest(shared._pin.encode(), pin.encode()):
                raise KeyAccessError(
                    "expected the PIN with which this process has the token open, found another; "
                    "check the place that pin-source names"
                )
            shared._users += 1
            return shared

    def run(self, operation: Callable[[Session], T]) -> T:
        """Call the token, alone; once more on a new session when the old one was void.

        Args:
            operation: makes all its calls on the session that it is given.

        Raises:
            KeysError: what the operation raises.
            KeyServiceError: the token cannot be opened any more.
        """
        with _turn():
            try:
                return operation(self._session_now())
            except SessionLostError:
                self._forget_session()
            return operation(self._session_now())

    def facts(self, generation: str) -> TokenFacts:
        """What library, slot, token and a mechanism that makes keys say of themselves."""
        with _turn():
            self._library.follow()
            return self._library.find(self.selector, restarting=False).facts(generation)

    def close(self) -> None:
        """Let go once; the last one logs out."""
        with _turn():
            self._users -= 1
            if self._users:
                return
            del _TOKENS[self._library.module.path, self.selector]
            self._library.open_tokens -= 1
            self._library.follow()
            self._forget_session()

    def _session_now(self) -> Session:
        self._library.follow()
        if self._session is None or self._generation != self._library.generation:
            self._session = self._login()
            self._generation = self._library.generation
        return self._session

    def _login(self) -> Session:
        if self._pin_was_refused:
            raise KeyAccessError(
                "expected the token to take the PIN, it refused it before, and it was not tried "
                "again; open the token anew with the right one"
            )
        token = self._library.find(self.selector, restarting=True)
        try:
            return _patiently(lambda: token.login(self._pin))
        except KeyAccessError:
            self._pin_was_refused = True
            raise

    def _forget_session(self) -> None:
        session, self._session = self._session, None
        if session is not None and self._generation == self._library.generation:
            with suppress(KeyServiceError):  # the token went first; nothing is left to close
                session.close()


def open_shared_token(
    uri: Pkcs11Uri, directory: Path, environment: Mapping[str, str]
) -> SharedToken:
    """Open the token that a URI names, with the PIN from where it says.

    Args:
        uri: names token, module and PIN source; which key is of no interest here.
        directory: where relative paths start.
        environment: the variables to which references may point.

    Raises:
        KeysError: as `SharedToken.open`, or the module or the PIN is not where it should be.
    """
    # SoftHSM reads this variable from the process itself, whatever mapping we were given.
    wanted = environment.get(SOFTHSM_VARIABLE)
    if wanted is not None and wanted != os.environ.get(SOFTHSM_VARIABLE):
        raise KeyServiceError(
            f"expected {SOFTHSM_VARIABLE}={wanted} in the environment of this process, where "
            "SoftHSM reads it, found another value; set it before the process starts"
        )
    module = find_module(uri, directory, environment)
    pin = resolve_reference(uri.pin_source, directory, environment)
    return SharedToken.open(module, uri.token_selector(), pin)


def initialise_token(module: Path, *, label: str, so_pin: str, user_pin: str) -> None:
    """Initialise a new token in a free slot: see `assay.keys.initialise_token`."""
    if not 0 < len(label.encode()) <= 32:
        raise KeyServiceError("expected a token label of 1 to 32 bytes, found another length")
    selector = TokenSelector(label)
    with _turn():
        library = _library(module)
        if any(selector.fits(token.selector) for token in library.module.tokens()):
            raise KeyExistsError(f"expected no token {label!r}, found one; it was not touched")
        library.module.initialise_token(label, so_pin)
        library.find(selector, restarting=not library.open_tokens).set_user_pin(so_pin, user_pin)
