"""What a check may use while it collects: files, keys, databases, time, and the programme.

A `Context` opens each key service and each database once, and closes them all at its end. The
rooms that it opens are imported when they are first needed, so that judging recorded facts needs
none of them.

Example:
    >>> with Context(Path("."), programme, environment=os.environ) as context:  # doctest: +SKIP
    ...     context.keyring(datastore)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from assay.controls.asset import Bucket, Datastore, Key
from assay.controls.errors import CollectError
from assay.controls.programme import Programme
from assay.core import Clock, Progress, SilentProgress, SystemClock, resolve_reference, tools_home
from assay.ledger import FileLog

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.database import SqlDataKeyTable
    from assay.keys import Custody, Keyring, KeyService, KeySigner


class Context:
    """The surroundings of one run or one twin.

    Attributes:
        directory: the programme file's folder; relative paths start there.
        programme: the programme.
        environment: variables that references may name.
        clock: where the time comes from.
        progress: told what goes on.
        tools: the folder of the tool environments.
    """

    def __init__(  # noqa: PLR0913 - each surrounding is an argument on purpose
        self,
        directory: Path,
        programme: Programme,
        *,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        progress: Progress | None = None,
        tools: Path | None = None,
        key_service: KeyService | None = None,
    ) -> None:
        self.directory = directory
        self.programme = programme
        self.environment = environment
        self.clock = clock or SystemClock()
        self.progress = progress or SilentProgress()
        self.tools = tools or tools_home()
        self._services: dict[str, KeyService] = {}
        self._engines: dict[str, Engine] = {}
        self._given_service = key_service
        self._log: FileLog | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Use it; its end closes what it opened."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close what it opened."""
        self._open.close()

    def value(self, text: str) -> str:
        """A field of the programme file, with an ``env:`` reference resolved.

        Raises:
            SecretReferenceError: the variable is not set.
        """
        if text.startswith("env:"):
            return resolve_reference(text, self.directory, self.environment)
        return text

    def path(self, text: str) -> Path:
        """A path of the programme file: ``file:`` is dropped, relative paths start beside it."""
        return self.directory / self.value(text).removeprefix("file:")

    def key_service(self) -> KeyService:
        """The programme's key service; it also opens what former KEKs wrapped."""
        from assay.keys import SuccessorKeyService

        service = self._given_service or self.opened_service(self.programme.keys)
        formers = [self.opened_service(uri) for uri in self.programme.former_keys]
        return SuccessorKeyService(service, formers) if formers else service

    def opened_service(self, text: str) -> KeyService:
        """A key service by the URI of its KEK, or a reference to it; opened once."""
        from assay.keys import open_key_service

        uri = self.value(text)
        if uri not in self._services:
            service = open_key_service(uri, directory=self.directory, environment=self.environment)
            self._open.callback(service.close)
            self._services[uri] = service
        return self._services[uri]

    def log_signer(self) -> str:
        """The URI of the log's signing key.

        Raises:
            KeyUriError: its scheme does not sign every statement.
        """
        from assay.keys import KeyUriError, longest_signed_bytes

        uri = self.value(self.programme.log.signer)
        longest = longest_signed_bytes(uri)
        if longest is not None:
            raise KeyUriError(
                "expected log.signer to name a key that signs statements of any length, found "
                f"{uri.partition(':')[0]}:, which signs at most {longest} bytes: the statement "
                "that begins a run names every check of every asset. Name a key on a PKCS#11 token "
                "or in the embedded key store; KEKs may stay where they are"
            )
        return uri

    def signer(self) -> KeySigner:
        """The log's signing key; opened anew, closed at the context's end.

        Raises:
            KeysError: it cannot be opened, or does not sign every statement.
        """
        from assay.keys import open_signer

        signer = open_signer(
            self.log_signer(), directory=self.directory, environment=self.environment
        )
        self._open.callback(signer.close)
        return signer

    def custody(self, key: Key) -> Custody:
        """Facts about a key, also of one that is kept so badly that it would not be opened."""
        from assay.keys import key_custody

        if self._given_service is not None:
            return self._given_service.custody()
        if key.purpose == "signing":
            return self.signer().custody()
        return key_custody(
            self.value(key.uri), directory=self.directory, environment=self.environment
        )

    def engine(self, url: str) -> Engine:
        """A database by its URL or reference; relative SQLite paths start at the programme."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        from assay.database import open_engine

        resolved = self.value(url)
        try:
            parsed = make_url(resolved)
        except ArgumentError as exc:
            raise CollectError(
                f"expected {url} to be an SQLAlchemy URL, found another text"
            ) from exc
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            parsed = parsed.set(database=str(self.directory / parsed.database))
        key = parsed.render_as_string(hide_password=False)
        if key not in self._engines:
            engine = open_engine(key, must_exist=True)
            self._open.callback(engine.dispose)
            self._engines[key] = engine
        return self._engines[key]

    def keyring(self, datastore: Datastore) -> Keyring:
        """The keyring that opens what a datastore holds."""
        from assay.keys import Keyring

        table, rotation = self.key_table(datastore), self.programme.key_rotation.policy()
        return Keyring(self.key_service(), table, clock=self.clock, rotation=rotation)

    def key_table(self, datastore: Datastore) -> SqlDataKeyTable:
        """The table of the wrapped data keys of a datastore."""
        from assay.database import SqlDataKeyTable

        return SqlDataKeyTable(self.engine(datastore.key_table or datastore.url))

    def log(self) -> FileLog:
        """The programme's log, to be read; it may not be there."""
        if self._log is None:
            log = self.programme.log
            self._log = FileLog(self.path(log.store) / "log", log.origin, self.signer())
        return self._log

    def datastore_of(self, bucket: Bucket) -> Datastore:
        """The datastore whose key table seals a bucket's objects."""
        for asset in self.programme.assets:
            if isinstance(asset, Datastore) and bucket.store in (None, asset.id):
                return asset
        raise CollectError(f"expected a datastore for the bucket {bucket.id}, found none")

    def load(self, name: str) -> object:
        """An object of the company's own code, by ``module:name``.

        The programme's folder is searched first, as if the programme were run there.

        Raises:
            CollectError: there is no such module or name, or importing it failed.
        """
        module_name, _, attribute = name.partition(":")
        folder = str(self.directory)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            return getattr(import_module(module_name), attribute)
        except Exception as exc:
            raise CollectError(
                f"expected to import {name} beside the programme file: {type(exc).__name__}"
            ) from exc
