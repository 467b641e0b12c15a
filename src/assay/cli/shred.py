"""``assay keys shred``: an owner's data keys are destroyed, by two people, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.run import AsJson, Programme
from assay.cli.screen import (
    BROKEN,
    COULD_NOT_TELL,
    KEPT,
    out,
    print_json,
    report_refusal,
    shown_progress,
)
from assay.core import WrongInputError, from_rfc3339

if TYPE_CHECKING:
    from assay.assemble import DestructionFolder, Owner, Platform
    from assay.evidence import Certificate, DestructionLedger, DestructionRequest

app = typer.Typer(invoke_without_command=True)

Subject = Annotated[
    str | None, typer.Option("--subject", help="The data subject.", metavar="OWNER")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant.", metavar="OWNER")]
Reason = Annotated[
    str | None,
    typer.Option("--reason", help="Why; it enters the log and names nobody.", metavar="TEXT"),
]
PersonKey = Annotated[
    str, typer.Option("--key", help="The URI of your own signing key.", metavar="URI")
]
RequesterKey = Annotated[
    str | None,
    typer.Option("--key", help="The URI of your own signing key, to request.", metavar="URI"),
]
BinaryLogs = Annotated[
    bool,
    typer.Option(
        "--purge-binary-logs", help="MariaDB: delete the server's older binary logs as well."
    ),
]
Which = Annotated[
    str | None,
    typer.Argument(help="The id of a destruction; not needed when only one waits.", metavar="ID"),
]
Typed = Annotated[
    str | None,
    typer.Option("--confirm", help="The owner, typed here instead of when asked.", metavar="OWNER"),
]
PersonName = Annotated[str, typer.Argument(help="The person's name.", metavar="NAME")]
Create = Annotated[bool, typer.Option("--create", help="Make the key first.")]
CertificateFile = Annotated[Path, typer.Argument(help="certificate.json", metavar="CERTIFICATE")]
LogKey = Annotated[
    str,
    typer.Option("--key", help="The log's verifier key, or a file that holds it.", metavar="KEY"),
]
BundleFile = Annotated[
    Path | None,
    typer.Option("--bundle", help="A bundle that must hold both statements.", metavar="BUNDLE"),
]


@app.callback(invoke_without_command=True)
def shred(  # noqa: PLR0913, PLR0917 - each is an option with a name
    context: typer.Context,
    subject: Subject = None,
    tenant: Tenant = None,
    reason: Reason = None,
    key: RequesterKey = None,
    programme: Programme = Path("assay.yaml"),
    purge_binary_logs: BinaryLogs = False,
    as_json: AsJson = False,
) -> int | None:
    """Destroy every data key of a tenant or data subject.

    With --reason and --key it is requested. Two people approve it (`assay keys shred approve`).
    The same command without them then destroys, tries to read, and writes the certificate; when it
    was stopped, it goes on.

    Exit code: 0 destroyed, and nothing can be read; 1 something can still be read, or a copy was
    found: not complete; 2 refused, nothing was changed; 3 it waits for approval, or could not go
    on.
    """
    if context.invoked_subcommand is not None:
        return None
    from assay import assemble

    owner = _owner(subject, tenant)
    with (
        shown_progress("Destroying", as_json=as_json) as progress,
        assemble.open_platform(programme, progress=progress) as platform,
    ):
        if reason is not None or key is not None:
            if reason is None or key is None:
                raise WrongInputError("expected --reason and --key together, to request")
            folder = assemble.request_destruction(platform, owner, reason, key)
            return _show_waiting(platform, folder, as_json=as_json)
        found = assemble.folder_of(platform, owner)
        if found is None:
            raise WrongInputError(
                f"expected a destruction of this {owner.kind} that was requested, found none; "
                "request it with --reason TEXT --key URI"
            )
        if _waits(platform, found):
            return _show_waiting(platform, found, as_json=as_json)
        try:
            certificate = assemble.shred(platform, found, binary_logs=purge_binary_logs)
        except (assemble.CopiesRemainError, assemble.StillReadableError) as exc:
            return _show_incomplete(found.id, exc, as_json=as_json)
    return _show_certificate(certificate, found.path, as_json=as_json)


@app.command("approve")
def approve(
    key: PersonKey,
    destruction: Which = None,
    confirm: Typed = None,
    programme: Programme = Path("assay.yaml"),
    as_json: AsJson = False,
) -> int:
    """Approve a destruction with your own key, after being shown what will be destroyed.

    Exit code: 0 approved; 2 refused.
    """
    from assay import assemble

    with assemble.open_platform(programme) as platform:
        folder = _waiting(platform, destruction)
        request = folder.request
        if not as_json:
            _print_request(request, platform.context.clock.now())
        if confirm is None:
            if as_json:
                raise WrongInputError("expected --confirm OWNER with --json, found none")
            confirm = typer.prompt(f"Type the {request.kind} to approve")
        folder = assemble.approve_destruction(platform, folder, key, typed=confirm)
        names = assemble.approvals(folder)
    if as_json:
        print_json({"destruction": folder.id, "approved_by": list(names), "exit_code": KEPT})
    else:
        out.print(f"{folder.id}: approved by {', '.join(names)}")
    return KEPT


@app.command("status")
def status(programme: Programme = Path("assay.yaml"), as_json: AsJson = False) -> int:
    """List the destructions that have not ended.

    Exit code: 0 there is none; 1 one was begun and not completed; 3 one waits for approval.
    """
    from assay import assemble

    with assemble.open_platform(programme) as platform:
        ledger = assemble.ledger_of(platform)
        folders = assemble.pending(platform)
        listed = [
            {
                "destruction": folder.id,
                "kind": folder.request.kind,
                "owner": folder.request.owner,
                "ordered": folder.id in ledger.destructions,
                "requested_at": folder.request.requested_at,
                "expires_at": folder.request.expires_at,
                "approved_by": list(assemble.approvals(folder)),
            }
            for folder in folders
        ]
    lost = set(ledger.unfinished) - {folder.id for folder in folders}
    code = BROKEN if ledger.unfinished else COULD_NOT_TELL if listed else KEPT
    if as_json:
        print_json({"destructions": listed, "without_request": sorted(lost), "exit_code": code})
        return code
    for each in listed:
        state = "begun, not completed" if each["ordered"] else f"expires {each['expires_at']}"
        people = ", ".join(each["approved_by"]) or "nobody yet"  # type: ignore[arg-type]  # names
        out.print(
            f"{each['destruction']}: {each['kind']} {each['owner']}, approved by {people}; {state}",
            markup=False,
            soft_wrap=True,
        )
    for name in sorted(lost):
        out.print(f"{name}: begun, not completed, and its request is missing", soft_wrap=True)
    _print_counts(ledger)
    return code


@app.command("withdraw")
def withdraw(
    destruction: Which = None, programme: Programme = Path("assay.yaml"), as_json: AsJson = False
) -> int:
    """Take back a request that was not begun."""
    from assay import assemble

    with assemble.open_platform(programme) as platform:
        folder = _waiting(platform, destruction)
        assemble.withdraw_destruction(platform, folder)
    if as_json:
        print_json({"destruction": folder.id, "withdrawn": True, "exit_code": KEPT})
    else:
        out.print(f"{folder.id}: withdrawn")
    return KEPT


@app.command("approver")
def approver(
    name: PersonName, key: PersonKey, create: Create = False, as_json: AsJson = False
) -> int:
    """Print the line of a person for the programme's list of approvers."""
    from assay import assemble

    line = assemble.approver_line(key, name, Path.cwd(), create=create)
    if as_json:
        print_json({"name": name, "approver": line, "exit_code": KEPT})
    else:
        out.print(line, markup=False, soft_wrap=True)
    return KEPT


