"""Uploads: files that are sealed while they arrive and opened while they leave.

A file is announced first, with its name in the body, so that names stay out of URLs and logs. Its
content follows by PUT, streamed: plaintext is never on the disk, not even for a moment. Each
content has an object key of its own, so a replacement is wholly there or not there:

1. The content is sealed into ``incoming/``, flushed to the disk, and moved into the bucket.
2. The row is pointed at the new object, in one transaction.
3. The old object is deleted.

Whatever dies in between leaves at most a sealed object that no row points at; the server removes
such leftovers when it starts.

Example:
    >>> bucket_path("tenant-1", "0f3a")
    'tenant-1/0f3a'
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from urllib.parse import quote
from uuid import UUID, uuid4

import anyio.from_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.core import flush_directory
from assay.database import open_engine
from assay.encryption import open_object, seal_object
from metal import audit
from metal.access import Caller, SettingsOf, StoresOf, TenantCaller
from metal.fields import Line, Strict
from metal.guards import body_too_large
from metal.models import Tenant, Upload
from metal.problems import not_found
from metal.settings import Settings
from metal.stores import Stores

BUCKET = "uploads"
"""The bucket's name, to which its objects are bound."""

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


class UploadIn(Strict):
    """A file that is going to be uploaded."""

    file_name: Line


class UploadOut(BaseModel):
    """A file, as its tenant sees it; without a size its content is still to come."""

    id: UUID
    file_name: str
    size_bytes: int | None
    created_at: datetime


def bucket_path(tenant_id: str, object_key: str) -> str:
    """Where an object is, under the bucket's folder."""
    return f"{tenant_id}/{object_key}"


def sealed_objects(environment: Mapping[str, str]) -> Iterable[tuple[str, str, str, str]]:
    """What the database believes to be in the bucket: the programme names this function.

    Args:
        environment: as in `metal.settings`.

    Returns:
        owner, bucket, object key and path under the bucket's folder of every object.
    """
    engine = open_engine(Settings.from_environment(environment).database_url)
    try:
        query = select(Upload.tenant_id, Upload.object_key).where(Upload.object_key.is_not(None))
        with engine.connect() as connection:
            rows = connection.execute(query.order_by(Upload.id)).all()
    finally:
        engine.dispose()
    return [(tenant, BUCKET, key, bucket_path(tenant, key)) for tenant, key in rows if key]


def remove_leftovers(stores: Stores) -> int:
    """Remove sealed files that no row points at; returns how many there were.

    Folders of tenants whom the database does not know are left alone: they are not ours to judge.
    Call it only while nobody uploads: it cannot tell a leftover from an object on its way.
    """
    with stores.sessions() as session:
        tenants = session.scalars(select(Tenant.id)).all()
        query = select(Upload.tenant_id, Upload.object_key).where(Upload.object_key.is_not(None))
        known = {(tenant, key) for tenant, key in session.execute(query)}
    leftovers = [path for path in stores.incoming.iterdir() if path.is_file()]
    for tenant in tenants:
        folder = stores.bucket / tenant
        if folder.is_dir():
            leftovers += [path for path in folder.iterdir() if (tenant, path.name) not in known]
    for path in leftovers:
        path.unlink()
    return len(leftovers)


class _Arriving(io.RawIOBase):
    """A request's body as a file, for code that runs in a worker thread.

    Attributes:
        taken: how many bytes were read.
    """

    def __init__(self, request: Request, limit_bytes: int) -> None:
        self._pieces: AsyncIterator[bytes] = request.stream().__aiter__()
        self._rest = b""
        self._limit = limit_bytes
        self.taken = 0

    def readable(self) -> bool:
        """It can be read, once."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read what is there, waiting for more when nothing is."""
        view = memoryview(buffer)  # type: ignore[arg-type] # typeshed names no buffer type here
        while not self._rest:
            try:
                self._rest = anyio.from_thread.run(self._next)
            except StopAsyncIteration:
                return 0
            self.taken += len(self._rest)
            if self.taken > self._limit:
                raise body_too_large(self._limit)
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    async def _next(self) -> bytes:
        return await anext(self._pieces)


def _shown(upload: Upload) -> UploadOut:
    return UploadOut(
        id=upload.id,
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        created_at=upload.created_at,
    )


def _own_upload(
    session: Session, caller: Caller, upload_id: UUID, *, to_change: bool = False
) -> Upload:
    query = select(Upload).where(Upload.id == upload_id, Upload.tenant_id == caller.tenant_id)
    found: Upload | None = session.scalar(query.with_for_update() if to_change else query)
    if found is None:
        raise not_found("upload")
    return found


