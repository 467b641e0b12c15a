"""S3 buckets, by boto3 (``assay[aws]``): the store of a `assay.encryption.SealedBucket`.

What it needs to be allowed: ``s3:GetObject``, ``PutObject``, ``DeleteObject``, ``ListBucket`` and
``AbortMultipartUpload``, and no key of the server's.

Example:
    >>> import boto3
    >>> from assay.encryption import SealedBucket
    >>> from assay.encryption.boto3 import Boto3ObjectStore
    >>> store = Boto3ObjectStore(boto3.client("s3"), "company-uploads")     # doctest: +SKIP
    >>> bucket = SealedBucket(store, keyring, name="uploads")               # doctest: +SKIP
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "expected the package boto3, found none; install assay[aws]", name=exc.name
    ) from exc

from assay.encryption.errors import (
    BucketAccessError,
    BucketError,
    BucketServiceError,
    ObjectExistsError,
)
from assay.encryption.object_store import (
    MOST_PARTS,
    SMALLEST_PART_BYTES,
    StoredObject,
    StoredRange,
    missing_object,
    object_exists,
)
from assay.encryption.streams import read_exactly

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_READ_ATTEMPTS = 3


class Boto3ObjectStore:
    """A bucket as boto3 reaches it.

    Args:
        client: of the service ``s3``; how it connects, retries and signs is its configuration.
        bucket: the server's name of the bucket.
        probe_prefix: how the name of the object begins with which `honours_conditions` finds out
            whether the server obeys ``If-None-Match``.

    Attributes:
        smallest_part_bytes: 5 MiB.
        most_parts: 10,000.
    """

    smallest_part_bytes = SMALLEST_PART_BYTES
    most_parts = MOST_PARTS

    def __init__(self, client: Any, bucket: str, *, probe_prefix: str = ".assay-probe-") -> None:
        self._client = client
        self._bucket = bucket
        self._probe_prefix = probe_prefix
        self._honours_conditions: bool | None = None

    def read_range(self, key: str, start: int, length: int) -> StoredRange:
        """The bytes of a range.

        Raises:
            MissingObjectError: there is no such object.
            BucketServiceError: also when the server does not know ranges.
        """
        attempt = 1
        while True:
            try:
                return self._read_range(key, start, length)
            except _BrokenBody as exc:
                if attempt == _READ_ATTEMPTS:
                    raise BucketServiceError(
                        f"expected {length} bytes from {start} on, the connection broke "
                        f"{_READ_ATTEMPTS} times; try again later"
                    ) from exc
            attempt += 1

    def head(self, key: str) -> StoredObject:
        """Length, entity tag and moment.

        Raises:
            MissingObjectError: there is no such object.
        """
        with _named_errors("look at the object"):
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        return StoredObject(
            key, found["ContentLength"], found["ETag"].strip('"'), found["LastModified"]
        )

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose names begin with a prefix, a thousand to each request."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        with _named_errors("list the bucket"):
            for page in pages:
                for each in page.get("Contents", ()):
                    yield StoredObject(
                        each["Key"], each["Size"], each["ETag"].strip('"'), each["LastModified"]
                    )

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Store an object in one request.

        Raises:
            ObjectExistsError: ``if_absent``, and there is one.
        """
        with _named_errors("store the object"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, **_condition(if_absent=if_absent)
            )

    def delete(self, key: str) -> None:
        """Delete an object; on a bucket with versions, older ones stay."""
        with _named_errors("delete the object"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def honours_conditions(self) -> bool:
        """Whether the server obeys ``If-None-Match``: the second of two empty objects must fail."""
        if self._honours_conditions is None:
            self._honours_conditions = self._try_condition()
        return self._honours_conditions

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload."""
        with _named_errors("begin an upload"):
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=key)
        return str(begun["UploadId"])

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Store a part."""
        with _named_errors("store a part"):
            stored = self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )
        return str(stored["ETag"])

    def complete_upload(
        self, key: str, upload_id: str, entity_tags: Sequence[str], *, if_absent: bool = False
    ) -> None:
        """Give the parts their name.

        Raises:
            ObjectExistsError: ``if_absent``, and there is an object of this name.
        """
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(entity_tags, 1)]
        with _named_errors("complete the upload"):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                **_condition(if_absent=if_absent),
            )

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Drop an upload; one that is not there any more is as good."""
        try:
            with _named_errors("abort the upload"):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload_id
                )
        except BucketError as exc:
            if not (isinstance(exc.__cause__, ClientError) and _code(exc.__cause__) in _NO_UPLOAD):
                raise

    def _read_range(self, key: str, start: int, length: int) -> StoredRange:
        wanted = f"bytes={start}-{start + length - 1}"
        try:
            with _named_errors("read the object"):
                found = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)
        except BucketError as exc:
            if not (isinstance(exc.__cause__, ClientError) and _code(exc.__cause__) in _NO_RANGE):
                raise
            whole = self.head(key)  # the range begins behind the end, as each does when it is empty
            return StoredRange(b"", whole.stored_bytes, whole.entity_tag)
        with found["Body"] as body:
            place = _CONTENT_RANGE.fullmatch(found.get("ContentRange", ""))
            # Before the body is read: a server that gives more could fill the memory with it.
            if place is None or int(place[1]) != start or int(place[2]) >= start + length:
                raise BucketServiceError(
                    f"expected the range {wanted} of the object, found an answer without it; the "
                    "server, or a proxy before it, must know ranges"
                )
            expected = int(place[2]) - start + 1
            try:
                data = read_exactly(body, expected + 1)
            except BotoCoreError as exc:
                raise _BrokenBody from exc
        if len(data) != expected:
            raise _BrokenBody
        return StoredRange(data, int(place[3]), found["ETag"].strip('"'))

    def _try_condition(self) -> bool:
        probe = self._probe_prefix + secrets.token_hex(16)
        try:
            try:
                self.put(probe, b"", if_absent=True)
            except BucketServiceError as exc:
                if isinstance(exc.__cause__, ClientError) and _code(exc.__cause__) in _UNKNOWN:
                    return False
                raise
            try:
                self.put(probe, b"", if_absent=True)
            except ObjectExistsError:
                return True
            return False
        finally:
            self.delete(probe)


class _BrokenBody(Exception):  # noqa: N818 - never leaves this module
    """The connection ended before all bytes were read."""


_MISSING = {"NoSuchKey", "404", "NotFound"}
_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_NO_RANGE = {"InvalidRange", "416"}
_NO_UPLOAD = {"NoSuchUpload"}
_UNKNOWN = {"NotImplemented", "501"}
_REFUSED = {
    "403", "401", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidToken", "SignatureDoesNotMatch",
}  # fmt: skip


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    """Errors of botocore by the room's names; their texts may hold names, so they are not told."""
    try:
        yield
    except ClientError as exc:
        code = _code(exc)
        if code in _MISSING:
            raise missing_object() from exc
        if code in _TAKEN:
            raise object_exists() from exc
        if code in _REFUSED:
            raise BucketAccessError(
                f"expected to be allowed to {what}, the server answered {code}; check the "
                "credentials and what they permit"
            ) from exc
        raise BucketServiceError(f"expected to {what}, the server answered {code}") from exc
    except NoCredentialsError as exc:
        raise BucketAccessError(
            f"expected credentials to {what}, found none; configure the client"
        ) from exc
    except BotoCoreError as exc:
        raise BucketServiceError(
            f"expected to {what}, the client failed with {type(exc).__name__}; check address, "
            "certificate and network"
        ) from exc


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "an unknown error"))


def _condition(*, if_absent: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if if_absent else {}