@app.command("verify")
def verify(
    certificate: CertificateFile, key: LogKey, bundle: BundleFile = None, as_json: AsJson = False
) -> int:
    """Verify a certificate of destruction, without network, keys or trust in who made it.

    Exit code: 0 it verifies; 1 it is refused; 2 the key or a file name is wrong.
    """
    from assay import assemble
    from assay.evidence import EvidenceError
    from assay.ledger import LedgerError

    try:
        found = assemble.verify_destruction(certificate, key, bundle)
    except (EvidenceError, LedgerError) as exc:
        return report_refusal(exc, as_json=as_json)
    return _show_certificate(found, None, as_json=as_json)


def replay(programme: Programme = Path("assay.yaml"), as_json: AsJson = False) -> int:
    """After a backup was restored: destroy again every key that the log says is destroyed.

    Exit code: 0 no destroyed key stands in any key table; 1 a destruction is not complete.
    """
    from assay import assemble

    with assemble.open_platform(programme) as platform:
        done = assemble.replay_destructions(platform)
    code = BROKEN if done.unfinished else KEPT
    if as_json:
        document = {name: getattr(done, name) for name in done.__dataclass_fields__}
        print_json({**document, "exit_code": code})
        return code
    out.print(
        f"{done.destructions} destructions with {done.keys} keys, in {len(done.tables)} key tables "
        f"({', '.join(done.tables)}): {done.came_back} keys stood there again, and are destroyed",
        soft_wrap=True,
    )
    for name in done.unknown_owners:
        out.print(
            f"{name}: its keys stay destroyed, but whose they were is not known here, so new keys "
            "can be made for that owner",
            soft_wrap=True,
        )
    for name in done.unfinished:
        out.print(f"{name}: begun and not completed; finish it (`assay keys shred status`)")
    return code


def _owner(subject: str | None, tenant: str | None) -> Owner:
    from assay import assemble

    if (subject is None) == (tenant is None):
        raise WrongInputError("expected one of --subject and --tenant, found both or none")
    if subject is not None:
        return assemble.Owner("subject", subject)
    return assemble.Owner("tenant", tenant or "")