@router.post("", status_code=201)
def create_upload(body: UploadIn, stores: StoresOf, caller: TenantCaller) -> UploadOut:
    """Announce a file; its content follows by PUT."""
    with stores.sessions.begin() as session:
        upload = Upload(id=uuid4(), tenant_id=caller.tenant_id, file_name=body.file_name)
        session.add(upload)
        audit.record(session, caller.tenant_id, caller.actor, "upload.create", upload.id)
        session.flush()
        return _shown(upload)


@router.get("")
def list_uploads(stores: StoresOf, caller: TenantCaller) -> list[UploadOut]:
    """All files of the tenant, the oldest first."""
    query = select(Upload).where(Upload.tenant_id == caller.tenant_id)
    with stores.sessions() as session:
        ordered = session.scalars(query.order_by(Upload.created_at, Upload.id))
        return [_shown(upload) for upload in ordered]


@router.put("/{upload_id}")
def put_upload(
    upload_id: UUID,
    request: Request,
    stores: StoresOf,
    settings: SettingsOf,
    caller: TenantCaller,
) -> UploadOut:
    """Store a file's content, or replace it."""
    with stores.sessions() as session:
        _own_upload(session, caller, upload_id)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > settings.upload_limit_bytes:
        raise body_too_large(settings.upload_limit_bytes)
    arriving = _Arriving(request, settings.upload_limit_bytes)
    object_key = _store(stores, caller.tenant_id, arriving)
    try:
        with stores.sessions.begin() as session:
            upload = _own_upload(session, caller, upload_id, to_change=True)
            replaced = upload.object_key
            upload.object_key, upload.size_bytes = object_key, arriving.taken
            audit.record(session, caller.tenant_id, caller.actor, "upload.store", upload_id)
            session.flush()
            shown = _shown(upload)
    except BaseException:
        _discard(stores, caller.tenant_id, object_key)
        raise
    _discard(stores, caller.tenant_id, replaced)
    return shown


def _store(stores: Stores, tenant_id: str, arriving: _Arriving) -> str:
    """Seal what arrives into a new object of the bucket; returns its key."""
    object_key = uuid4().hex
    incoming = stores.incoming / object_key
    target = stores.bucket / bucket_path(tenant_id, object_key)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            source = io.BufferedReader(arriving)
            seal_object(
                stores.keyring, source, file, owner=tenant_id, bucket=BUCKET, key=object_key
            )
            file.flush()
            os.fsync(file.fileno())
        incoming.rename(target)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise
    flush_directory(target.parent)
    return object_key


def _discard(stores: Stores, tenant_id: str, object_key: str | None) -> None:
    if object_key is not None:
        (stores.bucket / bucket_path(tenant_id, object_key)).unlink(missing_ok=True)


@router.get("/{upload_id}")
def get_upload(upload_id: UUID, stores: StoresOf, caller: TenantCaller) -> StreamingResponse:
    """A file's content, opened piece by piece."""
    with stores.sessions.begin() as session:
        upload = _own_upload(session, caller, upload_id)
        if upload.object_key is None:
            raise HTTPException(409, "expected a file with content, found one that was announced")
        audit.record(session, caller.tenant_id, caller.actor, "upload.read", upload_id)
        name, size, object_key = upload.file_name, upload.size_bytes, upload.object_key
    pieces = _open(stores, caller.tenant_id, object_key)
    # The first piece is opened before the answer begins, so that an object that does not open is
    # an error and not an empty file. One that fails later cuts the answer off.
    first = next(pieces, b"")
    headers = {"Content-Length": str(size), "Content-Disposition": _disposition(name)}
    return StreamingResponse(
        chain([first], pieces), media_type="application/octet-stream", headers=headers
    )


def _open(stores: Stores, tenant_id: str, object_key: str) -> Iterator[bytes]:
    with (stores.bucket / bucket_path(tenant_id, object_key)).open("rb") as file:
        yield from open_object(stores.keyring, file, owner=tenant_id, bucket=BUCKET, key=object_key)


def _disposition(file_name: str) -> str:
    """The Content-Disposition header (RFC 6266) with a name in any script (RFC 8187)."""
    return f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"


@router.delete("/{upload_id}", status_code=204)
def delete_upload(upload_id: UUID, stores: StoresOf, caller: TenantCaller) -> None:
    """Delete a file and its content."""
    with stores.sessions.begin() as session:
        upload = _own_upload(session, caller, upload_id, to_change=True)
        object_key = upload.object_key
        session.delete(upload)
        audit.record(session, caller.tenant_id, caller.actor, "upload.delete", upload_id)
    _discard(stores, caller.tenant_id, object_key)
