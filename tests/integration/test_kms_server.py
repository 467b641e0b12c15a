"""The key management service as a process, on a SoftHSM2 token, with AWS's own clients."""

from __future__ import annotations

import base64
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from .conftest import SoftHsmToken
from .kms_server import KmsServer

CANARY = "Quartz-and-Obsidian"


@pytest.fixture
def server(softhsm_token: SoftHsmToken, tmp_path: Path) -> Iterator[KmsServer]:
    """A service that is prepared and not running."""
    made = KmsServer(
        tmp_path,
        softhsm_token.environment,
        f"pkcs11:token={softhsm_token.label}",
        f"sqlite:///{tmp_path / 'kms.db'}",
    )
    made.prepare()
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)


def test_keys_of_every_kind_live_in_the_token(server: KmsServer) -> None:
    access = server.user("admin", full_access=True)
    server.start()
    kms = server.client(access)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "b"})
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == made["Plaintext"]
    with pytest.raises(ClientError, match="InvalidCiphertext"):
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
    for spec, algorithm in (
        ("RSA_2048", "RSASSA_PSS_SHA_256"), ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ):  # fmt: skip
        pair = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        what = {"KeyId": pair, "Message": b"message", "SigningAlgorithm": algorithm}
        assert kms.verify(**what, Signature=kms.sign(**what)["Signature"])["SignatureValid"]
    rsa = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    assert rsa["EncryptionAlgorithms"] == ["RSAES_OAEP_SHA_1"]  # SoftHSM 2.6 knows no other
    oaep = {"KeyId": rsa["KeyId"], "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    sealed = kms.encrypt(**oaep, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(**oaep, CiphertextBlob=sealed)["Plaintext"] == b"x"
    with pytest.raises(ClientError, match="InvalidKeyUsage"):
        kms.encrypt(**{**oaep, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, Plaintext=b"x")
    mac = kms.create_key(KeySpec="HMAC_512", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    what = {"KeyId": mac, "Message": b"message", "MacAlgorithm": "HMAC_SHA_512"}
    assert kms.verify_mac(**what, Mac=kms.generate_mac(**what)["Mac"])["MacValid"]


def test_nothing_secret_is_written_or_printed(server: KmsServer) -> None:
    access = server.user("admin", full_access=True)
    server.start()
    kms = server.client(access)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.encrypt(KeyId=key, Plaintext=CANARY.encode(), EncryptionContext={"tenant": "north"})
    data_key = kms.generate_data_key(KeyId=key, KeySpec="AES_256")["Plaintext"]
    told = server.stop()
    assert told == ""
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    state = b"".join(path.read_bytes() for path in files if path.name.startswith("kms.db"))
    assert b"north" in state, "the audit trail is not in the files that were searched"
    for secret in (CANARY.encode(), data_key, access["AWS_SECRET_ACCESS_KEY"].encode()):
        assert secret not in state
    trail = server.run("audit", "verify")
    assert trail["events"] > 3


VERBOSE = """
import logging, sys
logging.basicConfig(level=1, filename="verbose.log")
from assay.cli import main
sys.exit(main(sys.argv[1:]))
"""


class VerboseServer(KmsServer):
    """The same, with all that any package has to log."""

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-X", "dev", "-c", VERBOSE, "kms", *words]


def forms(secret: bytes) -> Iterator[bytes]:
    """How bytes may be written; base64 from each of its three places, without its ends."""
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for start in range(3):
            yield encode(b"x" * start + secret).rstrip(b"=")[4 if start else 0 : -2]


def test_no_secret_gets_out_at_the_most_verbose_level(
    softhsm_token: SoftHsmToken, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = VerboseServer(
        tmp_path, softhsm_token.environment, f"pkcs11:token={softhsm_token.label}",
        f"sqlite:///{tmp_path / 'kms.db'}",
    )  # fmt: skip
    server.certificates()
    KmsServer.run(plain := KmsServer(**vars(server)), "init")
    access = plain.user("admin", full_access=True)
    server.start()
    request.addfinalizer(lambda: server.process and server.stop(signal.SIGKILL))
    kms = server.client(access)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    pair = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    secrets = {"access key": access["AWS_SECRET_ACCESS_KEY"].encode()}
    secrets |= {"PIN": softhsm_token.environment["ASSAY_PIN"].encode(), "text": CANARY.encode()}
    for number in range(50):
        made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"t": "north"})
        secrets[f"data key {number}"] = made["Plaintext"]
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"t": "north"})
    kms.encrypt(KeyId=key, Plaintext=CANARY.encode())
    secrets["MAC"] = kms.generate_mac(KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    kms.sign(KeyId=pair, Message=CANARY.encode(), SigningAlgorithm="ECDSA_SHA_256")
    with pytest.raises(ClientError):
        kms.decrypt(CiphertextBlob=CANARY.encode())
    told = server.stop().encode() + (tmp_path / "verbose.log").read_bytes()
    trail = b"".join(path.read_bytes() for path in tmp_path.glob("kms.db*"))
    assert b"north" in trail
    assert b"DEBUG" in told, "nothing was logged at this level, so nothing was searched"
    for place, data in {"what it wrote": told, "state and trail": trail}.items():
        for name, secret in secrets.items():
            assert not any(form in data for form in forms(secret)), f"{name} in {place}"


def test_a_crash_leaves_no_core_dump(server: KmsServer) -> None:
    access = server.user("admin", full_access=True)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    kms = server.client(access)
    kms.generate_data_key(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], KeySpec="AES_256")
    process, server.process = server.process, None
    assert process is not None
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    process.send_signal(signal.SIGABRT)
    status = os.waitpid(process.pid, 0)[1]
    process.returncode = -os.WTERMSIG(status)
    assert process.stdout is not None
    process.stdout.close()
    assert (os.WTERMSIG(status), os.WCOREDUMP(status)) == (signal.SIGABRT, False)
    assert not list(server.folder.glob("core*"))


