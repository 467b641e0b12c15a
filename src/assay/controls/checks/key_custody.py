"""Key custody: where a key was made, whether it may leave, and what happened when it was asked to.

Facts come from the key service itself: attributes as the token reports them, the answer to each
real attempt to export the key, for the embedded store the permissions of its file, for AWS KMS what
it says of the key, its policy and its grants, and for Vault how the key is configured. Sources:
PKCS#11 v3.1 section 4.9 (secret key attributes), NIST SP 800-57 part 1 r5 section 6, AWS KMS API
reference (KeyMetadata), Vault's API (transit).

Example:
    >>> KeyCustody().judge(facts).status           # doctest: +SKIP
    <Status.PASS: 'pass'>
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.controls.asset import Asset, Key
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.controls.key_policy import statements_for_everybody
from assay.controls.transit_key import (
    TransitKey,
    kept_in_transit,
    transit_key_of,
    wrong_in_transit,
)
from assay.core import Fidelity, Population, Result

if TYPE_CHECKING:
    from assay.keys import KmsFacts, StoreFacts

_LOCKED = ("0600", "0400")
_MADE_INSIDE = ("AWS_KMS", "AWS_CLOUDHSM")
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


class KmsKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key in AWS KMS, or behind a service with its API.

    Attributes:
        endpoint: the address that answered.
        key_state: "Enabled", ...
        key_manager: "CUSTOMER" or "AWS".
        origin: "AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM" or "EXTERNAL_KEY_STORE".
        custom_key_store: its id, when the key is in one.
        multi_region: whether related keys may be in other Regions.
        rotated: whether it is rotated automatically; None when that could not be read.
        rotation_days: how often.
        policy: the key policy, JSON; None when it could not be read.
        grants: who may do what; None when they could not be read.
        unread: what could not be read, with the reason.
    """

    endpoint: str
    key_state: str
    key_manager: str
    origin: str
    custom_key_store: str | None
    multi_region: bool
    rotated: bool | None
    rotation_days: int | None
    policy: str | None
    grants: tuple[str, ...] | None
    unread: tuple[str, ...]


class CustodyFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was observed of one key.

    Attributes:
        provider: "pkcs11", "aws-kms", "vault", "embedded" or another scheme.
        fidelity: how real the provider is.
        algorithm: of the key.
        generated_inside: whether the provider says that it made the key itself.
        attributes: what the provider says the key is and may.
        attempts: every door that was tried.
        untried: doors that could not be tried, with the reason; they were not refused.
        store: the file of an embedded store.
        described_as: the token's own words about its maker and model.
        residual_risk: what somebody could still do.
        kms: a key in AWS KMS; since version 2.
        transit: a key in Vault's transit engine; since version 3.
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
    kms: KmsKey | None = None
    transit: TransitKey | None = None


