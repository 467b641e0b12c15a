"""The tamper matrix: one table of attacks on what lies in a store, for every adapter.

An adapter that keeps sealed bytes (a table, a collection, a bucket) gives a `Target`: one victim
that lies in a real store, and how to write there past the adapter. A test asks for the fixture
``attack``, which runs it once for each line of the table::

    def test_every_attack_is_refused(attack: Attack, target: Target) -> None:
        attack.run(target)

`Attack.run` carries out each of the attack's forgeries, and expects that the adapter refuses it by
exactly the named error, that the error and its traceback show nothing of the plaintext, and that the
victim opens again once its own bytes are back. An attack that a store cannot suffer (no groups, no
row version) is left out by name in `Target.spared`, with the reason, so that nothing is missing
silently.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from assay.encryption import (
    EncryptionError,
    MissingEnvelopeError,
    RolledBackEnvelopeError,
    TamperedEnvelopeError,
    TruncatedEnvelopeError,
    UnknownSuiteError,
    UnknownVersionError,
    WrongKeyError,
)

HEADER = range(42)
VERSION, SUITE, KEY_ID, NONCE = range(1), range(1, 2), range(2, 18), range(18, 42)
MINIMUM_BYTES, TAG_BYTES = 58, 16
CANARY = "Quartz & Obsidian"
"""Stands in the victim's plaintext, and must stand nowhere else."""

ROW_ERRORS: Mapping[str, type[EncryptionError]] = {
    "missing": MissingEnvelopeError,
    "truncated": TruncatedEnvelopeError,
    "version": UnknownVersionError,
    "suite": UnknownSuiteError,
    "key": WrongKeyError,
    "tampered": TamperedEnvelopeError,
    "rolled back": RolledBackEnvelopeError,
}
"""The errors of row envelopes, by what they say."""


@dataclass
class Target:
    """One victim in a store, and what an attacker who can write there can do.

    Attributes:
        own: the victim's sealed bytes, as they lie in the store.
        put: writes other bytes (or None) into the victim's place, past the adapter.
        read: opens the victim through the adapter, reading it from the store anew.
        plain: what `read` returns for the untouched victim; holds `CANARY`.
        others: authentic bytes from other places, by the name of an attack: ``row``, ``table``,
            ``group``, ``owner``, ``everything`` (another row, table, group and owner at once),
            ``older`` (the victim's own, from before its last change).
        acts: attacks that are more than other bytes in the victim's place, by name: ``give away``
            (the victim's place says another owner), ``other keys`` (the reader has a keyring of
            somebody else). Each returns what undoes it.
        spared: attacks that this store cannot suffer, with the reason.
        errors: the adapter's error for each role of `ROW_ERRORS`.
    """

    own: bytes
    put: Callable[[bytes | None], None]
    read: Callable[[], object]
    plain: object
    others: Mapping[str, bytes] = field(default_factory=dict)
    acts: Mapping[str, Callable[[], Callable[[], None]]] = field(default_factory=dict)
    spared: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, type[EncryptionError]] = field(default_factory=lambda: ROW_ERRORS)


@dataclass(frozen=True)
class Forgery:
    """One thing that lies in the victim's place instead of its own bytes.

    Attributes:
        what: for the message of a failing test.
        value: the bytes.
        role: which error must refuse it.
    """

    what: str
    value: bytes | None
    role: str


@dataclass(frozen=True)
class Attack:
    """One line of the table.

    Attributes:
        name: as it stands in the table.
        forge: the forgeries; for an act, none.
        role: for an act, which error must refuse it.
    """

    name: str
    forge: Callable[[Target], Iterator[Forgery]] | None = None
    role: str = ""

    def run(self, target: Target) -> int:
        """Carry it out; how many forgeries were refused.

        A target that spares the attack is left alone, and 0 is returned.
        """
        if self.name in target.spared:
            assert target.spared[self.name], f"{self.name}: spared without a reason"
            return 0
        assert target.read() == target.plain, "the victim must open before the attack"
        refused = self._act(target) if self.forge is None else self._forge(target)
        assert refused > 0, f"{self.name}: nothing was forged"
        assert target.read() == target.plain, "the victim must open after the attack"
        return refused

    def _act(self, target: Target) -> int:
        undo = target.acts[self.name]()
        try:
            _expect(target, self.role, self.name)
        finally:
            undo()
        return 1

    def _forge(self, target: Target) -> int:
        assert self.forge is not None
        refused = 0
        try:
            for forgery in self.forge(target):
                assert forgery.value != target.own, f"{forgery.what}: not a forgery"
                target.put(forgery.value)
                _expect(target, forgery.role, forgery.what)
                refused += 1
        finally:
            target.put(target.own)
        return refused