def _waiting(platform: Platform, destruction: str | None) -> DestructionFolder:
    """The destruction that is meant: by its id, or the only one that has not ended."""
    from assay import assemble

    if destruction is not None:
        return assemble.find_folder(platform, destruction)
    found = list(assemble.pending(platform))
    if len(found) != 1:
        raise WrongInputError(
            f"expected the id of one of {len(found)} destructions that wait; `assay keys shred "
            "status` lists them"
        )
    return found[0]


def _waits(platform: Platform, folder: DestructionFolder) -> bool:
    """Whether approvals are missing of a destruction that was not begun."""
    from assay import assemble
    from assay.evidence import APPROVALS

    if folder.id in assemble.ledger_of(platform).destructions:
        return False
    return len(assemble.approvals(folder)) < APPROVALS


def _show_waiting(platform: Platform, folder: DestructionFolder, *, as_json: bool) -> int:
    from assay import assemble

    names = assemble.approvals(folder)
    if as_json:
        document = {
            "destruction": folder.id,
            "state": "waits for approval",
            "approved_by": list(names),
            "expires_at": folder.request.expires_at,
        }
        print_json({**document, "exit_code": COULD_NOT_TELL})
        return COULD_NOT_TELL
    _print_request(folder.request, platform.context.clock.now())
    out.print(
        f"Nothing is destroyed yet. Approved by {', '.join(names) or 'nobody'}; two people must "
        f"approve before {folder.request.expires_at}:",
        soft_wrap=True,
    )
    out.print(f"  assay keys shred approve {folder.id} --key URI", soft_wrap=True)
    return COULD_NOT_TELL


def _show_incomplete(destruction: str, exc: Exception, *, as_json: bool) -> int:
    if as_json:
        error = {"message": str(exc), "type": type(exc).__name__}
        print_json({"destruction": destruction, "error": error, "exit_code": BROKEN})
    else:
        out.print(f"NOT COMPLETE: {exc}", markup=False, soft_wrap=True)
    return BROKEN


def _show_certificate(certificate: Certificate, folder: Path | None, *, as_json: bool) -> int:
    from assay import assemble

    request, done = certificate.request, certificate.completed
    ids = [key_id for each in (*certificate.ordered.keys, *done.also) for key_id in each.ids]
    attempted = sum(each.attempted for each in done.readings)
    files = None if folder is None else assemble.certificate_path(folder)
    if as_json:
        document = {
            "destruction": request.destruction,
            "state": "destroyed",
            "kind": request.kind,
            "owner": request.owner,
            "keys": ids,
            "requested_by": certificate.requested_by.name,
            "approved_by": [one.name for one in certificate.approved_by],
            "ordered": {"at": certificate.ordered.at, "statement": certificate.ordered_index},
            "completed": {"at": done.at, "statement": certificate.completed_index},
            "attempted": attempted,
            "backups_until": done.backups_until or None,
            "certificate": None if files is None else str(files[0]),
        }
        print_json({**document, "exit_code": KEPT})
        return KEPT
    people = " and ".join(one.name for one in certificate.approved_by)
    out.print(
        f"{request.kind} {request.owner}: {len(ids)} data keys destroyed at {done.destroyed_at}, "
        f"requested by {certificate.requested_by.name}, approved by {people}",
        markup=False,
        soft_wrap=True,
    )
    out.print(f"{attempted} attempts to read, all refused; statements {certificate.ordered_index} "
              f"and {certificate.completed_index} of {request.log}", soft_wrap=True)  # fmt: skip
    for each in done.storage:
        for sentence in filter(None, (each.unsearched, *each.remains)):
            out.print(f"{each.table}: {sentence}", markup=False, soft_wrap=True)
    until = done.backups_until or "it is not declared how long"
    out.print(f"backups of the key tables may hold wrapped keys until: {until}", soft_wrap=True)
    if files is not None:
        out.print(f"certificate: {files[0]} and {files[1].name}", soft_wrap=True)
    return KEPT


def _print_request(request: DestructionRequest, now: datetime) -> None:
    out.print(f"Destruction {request.destruction}", markup=False)
    out.print(f"  {request.kind}: {request.owner}", markup=False, soft_wrap=True)
    out.print(f"  reason: {request.reason}", markup=False, soft_wrap=True)
    out.print(f"  requested: {request.requested_at}, expires {request.expires_at}", soft_wrap=True)
    for each in request.keys:
        ages = [(now - from_rfc3339(key.created_at)).days for key in each.versions.values()]
        out.print(
            f"  {each.table}: {each.key_class} keys, version {_numbers(list(each.versions))}, "
            f"{_days(ages)} old",
            soft_wrap=True,
        )
    for held in request.holds:
        out.print(f"  never readable again: {held.count} {held.kind} of {held.place}")


def _numbers(versions: Sequence[str]) -> str:
    return ", ".join(sorted(versions, key=int))


def _days(ages: Sequence[int]) -> str:
    low, high = min(ages), max(ages)
    return f"{low} days" if low == high else f"{low} to {high} days"


def _print_counts(ledger: DestructionLedger) -> None:
    ended = len(ledger.destructions) - len(ledger.unfinished)
    out.print(f"{ended} destructions completed, {len(ledger.unfinished)} begun and not completed")
