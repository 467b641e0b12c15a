"""Key custody: where a key was made, whether it may leave, and what happened when it was asked to.

Facts come from the key service itself: attributes as the token reports them, the answer to each
real attempt to export the key, and for the embedded store the permissions of its file. Sources:
PKCS#11 v3.1 section 4.9 (secret key attributes), NIST SP 800-57 part 1 r5 section 6.

Example:
    >>> KeyCustody().judge(facts).status           # doctest: +SKIP
    <Status.PASS: 'pass'>
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.controls.asset import Asset, Key
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result

if TYPE_CHECKING:
    from assay.keys import StoreFacts

_LOCKED = ("0600", "0400")
_MUST_BE = {
    "sensitive": True,
    "extractable": False,
    "always_sensitive": True,
    "never_extractable": True,
}


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attempt to get the key out.

    Attributes:
        door: what was tried.
        refused: whether the key stayed inside.
        answer: the service's own words.
    """

    door: str
    refused: bool
    answer: str


class StoreFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of an embedded key store.

    Attributes:
        mode: its permission bits, octal.
        owned_by_user: whether it belongs to the user who runs the process.
        symbolic_link: whether its path is a link.
        directory_mode: permission bits of its folder, octal.
        kdf: how the passphrase is stretched, from the file's header.
        cipher: what seals it, from the file's header.
    """

    mode: str
    owned_by_user: bool
    symbolic_link: bool
    directory_mode: str
    kdf: str
    cipher: str


class CustodyFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was observed of one key.

    Attributes:
        provider: "pkcs11", "embedded" or another scheme.
        fidelity: how real the provider is.
        algorithm: of the key.
        generated_inside: whether the provider says that it made the key itself.
        attributes: what the provider says the key is and may.
        attempts: every door that was tried.
        untried: doors that could not be tried, with the reason; they were not refused.
        store: the file of an embedded store.
        described_as: the token's own words about its maker and model.
        residual_risk: what somebody could still do.
    """

    provider: str
    fidelity: Fidelity
    algorithm: str
    generated_inside: bool | None
    attributes: dict[str, bool | None]
    attempts: tuple[Attempt, ...]
    untried: tuple[str, ...]
    store: StoreFile | None
    described_as: str
    residual_risk: str


class KeyCustody:
    """Every door by which a key might leave was tried, and each stayed shut."""

    id = "key-custody"
    version = 1
    asset_kind = "key"
    title = "trying to export the key"
    facts = CustodyFacts

    def collect(self, asset: Asset, context: Context) -> CustodyFacts:
        """Ask the key service for its facts, and try to export the key."""
        if not isinstance(asset, Key):
            raise CollectError(f"expected a key, found {asset.id}")
        custody = context.custody(asset)
        token, store = custody.token, custody.store
        return CustodyFacts(
            provider=custody.provider,
            fidelity=custody.fidelity,
            algorithm=custody.algorithm,
            generated_inside=custody.origin.generated_inside,
            attributes=dict(custody.attributes),
            attempts=tuple(Attempt(a.door, a.refused, a.answer) for a in custody.export_attempts),
            untried=tuple(custody.untried_doors),
            store=_store_file(store) if store else None,
            described_as=(
                f"{token.token_manufacturer} {token.token_model}" if token else custody.provider
            ),
            residual_risk=custody.residual_risk,
        )

    def judge(self, facts: CustodyFacts) -> Result:
        """Every attribute as it must be, every attempt refused; a store's file locked."""
        wrong = [
            f"the key came out: {attempt.door} ({attempt.answer})"
            for attempt in facts.attempts
            if not attempt.refused
        ]
        if facts.store is not None:
            wrong += _wrong_with_file(facts.store)
        else:
            unsaid = [n for n in _MUST_BE if facts.attributes.get(n) is None]
            wrong += [
                f"the token says {name}={facts.attributes[name]}, expected {expected}"
                for name, expected in _MUST_BE.items()
                if facts.attributes.get(name) is not None and facts.attributes[name] is not expected
            ]
            if facts.generated_inside is False:
                wrong.append("the key was made elsewhere and imported")
            if not wrong and (unsaid or facts.generated_inside is None):
                missing = ", ".join(unsaid) or "origin"
                return Result.error(
                    f"could not tell: the token does not say {missing}", facts.fidelity, unit="keys"
                )
        if not facts.attempts and not wrong:
            return Result.error(
                "could not tell: nothing was tried to export the key", facts.fidelity, unit="keys"
            )
        if facts.untried and not wrong:
            return Result.error(
                f"could not tell: {facts.untried[0]}",
                facts.fidelity,
                unit="keys",
                findings=facts.untried,
            )
        kind = {
            Fidelity.LIVE: "a hardware security module",
            Fidelity.EMULATED: "software, not a hardware security module",
            Fidelity.FIXTURE: "a fixture",
        }[facts.fidelity]
        reason = (
            f"{len(facts.attempts)} ways to export the key were tried and refused; "
            f"{facts.described_as.strip()} is {kind}. {facts.residual_risk}"
            if not wrong
            else wrong[0]
        )
        counts = Population(1, 1, 1 if wrong else 0, "keys")
        return Result.of(counts, facts.fidelity, reason, tuple(wrong))

    def violations(self) -> Sequence[Violation]:
        """A key store that others can read, and a key that the service gives away."""
        return (
            Violation(
                "readable-store",
                "the embedded key store's file becomes readable by other users",
                _readable_store,
            ),
            Violation(
                "exportable-key",
                "the key service hands out the key when it is asked to",
                _exportable_key,
            ),
        )


