"""The tamper matrix: one table of attacks on what lies in a store, for every adapter.

An adapter that keeps sealed bytes (a table, a collection, a bucket, a file) gives a `Target`: one
victim that lies in a real store, and how to write there past the adapter. A test asks for the
fixture ``attack``, which runs it once for each line of the table::

    def test_every_attack_is_refused(attack: Attack, target: Target) -> None:
        attack.run(target)

`Attack.run` carries out each of the attack's forgeries, and expects that the adapter refuses it by
exactly the named error, that the error and its traceback show nothing of the plaintext, and that the
victim opens again once its own bytes are back. An attack that an adapter cannot suffer (no groups, no
row version) is left out in `tests.tamper_adapters`, by name and with the reason, so that nothing is
missing silently.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.tamper_adapters import ADAPTERS, Adapter

from assay.encryption import EncryptionError

CANARY = "Quartz & Obsidian"
"""Stands in the victim's plaintext, and must stand nowhere else."""


@dataclass
class Target:
    """One victim in a store, and what an attacker who can write there can do.

    Attributes:
        adapter: its name in `tests.tamper_adapters.ADAPTERS`.
        own: the victim's sealed bytes, as they lie in the store.
        put: writes other bytes (or None) into the victim's place, past the adapter.
        read: opens the victim through the adapter, reading it from the store anew.
        plain: what `read` returns for the untouched victim; holds `CANARY`.
        others: authentic bytes from other places, by the name of an attack: ``row``, ``table``,
            ``group``, ``owner``, ``everything`` (another row, table, group and owner at once),
            ``older`` (the victim's own, from before its last change), ``clear`` (what the store
            would hold without sealing, where that has a form of its own).
        acts: attacks that are more than other bytes in the victim's place, by name: ``give away``
            (the victim's place says another owner), ``other keys`` (the reader has a keyring of
            somebody else). Each returns what undoes it.
        places: where the pieces of sealed bytes stand, when their layout alone does not tell.
        step: try one in so many changes of the same kind, where each costs a request.
    """

    adapter: str
    own: bytes
    put: Callable[[bytes | None], None]
    read: Callable[[], object]
    plain: object
    others: Mapping[str, bytes] = field(default_factory=dict)
    acts: Mapping[str, Callable[[], Callable[[], None]]] = field(default_factory=dict)
    places: Callable[[bytes], list[range]] | None = None
    step: int = 1

    def pieces(self, sealed: bytes) -> list[range]:
        """Where the pieces of sealed bytes stand."""
        return (self.places or self.of.layout.pieces)(sealed)

    @property
    def of(self) -> Adapter:
        """What the adapter spares, how its bytes are laid out, and its errors."""
        return ADAPTERS[self.adapter]


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

        A target whose adapter spares the attack is left alone, and 0 is returned.
        """
        if self.name in target.of.spared:
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
    wanted = target.of.errors[role]
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


Forge = Callable[[Target], Iterator[Forgery]]


def _flip_part(part: str) -> Forge:
    def forge(target: Target) -> Iterator[Forgery]:
        layout = target.of.layout
        header = layout.header(target.own)
        for position in layout.parts[part]:
            for bit in range(8):
                changed = bytearray(header)
                changed[position] ^= 1 << bit
                value = layout.with_header(target.own, bytes(changed))
                yield Forgery(f"bit {bit} of {part} {position}", value, layout.roles[part])

    return forge


def _flip_places(places: Callable[[Target], Iterable[int]]) -> Forge:
    def forge(target: Target) -> Iterator[Forgery]:
        for position in list(places(target))[:: target.step]:
            for bit in range(8) if target.step == 1 else [position % 8]:
                changed = bytearray(target.own)
                changed[position] ^= 1 << bit
                yield Forgery(f"bit {bit} of byte {position}", bytes(changed), "tampered")

    return forge


def _truncate(target: Target) -> Iterator[Forgery]:
    pieces = target.pieces(target.own)
    borders = {at + by for piece in pieces for at in (piece.start, piece.stop) for by in (-1, 0, 1)}
    for length in sorted({*range(0, len(target.own), target.step), *borders, len(target.own) - 1}):
        if length < len(target.own):
            role = target.of.layout.cut_role(target.own, length)
            yield Forgery(f"cut off to {length} bytes", target.own[:length], role)


def _extend(target: Target) -> Iterator[Forgery]:
    last = target.pieces(target.own)[-1:]
    again = [target.own[piece.start : piece.stop] for piece in last]
    for extra in (b"\0", b"\xff", bytes(16), target.own, *again):
        role = target.of.layout.extended_role(target.own, extra)
        yield Forgery(f"{len(extra)} bytes added", target.own + extra, role)


def _unknown(part: str) -> Forge:
    def forge(target: Target) -> Iterator[Forgery]:
        layout = target.of.layout
        header = layout.header(target.own)
        (position,) = layout.parts[part]
        for value in sorted(set(range(256)) - {header[position]})[:: target.step]:
            changed = header[:position] + bytes([value]) + header[position + 1 :]
            forged = layout.with_header(target.own, changed)
            yield Forgery(f"{part} {value}", forged, layout.roles[part])

    return forge


def _swap(name: str, role: str) -> Forge:
    def forge(target: Target) -> Iterator[Forgery]:
        yield Forgery(f"the bytes of another {name}", target.others[name], role)

    return forge


def _splice(target: Target) -> Iterator[Forgery]:
    for what, value in target.of.layout.splices(target.own, target.others["row"]):
        yield Forgery(what, value, "tampered")


def _rearrange(arrange: Callable[[list[bytes]], list[list[bytes]]]) -> Forge:
    def forge(target: Target) -> Iterator[Forgery]:
        places = target.pieces(target.own)
        pieces = [target.own[place.start : place.stop] for place in places]
        head, tail = target.own[: places[0].start], target.own[places[-1].stop :]
        for number, arranged in enumerate(arrange(pieces)):
            yield Forgery(f"pieces, {number}", head + b"".join(arranged) + tail, "tampered")

    return forge


def _foreign_piece(target: Target) -> Iterator[Forgery]:
    other = target.others["row"]
    for mine, theirs in zip(target.pieces(target.own), target.pieces(other), strict=True):
        forged = target.own[: mine.start] + other[theirs.start : theirs.stop] + target.own[mine.stop :]  # fmt: skip
        yield Forgery(f"another's piece at {mine.start}", forged, "tampered")


def _change_end(target: Target) -> Iterator[Forgery]:
    for what, value, role in target.of.layout.ends(target.own):
        yield Forgery(what, value, role)


def _in_the_clear(target: Target) -> Iterator[Forgery]:
    roles = target.of.layout.roles
    yield Forgery("short plaintext", CANARY.encode(), roles["short text"])
    yield Forgery("long plaintext", CANARY.encode() * 9, roles["long text"])
    if "clear" in target.others:
        yield Forgery("the store's own form in the clear", target.others["clear"], "clear")


def _empty(target: Target) -> Iterator[Forgery]:
    yield Forgery("no bytes", b"", target.of.layout.roles["empty"])


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
    Attack("flip version", _flip_part("version")),
    Attack("flip suite", _flip_part("suite")),
    Attack("flip key id", _flip_part("key id")),
    Attack("flip nonce", _flip_part("nonce")),
    Attack("flip zero bytes", _flip_part("zero")),
    Attack("flip ciphertext", _flip_places(lambda target: target.of.layout.body(target.own))),
    Attack("flip tag", _flip_places(lambda target: target.of.layout.tags(target.own))),
    Attack("unknown version", _unknown("version")),
    Attack("unknown suite", _unknown("suite")),
    Attack("swap pieces", _rearrange(lambda p: [[p[1], p[0], *p[2:]], [p[-1], *p[1:-1], p[0]]])),
    Attack("repeat a piece", _rearrange(lambda p: [[p[0], *p], [p[0], p[0], *p[2:]]])),
    Attack("drop a piece", _rearrange(lambda p: [p[1:], [p[0], *p[2:]]])),
    Attack("foreign piece", _foreign_piece),
    Attack("change the end", _change_end),
    Attack("in the clear", _in_the_clear),
    Attack("empty", _empty),
    Attack("null", _null),
    Attack("delete", role="missing"),
)
"""Every attack, by the name that an adapter spares it by."""
