"""``assay kms``: the key management service with its database and its token.

Example:
    >>> with open_administration(place) as administration:              # doctest: +SKIP
    ...     administration.add_principal("orders")
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.core import Fidelity, WrongInputError, forbid_core_dumps

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.kms import Administration, Pkcs11Token


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where a key management service has its state and its keys.

    Attributes:
        state: a database URL, or ``env:NAME`` for one that holds a password.
        token: ``pkcs11:token=LABEL?…``, without a key.
        directory: where relative paths start.
    """

    state: str
    token: str
    directory: Path


def initialise_key_server(place: ServicePlace, *, account: str, region: str) -> Fidelity:
    """Make the state of a new service, and the key of the token that seals access keys.

    Returns:
        How real the token is.

    Raises:
        KmsError: there is a state already, or account or Region are malformed.
        KeysError: the token cannot be opened.
        DatabaseError: the database cannot be.
    """
    from assay.kms import initialise

    with _opened(place, must_exist=False) as (engine, token):
        initialise(engine, token, account=account, region=region)
        return token.fidelity


@contextmanager
def open_administration(place: ServicePlace) -> Iterator[Administration]:
    """The principals and the audit trail of a service, beside it or without it.

    Raises:
        KmsError: there is no state.
        KeysError: the token cannot be opened.
        DatabaseError: the database cannot be.
    """
    from assay.kms import Administration, Store

    with _opened(place) as (engine, token):
        yield Administration(Store(engine, f"admin-{uuid.uuid4().hex[:24]}"), token)


def serve_keys(  # noqa: PLR0913 - an address, a certificate, and who is told
    place: ServicePlace,
    *,
    host: str,
    port: int,
    certificate: Path,
    private_key: Path,
    ready: Callable[[str, int, Fidelity], None],
) -> None:
    """Serve until a signal ends it; what has come in by then is answered.

    Core dumps of the process are forbidden before it reads a PIN or a private key.

    Raises:
        CoreDumpError: the kernel does not forbid them.
        KmsError: there is no state, or nobody can listen there.
        KeysError: the token cannot be opened.
        DatabaseError: the database cannot be.
    """
    from assay.kms import KmsApp, Service, Store, server_context

    try:
        from assay.kms.uvicorn import serve
    except ModuleNotFoundError as exc:
        raise WrongInputError(
            f"expected the package {exc.name} to serve, found none; install assay[kms]"
        ) from exc

    forbid_core_dumps()
    tls = server_context(certificate, private_key)
    with (
        _opened(place) as (engine, token),
        closing(Service(Store(engine, str(uuid.uuid4())), token)) as service,
    ):
        asyncio.run(
            serve(
                KmsApp(service.answer, is_healthy=service.is_healthy),
                host=host,
                port=port,
                tls=tls,
                ready=lambda address, found: ready(address, found, token.fidelity),
            )
        )


@contextmanager
def _opened(
    place: ServicePlace, *, must_exist: bool = True
) -> Iterator[tuple[Engine, Pkcs11Token]]:
    from assay.core import is_reference, resolve_reference
    from assay.database import open_engine, sqlite_file
    from assay.keys import open_token
    from assay.kms import Pkcs11Token

    url = place.state
    if is_reference(url):
        url = resolve_reference(url, place.directory, os.environ)
    engine = open_engine(url, must_exist=must_exist)
    if engine.dialect.name not in {"sqlite", "postgresql"}:
        raise WrongInputError("expected a database URL of SQLite or PostgreSQL for --state")
    if engine.dialect.name == "sqlite" and sqlite_file(engine) is None:
        raise WrongInputError("expected an SQLite file for --state, found a database in memory")
    try:
        with closing(
            Pkcs11Token(open_token(place.token, directory=place.directory, environment=os.environ))
        ) as token:
            yield engine, token
    finally:
        engine.dispose()
