"""The client of S3: each answer of a server by its name, without a server."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, NoCredentialsError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from assay.encryption import (
    BucketAccessError,
    BucketServiceError,
    MissingObjectError,
    ObjectExistsError,
    StoredRange,
)
from assay.encryption.boto3 import Boto3ObjectStore

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """A store, and the answers that it will be given."""

    def __init__(self) -> None:
        client = boto3.client(
            "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
            config=Config(retries={"max_attempts": 0}),
        )  # fmt: skip
        self.stub = Stubber(client)
        self.stub.activate()
        self.store = Boto3ObjectStore(client, "bucket")

    def refuse(self, operation: str, code: str, status: int) -> None:
        self.stub.add_client_error(operation, code, http_status_code=status)

    def give(
        self, data: bytes, length: int | None = None, content_range: str | None = "ok"
    ) -> None:
        answer = {"Body": StreamingBody(io.BytesIO(data), length or len(data)), "ETag": '"t"'}
        if content_range:
            end = 4 + (length or len(data))
            answer["ContentRange"] = (
                f"bytes 5-{end}/100" if content_range == "ok" else content_range
            )
        self.stub.add_response(
            "get_object", answer, {"Bucket": "bucket", "Key": "a", "Range": "bytes=5-8"}
        )


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("NoSuchKey", 404, MissingObjectError),
        ("404", 404, MissingObjectError),
        ("PreconditionFailed", 412, ObjectExistsError),
        ("ConditionalRequestConflict", 409, ObjectExistsError),
        ("AccessDenied", 403, BucketAccessError),
        ("403", 403, BucketAccessError),
        ("ExpiredToken", 400, BucketAccessError),
        ("NoSuchBucket", 404, BucketServiceError),
        ("InternalError", 500, BucketServiceError),
        ("SlowDown", 503, BucketServiceError),
    ],
)
def test_each_answer_by_its_name(server: Server, code: str, status: int, error: Any) -> None:
    for operation, call in (
        ("put_object", lambda: server.store.put("a", b"")),
        ("head_object", lambda: server.store.head("a")),
        ("delete_object", lambda: server.store.delete("a")),
        ("list_objects_v2", lambda: list(server.store.list_objects(""))),
        ("get_object", lambda: server.store.read_range("a", 0, 1)),
        ("create_multipart_upload", lambda: server.store.begin_upload("a")),
        ("upload_part", lambda: server.store.put_part("a", "u", 1, b"")),
        ("complete_multipart_upload", lambda: server.store.complete_upload("a", "u", ["t"])),
        ("abort_multipart_upload", lambda: server.store.abort_upload("a", "u")),
    ):
        server.refuse(operation, code, status)
        with pytest.raises(error) as raised:
            call()
        assert type(raised.value) is error, operation


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (ConnectTimeoutError(endpoint_url="https://secret.example"), BucketServiceError),
        (NoCredentialsError(), BucketAccessError),
    ],
)
def test_failures_of_the_client(failure: Exception, error: type[Exception]) -> None:
    class Broken:
        def put_object(self, **_: Any) -> None:
            raise failure

    with pytest.raises(error) as raised:
        Boto3ObjectStore(Broken(), "bucket").put("a", b"")
    assert "secret.example" not in str(raised.value)


def test_conditions_are_believed_when_the_second_put_fails(server: Server) -> None:
    expected = {"Bucket": "bucket", "Key": ANY, "Body": b"", "IfNoneMatch": "*"}
    server.stub.add_response("put_object", {}, expected)
    server.refuse("put_object", "PreconditionFailed", 412)
    server.stub.add_response("delete_object", {}, {"Bucket": "bucket", "Key": ANY})
    assert server.store.honours_conditions()
    assert server.store.honours_conditions()  # known now
    server.stub.add_response("put_object", {}, {**expected, "Key": "a", "Body": b"x"})
    server.store.put("a", b"x", if_absent=True)
    server.stub.add_response(
        "complete_multipart_upload",
        {},
        {
            "Bucket": "bucket", "Key": "a", "UploadId": "u", "IfNoneMatch": "*",
            "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "t"}]},
        },
    )  # fmt: skip
    server.store.complete_upload("a", "u", ["t"], if_absent=True)
    server.stub.assert_no_pending_responses()


@pytest.mark.parametrize("answers", ["overwrites", "does not know it"])
def test_conditions_are_not_believed_otherwise(server: Server, answers: str) -> None:
    if answers == "overwrites":
        server.stub.add_response("put_object", {})
        server.stub.add_response("put_object", {})
    else:
        server.refuse("put_object", "NotImplemented", 501)
    server.stub.add_response("delete_object", {})
    assert not server.store.honours_conditions()
    server.stub.assert_no_pending_responses()


def test_a_probe_that_cannot_be_put_says_nothing(server: Server) -> None:
    server.refuse("put_object", "AccessDenied", 403)
    server.stub.add_response("delete_object", {})
    with pytest.raises(BucketAccessError):
        server.store.honours_conditions()


def test_a_connection_that_breaks_is_tried_again(server: Server) -> None:
    server.give(b"12", length=4)
    server.give(b"1234")
    assert server.store.read_range("a", 5, 4) == StoredRange(b"1234", 100, "t")
    for _ in range(3):
        server.give(b"12", length=4)
    with pytest.raises(BucketServiceError, match="broke 3 times"):
        server.store.read_range("a", 5, 4)
    server.stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "content_range",
    [None, "bytes 0-3/100", "pages 5-8/100", f"bytes 5-8/{'9' * 5000}", "bytes 5-9/100"],
)
def test_a_server_without_ranges_is_refused(server: Server, content_range: str | None) -> None:
    server.give(b"1234", content_range=content_range)
    with pytest.raises(BucketServiceError, match="must know ranges"):
        server.store.read_range("a", 5, 4)


def test_a_body_that_does_not_end_is_not_read_into_memory(server: Server) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size < 1000, "all that comes was asked for"
            self.given += size
            return bytes(size)

    for _ in range(3):
        server.give(b"1234")
    endless = Endless()
    for answer in server.stub._queue:
        answer["response"][1]["Body"] = StreamingBody(endless, None)
    with pytest.raises(BucketServiceError, match="broke 3 times"):
        server.store.read_range("a", 5, 4)
    assert endless.given == 3 * 5


def test_a_range_behind_the_end_is_empty(server: Server) -> None:
    server.refuse("get_object", "InvalidRange", 416)
    server.stub.add_response(
        "head_object", {"ContentLength": 5, "ETag": '"t"', "LastModified": MOMENT}
    )
    assert server.store.read_range("a", 5, 4) == StoredRange(b"", 5, "t")


def test_an_upload_that_is_gone_is_aborted_enough(server: Server) -> None:
    server.refuse("abort_multipart_upload", "NoSuchUpload", 404)
    server.store.abort_upload("a", "u")
