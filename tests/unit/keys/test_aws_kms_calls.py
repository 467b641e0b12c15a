"""Deadlines, attempts and the names of what goes wrong, for calls of AWS KMS."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.kms_front import KmsFront, answered, broken, refused, slow

from assay.keys import (
    KeyAccessError,
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    KeysError,
    KeyServiceError,
    KeyServiceUnavailableError,
    MemoryKeyService,
    UnwrapError,
    aws_kms,
)
from assay.keys.aws_kms import AwsKms
from assay.keys.aws_kms_service import AwsKmsProvider
from assay.keys.aws_kms_uri import parse_aws_kms_uri

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}


def unready(handler: Any) -> bool:
    """An address of which nobody knows the service."""
    handler.close_connection = True
    return True


PASSING = {
    "ThrottlingException": refused("ThrottlingException"),
    "KMSInternalException": refused("KMSInternalException", 500),
    "DependencyTimeoutException": refused("DependencyTimeoutException", 500),
    "KeyUnavailableException": refused("KeyUnavailableException", 500),
    "a page of a load balancer": answered(503, b"<html>busy</html>"),
    "a lost answer": broken,
    "a lost connection": unready,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again(kms: Any, fault: Callable[[Any], bool]) -> None:
    kms.create()
    service = kms.service()
    calls = kms.front.calls["GenerateDataKey"]
    kms.front.faults.extend([fault, fault])
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert kms.front.calls["GenerateDataKey"] == calls + 3
    assert service.unwrap(wrapped, CONTEXT) == data_key


STAYING: dict[str, tuple[type[KeysError], str]] = {
    "AccessDeniedException": (KeyAccessError, "allow the caller kms:GenerateDataKey"),
    "UnrecognizedClientException": (KeyAccessError, "renew them"),
    "ExpiredTokenException": (KeyAccessError, "renew them"),
    "DisabledException": (KeyDisabledError, "enable the key"),
    "KMSInvalidStateException": (KeyDisabledError, "pending deletion"),
    "NotFoundException": (KeyNotFoundError, "check partition"),
    "InvalidCiphertextException": (UnwrapError, "does not open"),
    "IncorrectKeyException": (UnwrapError, "does not open"),
    "AlreadyExistsException": (KeyExistsError, "not overwritten"),
    "LimitExceededException": (KeyServiceError, "quota"),
    "ValidationException": (KeyServiceError, "answered ValidationException"),
    "Odd": (KeyServiceError, "answered Odd"),
}


@pytest.mark.parametrize("code", STAYING)
def test_what_stays_is_named_at_once(kms: Any, code: str) -> None:
    kms.create()
    service = kms.service()
    calls = kms.front.calls["GenerateDataKey"]
    secret = "arn:aws:iam::1:user/ada hunter2"
    kms.front.faults.append(refused(code, message=secret))
    kind, words = STAYING[code]
    with pytest.raises(kind, match=words) as caught:
        service.generate_data_key(CONTEXT)
    assert type(caught.value) is kind
    assert kms.front.calls["GenerateDataKey"] == calls + 1
    assert "hunter2" not in str(caught.value)
    assert "tenant-1" not in str(caught.value)
    if kind is not UnwrapError:
        assert kms.arn() in str(caught.value)
        assert "kms:GenerateDataKey" in str(caught.value)


@pytest.mark.parametrize("fault", [slow(30), refused("ThrottlingException"), unready])
def test_a_call_ends_within_its_deadline(kms: Any, fault: Callable[[Any], bool]) -> None:
    kms.create()
    service = kms.service(deadline="2")
    kms.front.faults.extend([fault] * 1000)
    began = time.monotonic()
    with pytest.raises(KeyServiceUnavailableError, match="within the deadline of 2 s"):
        service.generate_data_key(CONTEXT)
    taken = time.monotonic() - began
    assert taken < 5, taken  # on a machine that does much else
    assert 2 <= kms.front.calls["GenerateDataKey"] < 100
    kms.front.faults.clear()
    service.generate_data_key(CONTEXT)


def test_attempts_come_at_random_distances(kms: Any) -> None:
    kms.create()
    service = kms.service(deadline="10")
    moments: list[float] = []

    def note(handler: Any) -> bool:
        moments.append(time.monotonic())
        return refused("ThrottlingException")(handler)

    for _ in range(4):
        kms.front.faults.extend([note] * 3)
        service.generate_data_key(CONTEXT)
    pauses = [
        moments[start + 1] - moments[start]
        for turn in range(4)
        for start in (3 * turn, 3 * turn + 1)
    ]
    assert len({round(pause, 3) for pause in pauses}) > 4
    assert max(pauses) < 2


def test_a_service_that_dies_is_named_and_found_again(
    kms: Any, moto_server: tuple[str, int]
) -> None:
    kms.create()
    service = kms.service(deadline="2")
    _, wrapped = service.generate_data_key(CONTEXT)

    def work(_: int) -> list[str]:
        outcomes = []
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                service.unwrap(wrapped, CONTEXT)
            except KeysError as exc:
                outcomes.append(type(exc).__name__)
                break
            outcomes.append("ok")
        return outcomes

    with ThreadPoolExecutor(4) as threads:
        running = threads.map(work, range(4))
        time.sleep(0.3)
        kms.front.kill()
        began = time.monotonic()
        outcomes = [each for found in running for each in found]
    assert time.monotonic() - began < 10
    assert outcomes.count("ok") > 0
    assert set(outcomes) == {"ok", "KeyServiceUnavailableError"}
    with KmsFront(moto_server, kms.front.port):
        service.unwrap(wrapped, CONTEXT)


def test_a_key_is_not_made_twice(kms: Any) -> None:
    kms.front.faults.extend([lambda _: False, broken])
    with pytest.raises(KeyServiceError, match="whether it was done is not known"):
        kms.create()
    assert kms.front.calls["CreateKey"] == 1
    kms.front.faults.extend([lambda _: False, refused("KMSInternalException", 500)])
    with pytest.raises(KeyServiceError, match="KMSInternalException"):
        kms.create()
    assert kms.front.calls["CreateKey"] == 2
    kms.front.faults.extend([lambda _: False, refused("ThrottlingException")])
    kms.create()
    assert kms.front.calls["CreateKey"] == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html>",
        b'{"KeyId": "ARN"}',
        b'{"KeyId": "ARN", "Plaintext": "AAAA", "CiphertextBlob": "AAAA"}',
        b'{"KeyId": "ARN", "Plaintext": "%s", "CiphertextBlob": ""}' % (b"A" * 43 + b"="),
        b'{"KeyId": "ARN", "Plaintext": "%s"}' % (b"A" * 43 + b"="),
        b'{"KeyId": "ARN", "Plaintext": 5, "CiphertextBlob": []}',
        b'{"KeyId": "ARN", "Plaintext": "?", "CiphertextBlob": "?"}',
        b'{"KeyId": "ARN", "Plaintext": "\\ud800", "CiphertextBlob": "AA=="}',
    ],
)
def test_an_answer_that_is_none_is_an_error_of_this_room(kms: Any, body: bytes) -> None:
    kms.create()
    service = kms.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    body = body.replace(b"ARN", kms.arn().encode())
    kms.front.faults.append(answered(200, body))
    with pytest.raises(KeysError):
        service.generate_data_key(CONTEXT)
    if b"A" * 43 not in body:
        kms.front.faults.append(answered(200, body))
        with pytest.raises(KeysError):
            service.unwrap(wrapped, CONTEXT)
    kms.front.faults.append(answered(200, body))
    with pytest.raises(KeysError):
        kms.service()
    kms.front.faults.append(answered(200, body))
    with pytest.raises(KeysError):
        service.rewrap(wrapped, CONTEXT)


def test_no_data_key_stands_in_a_log(kms: Any, caplog: pytest.LogCaptureFixture) -> None:
    import base64

    kms.create()
    with caplog.at_level(logging.DEBUG):
        service = kms.service()
        data_key, wrapped = service.generate_data_key(CONTEXT)
        service.unwrap(wrapped, CONTEXT)
        with pytest.raises(UnwrapError):
            service.unwrap(wrapped, {**CONTEXT, "owner": "b"})
        elsewhere = MemoryKeyService()
        moved_key, outside = elsewhere.generate_data_key(CONTEXT)
        service.rewrap(outside, CONTEXT, wrapped_by=elsewhere)
    written = caplog.text
    assert "GenerateDataKey" in written  # botocore's debug log is on
    for key in (data_key, moved_key):
        for form in (base64.b64encode(key).decode(), key.hex(), repr(key)[2:-1]):
            assert form not in written
    assert "not-a-secret" not in written
    assert data_key.hex() not in repr(vars(service)) + repr(service)


def test_what_is_not_configured_is_named(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "region= or set|region=\\) or set": kms.uri(region=""),
        "found no file": kms.uri(ca="none.pem"),
        "check profile=": kms.uri(profile="none"),
    }
    for words, uri in cases.items():
        with pytest.raises(KeyServiceError, match=words):
            AwsKmsProvider().open_key_service(uri, kms.folder, os.environ)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(KeyAccessError, match="give the machine a role"):
        kms.service()


def test_an_endpoint_from_elsewhere_needs_tls_too(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = kms.uri(endpoint="")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.front.endpoint)
    kms.create()
    AwsKmsProvider().open_key_service(uri, kms.folder, os.environ)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example")
    with pytest.raises(KeyServiceError, match="begins with https://"):
        AwsKmsProvider().open_key_service(uri, kms.folder, os.environ)


def test_the_policy_allows_what_is_called_and_no_more(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called while everything is done that can be done is what the policy allows."""
    found = re.search(r"\.\. code-block:: json\n\n(.*?)\n\n", aws_kms.__doc__ or "", re.DOTALL)
    assert found
    statements = json.loads(found[1])["Statement"]
    assert all(each["Effect"] == "Allow" for each in statements)
    allowed = {action for each in statements for action in each["Action"]}
    asked: set[str] = set()
    ask = AwsKms.ask

    def noting(self: AwsKms, operation: str, key: str, **parameters: Any) -> Any:
        asked.add(operation)
        return ask(self, operation, key, **parameters)

    monkeypatch.setattr(AwsKms, "ask", noting)
    kms.create()
    service = kms.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    service.unwrap(service.rewrap(wrapped, CONTEXT), CONTEXT)
    elsewhere = MemoryKeyService()
    service.rewrap(elsewhere.generate_data_key(CONTEXT)[1], CONTEXT, wrapped_by=elsewhere)
    service.custody()
    with AwsKmsProvider().leaky_key(kms.uri(), kms.folder, os.environ):
        pass
    kms.alias = f"{kms.alias}-log"
    kms.signer().sign(b"head")
    needed = {a for name in asked for a in aws_kms._IAM_ACTIONS.get(name, (f"kms:{name}",))}
    assert allowed == needed


def test_uris_reach_the_connection(kms: Any) -> None:
    connected = AwsKms(parse_aws_kms_uri(kms.uri(deadline="20")), kms.folder)
    config = connected._client().meta.config
    assert config.connect_timeout == pytest.approx(2)
    assert config.read_timeout == pytest.approx(6)
    assert config.retries["total_max_attempts"] == 1
    assert connected.region == "eu-central-1"
