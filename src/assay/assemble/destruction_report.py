"""A certificate of a destruction in words.

Example:
    >>> certificate_text(certificate, "Metal").splitlines()[0]       # doctest: +SKIP
    '# Certificate of destruction'
"""

from __future__ import annotations

from assay.evidence import Certificate, DestroyedKeys, Reading, Storage


def certificate_text(certificate: Certificate, organisation: str) -> str:
    """What a certificate says, as Markdown; the JSON beside it is what proves it.

    Args:
        certificate: verified.
        organisation: who destroyed.
    """
    request, done = certificate.request, certificate.completed
    approvers = " and ".join(one.name for one in certificate.approved_by)
    lines = [
        "# Certificate of destruction",
        "",
        f"{organisation} destroyed every data key of the {request.kind} `{request.owner}`. What "
        "was sealed under them can be read by nobody, wherever a copy of it is.",
        "",
        "| | |",
        "|---|---|",
        f"| destruction | `{request.destruction}` |",
        f"| reason | {request.reason} |",
        f"| requested | by {certificate.requested_by.name}, {request.requested_at} |",
        f"| approved | by {approvers} |",
        f"| ordered | {certificate.ordered.at}, statement {certificate.ordered_index} of "
        f"{request.log} |",
        f"| destroyed | {done.destroyed_at} |",
        f"| proven | {done.at}, statement {certificate.completed_index} |",
        "",
        "## What was destroyed",
        "",
        *(_keys(each, "") for each in certificate.ordered.keys),
        *(_keys(each, ", made after the request") for each in done.also),
        "",
        "## What was tried afterwards",
        "",
        *(_reading(each) for each in done.readings),
        "",
        "## What may remain",
        "",
        *(line for each in done.storage for line in _storage(each)),
        f"- {_backups(done.backups_until)}",
        "",
        "Verify it with `assay keys shred verify certificate.json --key LOG-KEY`.",
    ]
    return "\n".join(lines) + "\n"


def _keys(keys: DestroyedKeys, more: str) -> str:
    numbers = ", ".join(sorted(keys.versions, key=int))
    return f"- {keys.table}: {keys.key_class}, version {numbers} ({', '.join(keys.ids)}){more}"


def _reading(reading: Reading) -> str:
    what = f"- {reading.place}: {reading.kind}"
    if not reading.found:
        return f"{what}: {reading.untried or 'none there'}"
    if not reading.attempted:
        return f"{what}: {reading.found} found, none tried: {reading.untried}"
    errors = ", ".join(f"{name} {count} times" for name, count in sorted(reading.refused.items()))
    return f"{what}: {reading.attempted} of {reading.found} tried, all refused ({errors})"


def _storage(storage: Storage) -> list[str]:
    searched = (
        f"- {storage.table}: {storage.traced} wrapped keys had been found in its raw files; in "
        f"{storage.files} files ({storage.bytes_read} bytes) none is found any more"
        if storage.traced
        else f"- {storage.table}: raw files were not searched"
    )
    unsearched = [f"- {storage.table}: {storage.unsearched}"] if storage.unsearched else []
    return [searched, *unsearched, *(f"- {storage.table}: {each}" for each in storage.remains)]


def _backups(until: str) -> str:
    if not until:
        return "Backups of the key tables: for how long they are kept is not declared."
    return (
        f"Backups of the key tables hold wrapped keys until {until} at the latest. A key from "
        "there is destroyed again when it is restored (`assay keys replay`)."
    )
