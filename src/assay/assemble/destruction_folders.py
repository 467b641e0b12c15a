"""The folder of each destruction beside the log: request, consents, certificate.

Request and certificate hold the owner, so only the user who runs Assay may read them. Nothing here
is trusted because it lies there: consents and certificates are verified.

Example:
    >>> [folder.id for folder in open_folders(platform)]             # doctest: +SKIP
    ['20260102T030405Z-0badcafe']
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from assay.assemble.platform import Platform, open_log
from assay.core import AssayError, WrongInputError, from_rfc3339, to_canonical_json
from assay.evidence import (
    CertificateError,
    ConsentError,
    DestructionLedger,
    DestructionRequest,
    SignedConsent,
    consent_role,
    read_ledger,
)
from assay.ledger import VerifierKey

REQUEST, CERTIFICATE = "request.json", "certificate.json"
TRACES, OWNER = "traces.json", "owner.json"
CONSENT_SUFFIX = ".consent.json"


class DestructionRefusedError(WrongInputError):
    """A destruction is not requested, approved or begun; nothing was changed."""


@dataclass(frozen=True)
class Owner:
    """Whose keys are to be destroyed.

    Attributes:
        kind: whether it is a data subject or a tenant.
        name: the owner, as the application names it when it seals.
    """

    kind: Literal["subject", "tenant"]
    name: str


@dataclass(frozen=True)
class DestructionFolder:
    """Where a destruction's request, consents and certificate are.

    Attributes:
        path: the folder; its name is the destruction's id.
        request: what was requested.
        consents: by whom; not yet verified.
    """

    path: Path
    request: DestructionRequest
    consents: tuple[SignedConsent, ...]

    @property
    def id(self) -> str:
        """The destruction's id."""
        return self.request.destruction


def ledger_of(platform: Platform) -> DestructionLedger:
    """Every destruction in the programme's log.

    Raises:
        AssayError: the log cannot be read.
    """
    log = platform.context.log()
    if not log.directory.is_dir():
        open_log(platform)
    return read_ledger(log)


def approvals(folder: DestructionFolder) -> tuple[str, ...]:
    """Names of the people who approved.

    Raises:
        DestructionRefusedError: a consent does not verify.
    """
    return tuple(sorted({person.name for person in who_consented(folder, "approve")}))


def open_folders(platform: Platform) -> Iterator[DestructionFolder]:
    """Every destruction of which there is a request, the oldest first.

    Raises:
        DestructionRefusedError: a file among them cannot be read.
    """
    root = root_of(platform)
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / REQUEST).is_file() or (folder / CERTIFICATE).is_file():
            yield read_folder(folder)


def find_folder(platform: Platform, name: str) -> DestructionFolder:
    """A destruction by its id, or by the path of its folder.

    Raises:
        DestructionRefusedError: there is none.
    """
    for path in (root_of(platform) / name, Path(name)):
        if (path / REQUEST).is_file() or (path / CERTIFICATE).is_file():
            return read_folder(path)
    raise DestructionRefusedError(
        f"expected the id of a destruction, or its folder, found {name!r}; "
        "`assay keys shred status` lists them"
    )


def folder_of(platform: Platform, owner: Owner) -> DestructionFolder | None:
    """The newest destruction of an owner that can still go on, or has ended; None without one.

    Raises:
        DestructionRefusedError: a file of a request cannot be read.
    """
    begun: set[str] | None = None
    for folder in reversed(list(open_folders(platform))):
        request = folder.request
        if (request.kind, request.owner) != (owner.kind, owner.name):
            continue
        if from_rfc3339(request.expires_at) > platform.context.clock.now():
            return folder
        begun = set(ledger_of(platform).destructions) if begun is None else begun
        if folder.id in begun:
            return folder
    return None


def read_folder(path: Path) -> DestructionFolder:
    """Read a destruction's folder.

    Raises:
        DestructionRefusedError: its files are not as they were written.
    """
    try:
        if (path / REQUEST).is_file():
            request = DestructionRequest.from_bytes((path / REQUEST).read_bytes())
        else:
            request = request_in((path / CERTIFICATE).read_bytes())
        consents = tuple(
            msgspec.json.decode(file.read_bytes(), type=SignedConsent)
            for file in sorted(path.glob(f"*{CONSENT_SUFFIX}"))
        )
    except (AssayError, OSError, ValueError) as exc:
        raise DestructionRefusedError(
            f"expected a request and consents in {path} as they were written, found others: {exc}"
        ) from exc
    if path.name != request.destruction:
        raise DestructionRefusedError(
            f"expected the request of destruction {path.name} in {path}, found another's"
        )
    return DestructionFolder(path, request, consents)


def request_in(certificate: bytes) -> DestructionRequest:
    """The request that a certificate holds; nothing is verified.

    Raises:
        CertificateError, RequestError: there is none.
    """
    try:
        return DestructionRequest.from_bytes(to_canonical_json(json.loads(certificate)["request"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise CertificateError(f"expected a certificate of a destruction: {exc}") from exc


def root_of(platform: Platform) -> Path:
    """The folder that holds those of all destructions."""
    return platform.store / "destructions"


def who_consented(folder: DestructionFolder, role: str) -> list[VerifierKey]:
    """The people who consented in a role.

    Raises:
        DestructionRefusedError: a consent does not verify.
    """
    request = folder.request
    about = (request.destruction, request.log, request.digest)
    try:
        return [
            VerifierKey.parse(consent.person)
            for consent in folder.consents
            if consent_role(consent, *about) == role
        ]
    except ConsentError as exc:
        raise DestructionRefusedError(str(exc)) from exc