def test_what_was_acknowledged_survives_a_kill(server: KmsServer) -> None:
    access = server.user("admin", full_access=True)
    server.start()
    ready = server.client(access).create_key()["KeyMetadata"]["KeyId"]
    kept: list[tuple[str, bytes]] = []
    last = threading.Event()

    def work(number: int) -> None:
        kms = server.client(access)
        try:
            while not last.is_set():
                made = kms.create_key(Description=str(number))["KeyMetadata"]["KeyId"]
                kms.rotate_key_on_demand(KeyId=made)
                blob = kms.encrypt(KeyId=made, Plaintext=made.encode())["CiphertextBlob"]
                kept.append((made, blob))
        except (ClientError, BotoCoreError):
            pass  # it was killed in between

    for _ in range(2):
        last.clear()
        before = len(kept)
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(work, number) for number in range(4)]
            while len(kept) < before + 8:
                assert not all(each.done() for each in running), "nobody works"
            server.stop(signal.SIGKILL)
            last.set()
        server.start()
    kms = server.client(access)
    for key, blob in kept:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"].decode() == key
        assert len(kms.list_key_rotations(KeyId=key)["Rotations"]) == 1
    assert kms.describe_key(KeyId=ready)
    events = server.events()
    recorded = {each["key"][-36:] for each in events if each["action"] == "Encrypt"}
    assert {key for key, _ in kept} <= recorded
    assert server.run("audit", "verify")["events"] == len(events)


def test_an_altered_trail_is_noticed(server: KmsServer) -> None:
    import sqlite3
    import subprocess

    server.user("admin", full_access=True)
    with sqlite3.connect(server.folder / "kms.db") as database:
        database.execute(
            "update assay_kms_events set event = replace(event, '\"ok\"', '\"no\"') where number = 1"
        )
    done = subprocess.run(
        server._command("audit", "verify"), env=server._environment(), cwd=server.folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"event 1 of the chain .* altered", done.stdout + done.stderr, re.DOTALL)


def test_two_services_share_a_state_and_a_token(
    server: KmsServer, fresh_postgresql_url: str
) -> None:
    """On PostgreSQL: what one changes the other sees at once, and either may die."""
    server.state = fresh_postgresql_url
    server.run("init", "--account", "111122223333", "--region", "eu-central-1")
    access = server.user("admin", full_access=True)
    server.start()
    other = KmsServer(server.folder, server.environment, server.token, server.state)
    other.start()
    try:
        first, second = server.client(access), other.client(access)
        key = first.create_key()["KeyMetadata"]["KeyId"]
        blob = second.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        second.rotate_key_on_demand(KeyId=key)
        newer = first.encrypt(KeyId=key, Plaintext=b"y")["CiphertextBlob"]
        first.disable_key(KeyId=key)
        with pytest.raises(ClientError, match="DisabledException"):
            second.decrypt(CiphertextBlob=blob)
        second.enable_key(KeyId=key)
        server.stop(signal.SIGKILL)
        opened = [second.decrypt(CiphertextBlob=each)["Plaintext"] for each in (blob, newer)]
        assert opened == [b"x", b"y"]
    finally:
        other.stop(signal.SIGKILL)


def test_wrong_input_is_named(server: KmsServer) -> None:
    import subprocess

    def refused(*words: str) -> str:
        done = subprocess.run(
            server._command(*words), env=server._environment(), cwd=server.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode not in {0, 1}, done.stdout
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert "found one" in refused("init", "--account", "111122223333")
    assert "12 digits" in refused("init", "--account", "1", "--state", "sqlite:///other.db")
    assert "add it first" in refused("access-key", "create", "nobody")
    assert "expected" in refused("principal", "add", "no name with blanks")
    assert "found no file" in refused("principal", "list", "--state", "sqlite:///none.db")
    assert "expected one token" in refused("principal", "list", "--token", "pkcs11:token=none")
    assert "cert" in refused("serve", "--certificate", "none.pem", "--private-key", "none.pem")
    (server.folder / "policy.json").write_text('{"Statement": []}')
    server.run("principal", "add", "ada")
    assert "expected" in refused("principal", "policy", "ada", "p", "policy.json")
