"""What each use of a key costs in SoftHSM2, with one thread and with several.

``python bench/kms_token.py``: a fresh token in a temporary folder, `Pkcs11Token` as the service
uses it. The time on a core says what a call costs on a machine that is busy with something else.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from assay.keys import initialise_token, open_token
from assay.keys.pkcs11_uri import Pkcs11Uri, find_module
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.public_keys import encrypt_oaep
from assay.kms.records import KeySpec, KeyUsage

MESSAGE = b"m" * 32


def fresh_token(folder: Path) -> Pkcs11Token:
    """A token of its own, opened."""
    (folder / "tokens").mkdir(mode=0o700)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ |= {"SOFTHSM2_CONF": str(configuration), "ASSAY_PIN": "654321"}
    module = find_module(Pkcs11Uri(), Path(), os.environ)
    initialise_token(module, label="bench", so_pin="123456", user_pin="654321")
    return Pkcs11Token(open_token("pkcs11:token=bench", directory=Path(), environment=os.environ))


def uses(token: Pkcs11Token) -> dict[str, Callable[[], object]]:
    """Name -> one call."""
    aes = token.create_key(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, "a/1").handle
    mac = token.create_key(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, "m/1").handle
    nonce, sealed = token.encrypt(aes, MESSAGE, MESSAGE)
    opens = token.create_key(KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, "o/1")
    oaep = encrypt_oaep(opens.public_key or b"", "SHA_1", MESSAGE)

    def signs(spec: KeySpec, algorithm: str) -> Callable[[], object]:
        key = token.create_key(spec, KeyUsage.SIGN_VERIFY, "s/1").handle
        return lambda: token.sign(key, algorithm, MESSAGE, digested=False)

    return {
        "random, 32 bytes": lambda: token.random(32),
        "encrypt, 32 bytes": lambda: token.encrypt(aes, MESSAGE, MESSAGE),
        "decrypt, 32 bytes": lambda: token.decrypt(aes, nonce, sealed, MESSAGE),
        "GenerateDataKey": lambda: token.encrypt(aes, token.random(32), MESSAGE),
        "HMAC_SHA_256": lambda: token.mac(mac, "HMAC_SHA_256", MESSAGE),
        "ECDSA P-256": signs(KeySpec.ECC_NIST_P256, "ECDSA_SHA_256"),
        "ECDSA P-384": signs(KeySpec.ECC_NIST_P384, "ECDSA_SHA_384"),
        "ECDSA P-521": signs(KeySpec.ECC_NIST_P521, "ECDSA_SHA_512"),
        "Ed25519": signs(KeySpec.ECC_NIST_EDWARDS25519, "ED25519_SHA_512"),
        "RSA-PSS 2048": signs(KeySpec.RSA_2048, "RSASSA_PSS_SHA_256"),
        "RSA-PSS 3072": signs(KeySpec.RSA_3072, "RSASSA_PSS_SHA_256"),
        "RSA-PSS 4096": signs(KeySpec.RSA_4096, "RSASSA_PSS_SHA_256"),
        "RSA-OAEP 2048": lambda: token.decrypt_oaep(opens.handle, "SHA_1", oaep),
    }


def rate(call: Callable[[], object], threads: int, seconds: float) -> tuple[float, float]:
    """Calls per second of so many threads, and how much of a core this process used."""
    counts, end = [0] * threads, time.perf_counter() + seconds

    def work(place: int) -> None:
        while time.perf_counter() < end:
            call()
            counts[place] += 1

    running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    began, cpu = time.perf_counter(), time.process_time()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    took = time.perf_counter() - began
    return sum(counts) / took, (time.process_time() - cpu) / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number")
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        token = fresh_token(Path(folder))
        print(f"{'':18} {'one thread':>30}  {f'{given.threads} threads':>30}")
        for name, call in uses(token).items():
            call()
            columns = []
            for threads in (1, given.threads):
                found, cores = rate(call, threads, given.seconds)
                columns.append(f"{found:9.0f}/s, {cores / found * 1e6:7.0f} µs of a core")
            print(f"{name:18} {'  '.join(columns)}")
        for spec, usage in (
            (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT),
            (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY),
            (KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY),
            (KeySpec.RSA_4096, KeyUsage.SIGN_VERIFY),
        ):
            times = []
            for _ in range(4):
                began = time.perf_counter()
                token.create_key(spec, usage, "n/1")
                times.append(time.perf_counter() - began)
            print(f"create {spec.value:18} {min(times) * 1e3:8.0f} to {max(times) * 1e3:.0f} ms")
        token.close()


if __name__ == "__main__":
    main()