def _store_file(store: StoreFacts) -> StoreFile:
    return StoreFile(
        mode=store.mode,
        owned_by_user=store.owned_by_user,
        symbolic_link=store.symbolic_link,
        directory_mode=store.directory_mode,
        kdf=store.kdf,
        cipher=store.cipher,
    )


def _wrong_with_file(store: StoreFile) -> list[str]:
    wrong = []
    if store.mode not in _LOCKED:
        wrong.append(f"the key store has mode {store.mode}, expected 0600")
    if not store.owned_by_user:
        wrong.append("the key store belongs to another user")
    if store.symbolic_link:
        wrong.append("the key store's path is a symbolic link")
    if int(store.directory_mode, 8) & 0o022:
        wrong.append(f"others may write into the key store's folder (mode {store.directory_mode})")
    if store.kdf != "scrypt":
        wrong.append(f"the key store stretches its passphrase by {store.kdf}, expected scrypt")
    if store.cipher != "AES-256-GCM":
        wrong.append(f"the key store is sealed by {store.cipher}, expected AES-256-GCM")
    return wrong


@contextmanager
def _readable_store(folder: Path, inject: bool) -> Iterator[Twin]:
    """An embedded key store in a folder of its own."""
    from assay.controls.twins.programme import twin_programme
    from assay.keys import create_key

    folder.chmod(0o700)
    environment = {"TWIN_PASSPHRASE": "a passphrase of a twin that is thrown away"}
    uri = "embedded:keys.json?passphrase-source=env:TWIN_PASSPHRASE"
    create_key(uri, directory=folder, environment=environment)
    with Context(folder, twin_programme(keys=uri), environment=environment) as context:
        if inject:
            (folder / "keys.json").chmod(0o644)
        yield Twin(Key(id="kek", uri=uri, purpose="encryption"), context)


@contextmanager
def _exportable_key(folder: Path, inject: bool) -> Iterator[Twin]:
    """A key service with a door that is either shut or open."""
    from assay.controls.twins.keys import DooredKeyService
    from assay.controls.twins.programme import twin_programme

    service = DooredKeyService(door_open=inject)
    with Context(folder, twin_programme(), environment={}, key_service=service) as context:
        yield Twin(Key(id="kek", uri=service.uri, purpose="encryption"), context)
