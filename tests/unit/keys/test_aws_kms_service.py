"""KEKs in AWS KMS, against moto behind ``tests/kms_front.py``."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.kms_front import refused as refusal
from tests.nonce_record import in_child

from assay.core import DataKeyClass, Fidelity
from assay.keys import (
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    Keyring,
    KeysError,
    KeyServiceError,
    KeyUriError,
    MemoryDataKeyTable,
    MemoryKeyService,
    RewrapReport,
    UnwrapError,
    create_key,
    key_custody,
    open_key_service,
    rewrap_keys,
)
from assay.keys.aws_kms import AwsKms
from assay.keys.aws_kms_service import AwsKmsKeyService, AwsKmsProvider
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}
# From Python 3.12 on a fork with threads warns; that the child works all the same is the point.
FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_a_kek_wraps_and_unwraps(kms: Any) -> None:
    kms.create()
    service, other = kms.service(), kms.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert len(data_key) == 32
    assert other.unwrap(wrapped, CONTEXT) == data_key
    assert service.generate_data_key(CONTEXT)[0] != data_key
    assert service.uri == f"aws-kms:{kms.arn()}"
    assert split_service_wrapped(wrapped).kek == service.uri
    assert service.fidelity is Fidelity.EMULATED


def test_the_table_of_schemes_opens_it_and_a_keyring_uses_it(kms: Any) -> None:
    options: dict[str, Any] = {"directory": kms.folder, "environment": os.environ}
    create_key(kms.uri(), **options)
    table = MemoryDataKeyTable()
    made = Keyring(open_key_service(kms.uri(), **options), table).current("a", DataKeyClass.ROWS)
    again = Keyring(open_key_service(kms.uri(), **options), table).current("a", DataKeyClass.ROWS)
    assert again.material == made.material
    assert table.versions("a", DataKeyClass.ROWS)[0].kek == f"aws-kms:{kms.arn()}"
    assert key_custody(kms.uri(), **options).provider == "aws-kms"


@pytest.mark.parametrize(
    "context",
    [
        {},
        {**CONTEXT, "owner": "tenant-2"},
        {**CONTEXT, "more": ""},
        {"owner": "tenant-1", "class": "rows"},
        {**CONTEXT, "version": "\ud800"},
    ],
    ids=["none", "another", "more", "less", "surrogate"],
)
def test_another_context_does_not_open(kms: Any, context: Mapping[str, str]) -> None:
    kms.create()
    service = kms.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    with pytest.raises(KeysError):
        service.unwrap(wrapped, context)
    with pytest.raises(KeysError):
        service.rewrap(wrapped, context)


def test_every_altered_byte_is_refused(kms: Any) -> None:
    kms.create()
    service = kms.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    for position in [*range(0, 90, 3), *range(90, len(wrapped), 8)]:
        altered = bytearray(wrapped)
        altered[position] ^= 1
        with pytest.raises((UnwrapError, KeyNotFoundError)):
            service.unwrap(bytes(altered), CONTEXT)
    for other in (b"", wrapped[:-1], wrapped + b"x", b"\x01" + bytes(60)):
        with pytest.raises(UnwrapError):
            service.unwrap(other, CONTEXT)
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_a_moved_alias_changes_nothing_for_what_is_wrapped(kms: Any) -> None:
    kms.create()
    before = kms.service()
    old_key, old = before.generate_data_key(CONTEXT)
    second = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    kms.client.update_alias(AliasName=kms.alias, TargetKeyId=second)
    # who has it open stays with its key
    assert split_service_wrapped(before.generate_data_key(CONTEXT)[1]).kek == before.uri
    after = kms.service()
    assert after.uri == f"aws-kms:{second}" != before.uri
    assert after.unwrap(old, CONTEXT) == old_key
    new_key, new = after.generate_data_key(CONTEXT)
    assert before.unwrap(new, CONTEXT) == new_key
    kms.client.delete_alias(AliasName=kms.alias)
    assert after.unwrap(old, CONTEXT) == old_key
    described = kms.front.calls["DescribeKey"]
    before.unwrap(old, CONTEXT)
    assert kms.front.calls["DescribeKey"] == described


def test_a_data_key_is_wrapped_anew_without_leaving_the_service(kms: Any) -> None:
    kms.create()
    old_service = kms.service()
    data_key, old = old_service.generate_data_key(CONTEXT)
    second = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    service = kms.service(second)
    calls = dict(kms.front.calls)
    for wrapped_by in (None, old_service):
        new = service.rewrap(old, CONTEXT, wrapped_by=wrapped_by)
        assert split_service_wrapped(new).kek == service.uri
    asked = {name for name, count in kms.front.calls.items() if count != calls.get(name, 0)}
    assert asked == {"ReEncrypt"}
    assert kms.front.bodies[-1][1]["SourceKeyId"] == kms.arn()
    assert service.unwrap(new, CONTEXT) == data_key
    assert service.rewrap(new, CONTEXT) != new


def test_a_data_key_moves_here_and_away(kms: Any) -> None:
    kms.create()
    service, elsewhere = kms.service(), MemoryKeyService()
    data_key, outside = elsewhere.generate_data_key(CONTEXT)
    inside = service.rewrap(outside, CONTEXT, wrapped_by=elsewhere)
    assert service.unwrap(inside, CONTEXT) == data_key
    away = elsewhere.rewrap(inside, CONTEXT, wrapped_by=service)
    assert elsewhere.unwrap(away, CONTEXT) == data_key
    with pytest.raises(UnwrapError, match=r"\(version 02\), found 01"):
        service.unwrap(outside, CONTEXT)
    with pytest.raises(UnwrapError, match="version 01, found 02"):
        elsewhere.unwrap(inside, CONTEXT)


def test_the_table_cannot_lead_to_a_kek_that_somebody_chose(kms: Any) -> None:
    kms.create()
    service = kms.service()
    blob = split_service_wrapped(service.generate_data_key(CONTEXT)[1]).ciphertext
    own = kms.arn()
    calls = dict(kms.front.calls)
    names = {
        "another account": own.replace("123456789012", "666666666666"),
        "another partition": own.replace("arn:aws:", "arn:aws-cn:").replace(
            "eu-central-1", "cn-north-1"
        ),
        "another Region": own.replace("eu-central-1", "eu-west-1"),
        "an alias": kms.alias,
        "the ARN of an alias": own.partition("key/")[0] + kms.alias,
        "a key id": own.rpartition("/")[2],
        "nothing": "",
    }
    for name in names.values():
        for scheme in ("aws-kms:", "vault:", ""):
            wrapped = join_service_wrapped(f"{scheme}{name}" or "x", blob)
            with pytest.raises(UnwrapError):
                service.unwrap(wrapped, CONTEXT)
            with pytest.raises(UnwrapError):
                service.rewrap(wrapped, CONTEXT)
    assert dict(kms.front.calls) == calls  # nobody was asked


def test_a_multi_region_key_opens_in_another_region(kms: Any) -> None:
    made = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT", MultiRegion=True)["KeyMetadata"]["Arn"]
    related = kms.replicate(made, "us-west-2")
    first, second = kms.service(made), kms.service(made, region="us-west-2")
    assert second.uri == f"aws-kms:{related}"
    data_key, wrapped = first.generate_data_key(CONTEXT)
    assert second.unwrap(wrapped, CONTEXT) == data_key
    assert kms.front.bodies[-1][1]["KeyId"] == related
    again = second.rewrap(wrapped, CONTEXT)
    assert split_service_wrapped(again).kek == second.uri
    assert first.unwrap(again, CONTEXT) == data_key


def test_keys_are_never_overwritten(kms: Any) -> None:
    kms.create()
    before = kms.arn()
    with pytest.raises(KeyExistsError, match="not overwritten"):
        kms.create()
    assert kms.arn() == before
    assert kms.front.calls["CreateKey"] == 1
    tags = kms.client.list_resource_tags(KeyId=before)["Tags"]
    assert tags == [{"TagKey": "made-by", "TagValue": "assay"}]
    for name in (before, before.rpartition("/")[2], before.partition("key/")[0] + "alias/x"):
        with pytest.raises(KeyUriError, match="to name an alias"):
            kms.create(name)


def test_an_alias_that_another_made_in_the_same_moment_is_kept(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    ask = AwsKms.ask

    def interrupted(self: AwsKms, operation: str, key: str, **parameters: Any) -> Any:
        if operation == "CreateAlias":
            kms.client.create_alias(AliasName=kms.alias, TargetKeyId=other)
        return ask(self, operation, key, **parameters)

    monkeypatch.setattr(AwsKms, "ask", interrupted)
    with pytest.raises(KeyExistsError, match=r"The key arn:aws:kms:\S+ is left over"):
        kms.create()
    assert kms.arn() == other


def test_an_alias_whose_answer_was_lost_is_the_one_that_was_made(kms: Any) -> None:
    from tests.kms_front import broken

    kms.front.faults.extend([lambda _: False, lambda _: False, broken])
    kms.create()
    assert kms.front.calls["CreateAlias"] == 2
    assert kms.service().unwrap


def test_a_key_whose_alias_is_refused_is_named(kms: Any) -> None:
    from assay.keys import KeyAccessError

    kms.front.refuse = {"CreateAlias"}
    with pytest.raises(KeyAccessError, match=r"The key arn:aws:kms:\S+ was made and has no alias"):
        kms.create()


def test_keys_that_are_absent_or_of_another_kind_are_named(kms: Any) -> None:
    with pytest.raises(KeyNotFoundError, match=f"kms:DescribeKey for {kms.alias}"):
        kms.service()
    kms.create()
    with pytest.raises(KeyNotFoundError):
        kms.service(kms.arn()[:-12] + "000000000000")
    with pytest.raises(KeyUriError, match="ECC_NIST_EDWARDS25519, found"):
        AwsKmsProvider().open_signer(kms.uri(), kms.folder, os.environ)
    mac = kms.client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    with pytest.raises(KeyUriError, match="SYMMETRIC_DEFAULT, found"):
        kms.service(mac["KeyMetadata"]["Arn"])


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion", "PendingImport", "Unavailable"])
def test_a_key_that_is_not_enabled_is_named(kms: Any, state: str) -> None:
    kms.create()
    service = kms.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    kms.front.change(kms.arn(), KeyState=state)
    for refused in (
        lambda: service.unwrap(wrapped, CONTEXT),
        lambda: service.generate_data_key(CONTEXT),
        lambda: service.rewrap(wrapped, CONTEXT),
        kms.service,
    ):
        with pytest.raises(KeyDisabledError, match=kms.arn()):
            refused()


def test_an_endpoint_that_answers_for_another_key_is_not_believed(kms: Any) -> None:
    kms.create()
    kms.create(f"{kms.alias}-2")
    first, second = kms.service(), kms.service(f"{kms.alias}-2")
    _, wrapped = first.generate_data_key(CONTEXT)
    other = kms.arn(f"{kms.alias}-2")

    def as_the_other(handler: Any) -> bool:
        for name in ("KeyId", "DestinationKeyId"):
            if name in handler.asked:
                handler.asked[name] = other
        handler.body = json.dumps(handler.asked).encode()
        return False

    kms.front.faults.extend([as_the_other])
    with pytest.raises(KeyServiceError, match="answer for another key"):
        first.generate_data_key(CONTEXT)
    kms.front.faults.extend([as_the_other])
    with pytest.raises(KeyServiceError, match="answer for another key"):
        first.rewrap(wrapped, CONTEXT)
    own = kms.arn()
    kms.front.faults.extend([as_the_other])
    with pytest.raises(KeyServiceError, match="it described"):
        kms.service(own)
    assert second.uri.endswith(other)


def test_a_closed_service_says_so(kms: Any) -> None:
    kms.create()
    service = kms.service()
    service.close()
    service.close()
    for closed in (service.custody, lambda: service.generate_data_key(CONTEXT)):
        with pytest.raises(KeyServiceError, match="was closed"):
            closed()


def test_variables_that_boto3_would_not_see_are_refused(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = {**os.environ, "AWS_SECRET_ACCESS_KEY": "hunter2"}
    with pytest.raises(KeyServiceError, match="AWS_SECRET_ACCESS_KEY in the env") as caught:
        AwsKmsProvider().open_key_service(kms.uri(), kms.folder, moved)
    assert "hunter2" not in str(caught.value)


def test_threads_share_a_service(kms: Any) -> None:
    kms.create()
    service = kms.service()
    start = threading.Barrier(8)

    def work(number: int) -> set[bytes]:
        start.wait()
        found = set()
        for _ in range(10):
            context = {**CONTEXT, "owner": str(number)}
            data_key, wrapped = service.generate_data_key(context)
            assert service.unwrap(wrapped, context) == data_key
            found.add(data_key)
        return found

    with ThreadPoolExecutor(8) as threads:
        assert len(set().union(*threads.map(work, range(8)))) == 80


@FORKS
def test_a_fork_asks_over_a_connection_of_its_own(kms: Any) -> None:
    kms.create()
    service = kms.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    inside = service._kms._client()

    def child() -> bytes:
        assert service._kms._client() is not inside
        return service.unwrap(wrapped, CONTEXT)

    assert in_child(child) == data_key
    assert service._kms._client() is inside
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    for name in [name for name in sys.modules if name.startswith("assay.keys.aws_kms")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(KeyServiceError, match=r"install assay\[aws\]"):
        open_key_service("aws-kms:alias/k", directory=tmp_path, environment={})


def test_a_client_of_aws_opens_what_it_wrapped(kms: Any) -> None:
    """Nothing of ours is between the blob and the service."""
    kms.create()
    service: AwsKmsKeyService = kms.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    client = boto3.client("kms", region_name="eu-central-1", endpoint_url=kms.front.endpoint)
    opened = client.decrypt(
        CiphertextBlob=split_service_wrapped(wrapped).ciphertext, EncryptionContext=CONTEXT
    )
    assert opened["Plaintext"] == data_key


def test_a_table_of_data_keys_moves_inside_the_service(kms: Any) -> None:
    kms.create()
    old_service, table = kms.service(), MemoryDataKeyTable()
    keyring = Keyring(old_service, table)
    made = {keyring.current(owner, DataKeyClass.ROWS).material for owner in "abc"}
    keyring.close()
    second = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    service = kms.service(second)
    before = kms.front.calls.copy()
    assert rewrap_keys(table, service) == RewrapReport(done=3)
    asked = kms.front.calls - before
    assert asked == {"ReEncrypt": 3, "Decrypt": 3}  # each new form is opened, and no old one
    assert {row.kek for row in table.each()} == {service.uri}
    assert {service.unwrap(row.wrapped, row.context) for row in table.each()} == made
    assert rewrap_keys(table, service, every=True) == RewrapReport(done=3)


def test_a_table_of_data_keys_under_a_key_that_is_disabled_stays_as_it_is(kms: Any) -> None:
    kms.create()
    table = MemoryDataKeyTable()
    keyring = Keyring(kms.service(), table)
    keyring.current("person", DataKeyClass.ROWS)
    keyring.close()
    before = list(table.each())
    second = kms.client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    service = kms.service(second)
    kms.front.faults.append(refusal("DisabledException"))
    report = rewrap_keys(table, service)
    assert (report.done, report.left, sum(report.refused.values())) == (0, 0, 1)
    assert "enable the key" in next(iter(report.refused))
    assert "person" not in repr(report)
    assert list(table.each()) == before