def _expect(target: Target, role: str, what: str) -> None:
    wanted = target.errors[role]
    error, opened = _refusal(target)
    assert error is not None, f"{what}: expected {wanted.__name__}, opened {type(opened).__name__}"
    assert type(error) is wanted, f"{what}: expected {wanted.__name__}, found {error!r}"
    shown = "".join(traceback.TracebackException.from_exception(error).format())
    assert CANARY not in shown, f"{what}: plaintext in the traceback"
    assert CANARY not in repr(vars(error)), f"{what}: plaintext in the error"


def _refusal(target: Target) -> tuple[EncryptionError | None, object]:
    try:
        return None, target.read()
    except EncryptionError as exc:
        return exc, None


def _flip(positions: range, role: str) -> Callable[[Target], Iterator[Forgery]]:
    def forge(target: Target) -> Iterator[Forgery]:
        whole = range(len(target.own))
        for position in whole[positions.start : positions.stop]:
            for bit in range(8):
                value = bytearray(target.own)
                value[position] ^= 1 << bit
                yield Forgery(f"bit {bit} of byte {position} flipped", bytes(value), role)

    return forge


def _flip_tag(target: Target) -> Iterator[Forgery]:
    length = len(target.own)
    return _flip(range(length - TAG_BYTES, length), "tampered")(target)


def _flip_ciphertext(target: Target) -> Iterator[Forgery]:
    return _flip(range(HEADER.stop, len(target.own) - TAG_BYTES), "tampered")(target)


def _truncate(target: Target) -> Iterator[Forgery]:
    for length in range(len(target.own)):
        role = "truncated" if length < MINIMUM_BYTES else "tampered"
        yield Forgery(f"cut off to {length} bytes", target.own[:length], role)


def _extend(target: Target) -> Iterator[Forgery]:
    for extra in (b"\0", b"\xff", bytes(TAG_BYTES), target.own):
        yield Forgery(f"{len(extra)} bytes added", target.own + extra, "tampered")


def _unknown(position: int, role: str) -> Callable[[Target], Iterator[Forgery]]:
    def forge(target: Target) -> Iterator[Forgery]:
        for value in set(range(256)) - {target.own[position]}:
            changed = target.own[:position] + bytes([value]) + target.own[position + 1 :]
            yield Forgery(f"byte {position} is {value}", changed, role)

    return forge


def _swap(name: str, role: str) -> Callable[[Target], Iterator[Forgery]]:
    def forge(target: Target) -> Iterator[Forgery]:
        yield Forgery(f"the bytes of another {name}", target.others[name], role)

    return forge


def _splice(target: Target) -> Iterator[Forgery]:
    """The halves of two authentic envelopes of one owner."""
    own, other = target.own, target.others["row"]
    for border in (NONCE.start, NONCE.stop, len(other) - TAG_BYTES):
        yield Forgery(f"its bytes to {border}, another row's after", own[:border] + other[border:],
                      "tampered")  # fmt: skip


def _in_the_clear(target: Target) -> Iterator[Forgery]:
    yield Forgery("short plaintext", CANARY.encode(), "truncated")
    yield Forgery("long plaintext", CANARY.encode() * 9, "version")


def _empty(_target: Target) -> Iterator[Forgery]:
    yield Forgery("no bytes", b"", "truncated")


def _null(_target: Target) -> Iterator[Forgery]:
    yield Forgery("nothing", None, "missing")


ATTACKS: tuple[Attack, ...] = (
    Attack("swap rows", _swap("row", "tampered")),
    Attack("swap tables", _swap("table", "tampered")),
    Attack("swap groups", _swap("group", "tampered")),
    Attack("swap owners", _swap("owner", "key")),
    Attack("swap everything", _swap("everything", "key")),
    Attack("roll back", _swap("older", "rolled back")),
    Attack("splice", _splice),
    Attack("give away", role="key"),
    Attack("other keys", role="key"),
    Attack("truncate", _truncate),
    Attack("extend", _extend),
    Attack("flip version", _flip(VERSION, "version")),
    Attack("flip suite", _flip(SUITE, "suite")),
    Attack("flip key id", _flip(KEY_ID, "key")),
    Attack("flip nonce", _flip(NONCE, "tampered")),
    Attack("flip ciphertext", _flip_ciphertext),
    Attack("flip tag", _flip_tag),
    Attack("unknown version", _unknown(0, "version")),
    Attack("unknown suite", _unknown(1, "suite")),
    Attack("in the clear", _in_the_clear),
    Attack("empty", _empty),
    Attack("null", _null),
)
"""Every attack, by the name that a target spares it by."""
