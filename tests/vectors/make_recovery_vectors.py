"""Writes ``embedded-recovery.json``; run by hand when the format has a new version."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.core import to_canonical_json
from assay.keys.bip39_slip39 import split_secret
from assay.keys.embedded_format import ScryptParameters, StoredKey
from assay.keys.embedded_slots import PassphraseSlot, RecoverySlot, SlottedStore
from assay.keys.recovery_shares import write_share

PASSPHRASE = "correct horse battery"


def drawn(seed: int) -> Callable[[int], bytes]:
    counter = itertools.count(seed)
    return lambda size: bytes((next(counter) * 37 + at * 11) % 256 for at in range(size))


def accepted(
    name: str, threshold: int, custodians: tuple[str, ...], revoked: tuple[int, ...]
) -> dict[str, Any]:
    draw = drawn(len(name))
    keys = {"kek": StoredKey("aes-256", draw(32)), "log": StoredKey("ed25519", draw(32))}
    store, store_key, secret = draw(16), draw(32), draw(32)
    split, words = split_secret(secret, threshold, len(custodians), revoked, draw)
    salt, nonce, slot_nonce, body_nonce = draw(16), draw(12), draw(12), draw(12)
    parts = iter((salt, nonce))
    by_passphrase = PassphraseSlot.seal(
        store_key, store, PASSPHRASE, ScryptParameters(n=2**14), lambda _: next(parts)
    )
    slot = RecoverySlot(split, threshold, custodians).sealing(store_key, store, secret, slot_nonce)
    file = SlottedStore(store, by_passphrase, slot, revoked).sealed_with(
        store_key, keys, body_nonce
    )
    return {
        "name": name,
        "passphrase": PASSPHRASE,
        "keys": {k: {"type": v.type, "material": v.material.hex()} for k, v in keys.items()},
        "store": store.hex(),
        "store_key": store_key.hex(),
        "secret": secret.hex(),
        "split": split,
        "threshold": threshold,
        "custodians": list(custodians),
        "revoked": list(revoked),
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "slot_nonce": slot_nonce.hex(),
        "body_nonce": body_nonce.hex(),
        "file": file.decode(),
        "shares": [write_share(store, slot, at, each) for at, each in enumerate(words)],
    }


def refused_files(file: str) -> list[dict[str, str]]:
    def changed(
        name: str, error: str, change: Callable[[dict[str, Any]], object]
    ) -> dict[str, str]:
        value = json.loads(file)
        change(value)
        return {"name": name, "error": error, "file": to_canonical_json(value).decode()}

    def flip(holder: dict[str, Any], member: str) -> None:
        data = bytearray(base64.b64decode(holder[member]))
        data[0] ^= 1
        holder[member] = base64.b64encode(bytes(data)).decode()

    slot = lambda value: value["recovery"][0]  # noqa: E731 - one expression, used below
    form, altered, wrong = "KeyStoreFormatError", "KeyStoreAlteredError", "PassphraseError"
    return [
        changed("another sealed byte", altered, lambda v: flip(v, "sealed")),
        changed("another nonce of the body", altered, lambda v: flip(v["cipher"], "nonce")),
        changed("another recovery slot", altered, lambda v: flip(slot(v), "sealed")),
        changed("recovery slot removed", altered, lambda v: v["recovery"].clear()),
        changed("another custodian", altered, lambda v: slot(v)["custodians"].__setitem__(0, "eve")),
        changed("a lower threshold", altered, lambda v: slot(v).__setitem__("threshold", 2)),
        changed("a split unrevoked", altered, lambda v: v["revoked"].pop()),
        changed("another passphrase slot", wrong, lambda v: flip(v["passphrase"], "sealed")),
        changed("another salt", wrong, lambda v: flip(v["passphrase"]["kdf"], "salt")),
        changed("another store", wrong, lambda v: flip(v, "store")),
        changed("version 3", form, lambda v: v.__setitem__("version", 3)),
        changed("another cipher", form, lambda v: v["cipher"].__setitem__("name", "AES-128-GCM")),
        changed("extra member", form, lambda v: v.__setitem__("more", 1)),
        changed("extra member of the slot", form, lambda v: slot(v).__setitem__("more", 1)),
        changed("two recovery slots", form, lambda v: v["recovery"].append(slot(v))),
        changed("threshold 1", form, lambda v: slot(v).__setitem__("threshold", 1)),
        changed("threshold above", form, lambda v: slot(v).__setitem__("threshold", 6)),
        changed("one custodian", form, lambda v: slot(v)["custodians"].__delitem__(slice(1, None))),
        changed("custodian twice", form, lambda v: slot(v)["custodians"].__setitem__(1, "ada")),
        changed("custodian with a slash", form, lambda v: slot(v)["custodians"].__setitem__(1, "a/b")),
        changed("17 custodians", form, lambda v: slot(v)["custodians"].extend(map(str, range(12)))),
        changed("split of 16 bits", form, lambda v: slot(v).__setitem__("split", 32768)),
        changed("current split revoked", form, lambda v: v.__setitem__("revoked", [slot(v)["split"]])),
        changed("revoked descend", form, lambda v: v.__setitem__("revoked", [2, 1])),
        changed("revoked twice", form, lambda v: v.__setitem__("revoked", [1, 1])),
        changed("revoked negative", form, lambda v: v.__setitem__("revoked", [-1])),
        changed("1,001 revoked", form, lambda v: v.__setitem__("revoked", list(range(1001)))),
        changed("store too short", form, lambda v: v.__setitem__("store", "AAAA")),
        changed("slot too short", form, lambda v: slot(v).__setitem__("sealed", "AAAA")),
        changed("N above the bound", "KeyStoreKdfError",
                lambda v: v["passphrase"]["kdf"].__setitem__("n", 2**19)),
        changed("another derivation", "KeyStoreKdfError",
                lambda v: v["passphrase"]["kdf"].__setitem__("name", "pbkdf2")),
    ]  # fmt: skip


def refused_shares(vector: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    shares, head = vector["shares"], vector["shares"][0].split("\nwords ")[0]
    words = shares[0].split("\nwords ")[1].split()
    swapped = " ".join([*words[:10], words[11], words[10], *words[12:]])
    gone = [*shares]
    del gone[3:]
    form, damaged = "ShareFormatError", "DamagedShareError"
    return [
        {"name": "too few", "error": "TooFewSharesError", "shares": shares[:2]},
        {"name": "none", "error": "TooFewSharesError", "shares": []},
        {"name": "one twice", "error": "DuplicateShareError", "shares": [shares[0], *shares[:2]]},
        {"name": "words and file of one", "error": "DuplicateShareError",
         "shares": [shares[0], " ".join(words).upper(), shares[1]]},
        {"name": "another store", "error": "ForeignShareError", "shares": other["shares"]},
        {"name": "mixed", "error": "MixedSharesError", "shares": [*shares[:2], other["shares"][0]]},
        {"name": "two words swapped", "error": damaged, "shares": [f"{head}\nwords {swapped}\n"]},
        {"name": "a word that is none", "error": damaged,
         "shares": [" ".join(["xyzzy", *words[1:]])]},
        {"name": "a word too few", "error": form, "shares": [" ".join(words[1:])]},
        {"name": "a word too many", "error": form, "shares": [" ".join([*words, "academic"])]},
        {"name": "empty", "error": form, "shares": [""]},
        {"name": "another split in the lines", "error": form,
         "shares": [shares[0].replace(f"split {vector['split']}", "split 1")]},
        {"name": "another place in the lines", "error": form,
         "shares": [shares[0].replace("share 1 of", "share 2 of")]},
        {"name": "carriage returns", "error": form, "shares": [shares[0].replace("\n", "\r\n")]},
        {"name": "a line more", "error": form, "shares": [shares[0] + "\n"]},
        {"name": "another version", "error": form, "shares": [shares[0].replace("share 1\n", "share 2\n")]},
        {"name": "4,097 bytes", "error": form, "shares": [" " * 4097]},
        {"name": "a wallet's share of 33 words", "error": form, "shares": [WALLET]},
        {"name": "another store in the line", "error": "ForeignShareError",
         "shares": [each.replace(vector["store"], "00" * 16) for each in shares[:3]]},
    ]  # fmt: skip


# From the vectors of SLIP-39: "Valid mnemonic without sharing (256 bits)".
WALLET = (
    "theory painting academic academic armed sweater year military elder discuss acne wildlife "
    "boring employer fused large satoshi bundle carbon diagnose anatomy hamster leaves tracks "
    "paces beyond phantom capital marvel lips brave detect luck"
)

if __name__ == "__main__":
    first = accepted("three of five", 3, ("ada", "grace", "edsger", "barbara", "alan"), (7, 4096))
    second = accepted("two of two", 2, ("A.1", "b_2"), ())
    most = accepted("sixteen of sixteen", 16, tuple(f"c{at}" for at in range(16)), ())
    other = accepted("of another store", 3, ("ada", "grace", "edsger"), ())
    document = {
        "specification": "spec/embedded-key-store.md",
        "accepted": [first, second, most],
        "refused_files": refused_files(first["file"]),
        "refused_shares": refused_shares(first, other),
    }
    path = Path(__file__).with_name("embedded-recovery.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
