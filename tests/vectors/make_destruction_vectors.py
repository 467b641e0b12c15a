"""Makes ``destruction.json`` from ``spec/destruction.md``, without any code of Assay.

Run it as ``python tests/vectors/make_destruction_vectors.py > tests/vectors/destruction.json``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "example.com/log"
AT, EXPIRES = "2026-01-02T03:04:05.000006Z", "2026-01-09T03:04:05.000006Z"
TYPE = "application/vnd.in-toto+json"
SALT, KEY_ID = "11" * 32, "22" * 16


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pae(*pieces: bytes) -> bytes:
    listed = b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)
    return len(pieces).to_bytes(8, "little") + listed


class Person:
    """An Ed25519 key with a name, as C2SP signed notes have it."""

    def __init__(self, name: str, seed: int) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        public = b"\x01" + self.key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.name, self.text = name, f"{name}+{self.key_id.hex()}+{b64(public)}"

    def envelope(self, statement: Mapping[str, Any]) -> str:
        payload = canonical(statement)
        signed = b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload)
        signature = {"keyid": self.key_id.hex(), "sig": b64(self.key.sign(signed))}
        made = {"payload": b64(payload), "payloadType": TYPE, "signatures": [signature]}
        return canonical(made).decode()


LOG, ADA, GRACE, LINUS = (
    Person(name, seed) for name, seed in ((ORIGIN, 9), ("ada", 1), ("grace", 2), ("linus", 3))
)


def statement(kind: str, subject: tuple[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject[0], "digest": {"sha256": subject[1]}}],
        "predicateType": kind,
        "predicate": dict(predicate),
    }


def request(**changes: Any) -> dict[str, Any]:
    key = {"key_id": KEY_ID, "created_at": AT}
    made = {
        "format": "assay destruction request v1", "destruction": "d-1", "log": ORIGIN,
        "kind": "tenant", "owner": "north", "salt": SALT, "reason": "the contract ended",
        "requested_at": AT, "expires_at": EXPIRES,
        "keys": [{"table": "db", "key_class": "rows", "versions": {"1": key}}],
        "holds": [{"place": "db/notes", "kind": "rows", "count": 2}],
    }  # fmt: skip
    return {**made, **changes}


def commitment(owner: str) -> str:
    digest = hashlib.sha256(pae(b"assay destroyed owner v1", owner.encode())).digest()
    return sha256(pae(b"assay destruction owner v1", bytes.fromhex(SALT), digest))


def consent(person: Person, role: str, digest: str) -> dict[str, str]:
    said = {"destruction": "d-1", "log": ORIGIN, "role": role, "at": AT}
    about = statement("urn:assay:destruction-consent:v1", ("destruction-request", digest), said)
    return {"person": person.text, "envelope": person.envelope(about)}


def order(consents: list[dict[str, str]], digest: str) -> dict[str, Any]:
    said = {
        "destruction": "d-1", "at": AT, "log": ORIGIN, "kind": "tenant",
        "owner": commitment("north"), "reason": "the contract ended", "request": digest,
        "consents": consents,
        "keys": [{"table": "db", "key_class": "rows", "versions": {"1": KEY_ID}}],
    }  # fmt: skip
    subject = ("destruction", sha256(b"d-1"))
    return statement("urn:assay:destruction-ordered:v1", subject, said)


def completion() -> dict[str, Any]:
    said = {
        "destruction": "d-1", "at": AT, "also": [], "destroyed_at": AT, "watch_seconds": 10,
        "readings": [{"place": "db", "kind": "keys", "found": 1, "attempted": 1,
                      "refused": {"UnknownDataKeyError": 1}, "untried": ""}],
        "storage": [{"table": "db", "traced": 1, "files": 1, "bytes_read": 9, "cleaned": [], "remains": [],
                     "unsearched": ""}],
        "backups_until": "",
    }  # fmt: skip
    return statement("urn:assay:destruction:v1", ("destruction", sha256(b"d-1")), said)


def proven(entries: list[str], index: int) -> dict[str, str]:
    """An entry of a log of two, with its tlog-proof."""
    leaves = [hashlib.sha256(b"\x00" + entry.encode()).digest() for entry in entries]
    root = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    body = f"{ORIGIN}\n2\n{b64(root)}\n"
    signature = b64(LOG.key_id + LOG.key.sign(body.encode()))
    note = f"{body}\n— {ORIGIN} {signature}\n"
    proof = f"c2sp.org/tlog-proof@v1\nindex {index}\n{b64(leaves[1 - index])}\n\n{note}"
    return {"entry": entries[index], "proof": proof}


def certificate(
    asked: dict[str, Any], *, approved: tuple[Person, ...] = (ADA, GRACE), digest: str = ""
) -> dict[str, Any]:
    digest = digest or sha256(canonical(asked))
    consents = [consent(LINUS, "request", digest)]
    consents += [consent(person, "approve", digest) for person in approved]
    entries = [LOG.envelope(order(consents, digest)), LOG.envelope(completion())]
    return {
        "format": "assay destruction certificate v1",
        "request": asked,
        "ordered": proven(entries, 0),
        "completed": proven(entries, 1),
    }


def vectors() -> dict[str, Any]:
    """The file's content."""
    good, digest = certificate(request()), sha256(canonical(request()))
    refused = [
        ("another owner", certificate(request(owner="south"), digest=digest), "CertificateError"),
        ("another salt", certificate(request(salt="33" * 32), digest=digest), "CertificateError"),
        ("an owner that the order does not commit to", certificate(request(owner="south")),
         "CertificateError"),
        ("expired", certificate(request(expires_at="2026-01-01T00:00:00.000000Z")),
         "CertificateError"),
        ("one person twice", certificate(request(), approved=(ADA, ADA)), "ConsentError"),
        ("the completion twice", {**good, "ordered": good["completed"]}, "CertificateError"),
        ("the proof of the other", {**good, "ordered": {**good["ordered"],
         "proof": good["completed"]["proof"]}}, "InclusionProofError"),
        ("a member too many", {**good, "surplus": 1}, "CertificateError"),
    ]  # fmt: skip
    return {
        "source": "Made by make_destruction_vectors.py with hashlib and the Ed25519 of cryptography",
        "key": LOG.text,
        "accepted": [
            {"certificate": good, "commitment": commitment("north"), "request_digest": digest}
        ],
        "refused": [{"name": n, "certificate": c, "error": e} for n, c, e in refused],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(vectors(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
