"""The key management service's token under load, after forks, and when it goes away.

Eight threads in each of four processes use one SoftHSM2 token, make keys in it and destroy them: for
four seconds, or for as long as ``ASSAY_LOAD_SECONDS`` says (60 for the minute of a release).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from assay.keys import open_token
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.records import KeySpec, KeyUsage

PROCESSES, THREADS = 4, 8
SECONDS = float(os.environ.get("ASSAY_LOAD_SECONDS", "4"))
SHARED = {
    "aes": (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT),
    "ec": (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY),
    "mac": (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC),
}

WORKER = """
import json, os, sys, threading, time
from pathlib import Path
from assay.keys import open_token
from assay.kms.errors import InvalidCiphertextError
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.public_keys import verify
from assay.kms.records import KeySpec, KeyUsage

given = json.loads(sys.argv[1])
token = Pkcs11Token(open_token(given["uri"], directory=Path(), environment=os.environ))
aes, ec, mac = (bytes.fromhex(given[name]) for name in ("aes", "ec", "mac"))
public, expected = bytes.fromhex(given["public"]), bytes.fromhex(given["expected"])
end = time.monotonic() + given["seconds"]
lock, done, kept, nonces, errors = threading.Lock(), [0], [], [], []


def turn(number):
    label = f"{os.getpid()}-{threading.get_ident()}/{number}"
    message = label.encode()
    nonce, sealed = token.encrypt(aes, message, b"context")
    assert token.decrypt(aes, nonce, sealed, b"context") == message, "another plaintext"
    try:
        token.decrypt(aes, nonce, sealed, message)
    except InvalidCiphertextError:
        pass
    else:
        raise AssertionError("a wrong context opened")
    verify(public, "ECDSA_SHA_256", message,
           token.sign(ec, "ECDSA_SHA_256", message, digested=False), digested=False)
    assert token.mac(mac, "HMAC_SHA_256", b"message") == expected, "another MAC"
    with lock:
        nonces.append(nonce.hex())
        done[0] += 1
    if number % 20 == 0:
        spec = [(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT),
                (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY)][number // 20 % 2]
        made = token.create_key(*spec, label)
        if spec[0] is KeySpec.SYMMETRIC_DEFAULT:
            part = token.encrypt(made.handle, message, b"")
            assert token.decrypt(made.handle, *part, b"") == message, "a new key opens nothing"
        else:
            signature = token.sign(made.handle, "ECDSA_SHA_256", message, digested=False)
            verify(made.public_key, "ECDSA_SHA_256", message, signature, digested=False)
        if number % 40 == 0:
            token.destroy_key(made.handle)
        else:
            with lock:
                kept.append(made.handle.hex())


def work():
    number = 0
    try:
        while time.monotonic() < end:
            turn(number)
            number += 1
    except BaseException as exc:
        errors.append(repr(exc))


threads = [threading.Thread(target=work) for _ in range(given["threads"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
token.close()
print(json.dumps({"done": done[0], "kept": kept, "nonces": nonces, "errors": errors}))
"""


def opened(softhsm_token: Any) -> Pkcs11Token:
    uri = f"pkcs11:token={softhsm_token.label}"
    return Pkcs11Token(open_token(uri, directory=Path(), environment=softhsm_token.environment))


def test_eight_threads_in_each_of_four_processes(softhsm_token: Any) -> None:
    token = opened(softhsm_token)
    made = {name: token.create_key(*kind, f"{name}/1") for name, kind in SHARED.items()}
    given = {
        "uri": f"pkcs11:token={softhsm_token.label}",
        "seconds": SECONDS,
        "threads": THREADS,
        "public": (made["ec"].public_key or b"").hex(),
        "expected": token.mac(made["mac"].handle, "HMAC_SHA_256", b"message").hex(),
        **{name: key.handle.hex() for name, key in made.items()},
    }
    environment = {**os.environ, **softhsm_token.environment}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(given)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    answers = []
    try:
        for process in running:
            out, err = process.communicate(timeout=120 + SECONDS)
            assert process.returncode == 0, err.decode()
            answers.append(json.loads(out))
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [answer["errors"] for answer in answers] == [[]] * PROCESSES
    assert all(answer["done"] > THREADS for answer in answers)
    nonces = [nonce for answer in answers for nonce in answer["nonces"]]
    assert len(set(nonces)) == len(nonces)
    kept = {bytes.fromhex(handle) for answer in answers for handle in answer["kept"]}
    assert kept
    assert token.handles() == kept | {key.handle for key in made.values()}
    token.close()
    print(
        f"{sum(answer['done'] for answer in answers)} turns in {SECONDS} s, {len(kept)} keys kept"
    )