class KeyCustody:
    """Every door by which a key might leave was tried, and each stayed shut."""

    id = "key-custody"
    version = 3
    also_judges = (1, 2)
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
            kms=_kms_key(custody.kms) if custody.kms else None,
            transit=transit_key_of(custody.transit) if custody.transit else None,
        )

    def judge(self, facts: CustodyFacts) -> Result:
        """Everything as it must be, every attempt refused."""
        came_out = [
            f"the key came out: {attempt.door} ({attempt.answer})"
            for attempt in facts.attempts
            if not attempt.refused
        ]
        if facts.kms is not None:
            wrong, unsaid = _wrong_in_kms(facts.kms)
            wrong += came_out
        elif facts.transit is not None:
            wrong, unsaid = wrong_in_transit(facts.transit)
            wrong += came_out
        elif facts.store is not None:
            wrong, unsaid = came_out + _wrong_with_file(facts.store), []
        else:
            wrong, unsaid = _wrong_on_token(facts)
            wrong = came_out + wrong
        if not wrong:
            if not facts.attempts and not unsaid:
                unsaid = ["nothing was tried to export the key"]
            unsaid += facts.untried
            if unsaid:
                return Result.error(
                    f"could not tell: {unsaid[0]}",
                    facts.fidelity,
                    unit="keys",
                    findings=facts.untried,
                )
        counts = Population(1, 1, 1 if wrong else 0, "keys")
        reason = wrong[0] if wrong else _kept(facts)
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
            Violation(
                "imported-key",
                "the key's material is imported into AWS KMS from outside",
                partial(_kms_key_twin, Origin="EXTERNAL"),
            ),
            Violation(
                "policy-for-everybody",
                "the key policy in AWS KMS lets everybody use the key",
                partial(_kms_key_twin, Principal="*"),
            ),
            Violation(
                "exportable-in-vault",
                "the key in Vault's transit engine may be exported",
                partial(_transit_key_twin, "exportable"),
            ),
            Violation(
                "backup-from-vault",
                "the key in Vault's transit engine may be backed up in the clear",
                partial(_transit_key_twin, "allow_plaintext_backup"),
            ),
            Violation(
                "imported-into-vault",
                "the key's material is imported into Vault's transit engine from outside",
                partial(_transit_key_twin, "imported"),
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


def _kms_key(kms: KmsFacts) -> KmsKey:
    return KmsKey(**{name: getattr(kms, name) for name in KmsKey.__struct_fields__})


def _kept(facts: CustodyFacts) -> str:
    """Why a key is well kept, in one paragraph."""
    tried = f"{len(facts.attempts)} ways to export the key were tried and refused"
    if facts.kms is not None:
        unread = f" Not read: {', '.join(facts.kms.unread)}." if facts.kms.unread else ""
        return f"{tried}; {_kept_in_kms(facts.kms, facts.fidelity)}. {facts.residual_risk}{unread}"
    if facts.transit is not None:
        unread = f" Not read: {', '.join(facts.transit.unread)}." if facts.transit.unread else ""
        return f"{tried}; {kept_in_transit(facts.transit)}. {facts.residual_risk}{unread}"
    kind = {
        Fidelity.LIVE: "a hardware security module",
        Fidelity.EMULATED: "software, not a hardware security module",
        Fidelity.FIXTURE: "a fixture",
    }[facts.fidelity]
    return f"{tried}; {facts.described_as.strip()} is {kind}. {facts.residual_risk}"


def _wrong_on_token(facts: CustodyFacts) -> tuple[list[str], list[str]]:
    """What is wrong with a key on a token, and what the token does not say."""
    unsaid = [name for name in _MUST_BE if facts.attributes.get(name) is None]
    wrong = [
        f"the token says {name}={facts.attributes[name]}, expected {expected}"
        for name, expected in _MUST_BE.items()
        if name not in unsaid and facts.attributes[name] is not expected
    ]
    if facts.generated_inside is False:
        wrong.append("the key was made elsewhere and imported")
    if unsaid or facts.generated_inside is None:
        return wrong, [f"the token does not say {', '.join(unsaid) or 'origin'}"]
    return wrong, []


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


def _wrong_in_kms(kms: KmsKey) -> tuple[list[str], list[str]]:
    """What is wrong with a key in AWS KMS, and what it does not say."""
    wrong, unsaid = [], []
    if kms.origin == "EXTERNAL":
        wrong.append("the key's material was made elsewhere and imported (Origin EXTERNAL)")
    elif kms.origin == "EXTERNAL_KEY_STORE":
        unsaid.append(
            f"the key's material is in the external key store {kms.custom_key_store}, of whose "
            "custody AWS KMS says nothing"
        )
    elif kms.origin not in _MADE_INSIDE:
        unsaid.append(f"AWS KMS says of the key's origin: {kms.origin}")
    if kms.key_manager != "CUSTOMER":
        wrong.append(f"the key is managed by {kms.key_manager}, expected CUSTOMER")
    if kms.policy is not None:
        try:
            open_to_all = statements_for_everybody(kms.policy)
        except ValueError:
            unsaid.append("the key policy is no policy document")
        else:
            wrong += [f"the key policy lets everybody use the key: {each}" for each in open_to_all]
    return wrong, unsaid


def _kept_in_kms(kms: KmsKey, fidelity: Fidelity) -> str:
    where = "its hardware security modules"
    if kms.custom_key_store is not None:
        where = f"the CloudHSM cluster of the custom key store {kms.custom_key_store}"
    if fidelity is Fidelity.LIVE:
        return f"AWS KMS made it in {where}"
    return f"{kms.endpoint} says that it made it in {where}, and is not AWS KMS"


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


@contextmanager
def _kms_key_twin(folder: Path, inject: bool, **change: str) -> Iterator[Twin]:
    """A key in a stand-in for AWS KMS, with what it says of it changed or not."""
    from assay.controls.twins.keys import KmsTwin
    from assay.controls.twins.programme import twin_programme

    service = KmsTwin(**(change if inject else {}))
    with Context(folder, twin_programme(), environment={}, key_service=service) as context:
        yield Twin(Key(id="kek", uri=service.uri, purpose="encryption"), context)


@contextmanager
def _transit_key_twin(change: str, folder: Path, inject: bool) -> Iterator[Twin]:
    """A key in a stand-in for Vault, with one of its properties changed or not."""
    from assay.controls.twins.keys import TransitTwin
    from assay.controls.twins.programme import twin_programme

    service = TransitTwin(change if inject else None)
    with Context(folder, twin_programme(), environment={}, key_service=service) as context:
        yield Twin(Key(id="kek", uri=service.uri, purpose="encryption"), context)
