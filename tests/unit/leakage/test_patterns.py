# ruff: noqa: S311 - seeded, so that a failure can be repeated
from __future__ import annotations

import base64
import hashlib
import html
import json
import quopri
import random
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.leakage import Canary, CanaryKind, Pattern, make_canaries, patterns

# One shard of ten bytes with a character of each case, so that every transform differs.
MIXED = Canary("name", CanaryKind.TEXT, "Quiet+Riv/é7", ("Quiet+Riv/é7",))

# Worked out by hand or with the tools named, not with the code under test.
KNOWN = {
    "UTF-8": b"Quiet+Riv/\xc3\xa97",
    "UTF-8 lower case": b"quiet+riv/\xc3\xa97",
    "UTF-8 upper case": b"QUIET+RIV/\xc3\x897",
    "UTF-8 NFD": b"Quiet+Riv/e\xcc\x817",
    "UTF-16LE": b"Q\0u\0i\0e\0t\0+\0R\0i\0v\0/\0\xe9\x007\0",
    "UTF-16BE": b"\0Q\0u\0i\0e\0t\0+\0R\0i\0v\0/\0\xe9\x007",
    "reversed": b"7\xc3\xa9/viR+teiuQ",
    "hex lower": b"51756965742b5269762fc3a937",
    "hex upper": b"51756965742B5269762FC3A937",
    "base64 offset 0": b"UXVpZXQrUml2L8OpN",  # base64 of the value: UXVpZXQrUml2L8OpNw==
    "base64url offset 1": b"F1aWV0K1Jpdi_DqT",  # of "x" + the value: eFF1aWV0K1Jpdi_DqTc=
    "base64 offset 1": b"F1aWV0K1Jpdi/DqT",
    "base64 offset 2": b"RdWlldCtSaXYvw6k3",  # of "xx" + the value: eHhRdWlldCtSaXYvw6k3
    "base32 offset 0": b"KF2WSZLUFNJGS5RPYOUT",
    "URL escapes minimal": b"Quiet%2BRiv%2F%C3%A97",
    "URL escapes lower": b"%51%75%69%65%74%2b%52%69%76%2f%c3%a9%37",
    "quoted-printable": b"Quiet+Riv/=C3=A97",
    "quoted-printable all": b"=51=75=69=65=74=2B=52=69=76=2F=C3=A9=37",
    "JSON escapes lower": (
        rb"\u0051\u0075\u0069\u0065\u0074\u002b\u0052\u0069\u0076\u002f\u00e9\u0037"
    ),
    "JSON escapes minimal": rb"Quiet+Riv/\u00e97",
    "HTML escapes decimal": b"&#81;&#117;&#105;&#101;&#116;&#43;&#82;&#105;&#118;&#47;&#233;&#55;",
    "backslash x": rb"\x51\x75\x69\x65\x74\x2b\x52\x69\x76\x2f\xc3\xa9\x37",
}


@pytest.mark.parametrize("transform", KNOWN)
def test_known_spellings(transform: str) -> None:
    found = {item.transform: item.data for item in patterns([MIXED]) if item.piece == "whole"}
    assert found[transform] == KNOWN[transform]


DIGESTS = {  # of "abcdefgh", from the reference tools md5sum, sha1sum and sha256sum
    "MD5 hex lower": b"e8dc4081b13434b45189a720b77b6818",
    "SHA-1 hex lower": b"425af12a0743502b322e93a015bcf868e324d56a",
    "SHA-256 hex lower": b"9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
}


def test_digests_of_the_whole_value_raw_and_hex() -> None:
    canary = Canary("name", CanaryKind.TEXT, "abcdefgh", ("abcdefgh",))
    found = {item.transform: item.data for item in patterns([canary])}
    for name, data in DIGESTS.items():
        algorithm = name.removesuffix(" hex lower")
        assert found[name] == data
        assert found[algorithm] == bytes.fromhex(data.decode())
        assert found[f"{algorithm} hex upper"] == data.upper()


def test_numbers_as_databases_store_them() -> None:
    canary = Canary("n", CanaryKind.NUMBER, "123456789012345678", ("123456789012",))
    found = {item.transform: item.data for item in patterns([canary])}
    assert found["64-bit integer big endian"] == bytes.fromhex("01b69b4ba630f34e")
    assert found["64-bit integer little endian"] == bytes.fromhex("4ef330a64b9bb601")
    assert found["BCD"] == bytes.fromhex("123456789012345678")
    # 12 3456 7890 1234 5678 in base 10000
    assert found["numeric big endian"] == bytes.fromhex("000c 0d80 1ed2 04d2 162e")
    assert found["numeric little endian"] == bytes.fromhex("0c00 800d d21e d204 2e16")


def test_equal_bytes_are_searched_once_and_pieces_are_told_apart() -> None:
    (canary,) = make_canaries({"text": CanaryKind.TEXT}, random.Random(1))
    found = patterns([canary])
    assert len({item.data for item in found}) == len(found)
    assert {item.piece for item in found} == {"whole", "shard 1", "shard 2", "shard 3", "shard 4"}


def test_canaries_are_told_apart_by_their_index() -> None:
    pair = make_canaries({"a": CanaryKind.TEXT, "b": CanaryKind.EMAIL}, random.Random(1))
    by_data = {item.data: item.canary for item in patterns(pair)}
    assert [by_data[canary.value.encode()] for canary in pair] == [0, 1]


@pytest.mark.parametrize("kind", CanaryKind)
def test_no_pattern_of_a_made_canary_is_short_enough_for_chance(kind: CanaryKind) -> None:
    for seed in range(50):
        made = make_canaries({"field": kind}, random.Random(seed))
        assert min(len(item.data) for item in patterns(made)) >= 8


def _swapped_utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


# How the world spells a text that holds the value somewhere: with encoders of the standard
# library over the whole text, so that the neighbours take part.
SPELLINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "UTF-16LE": lambda text: text.encode("utf-16-le"),
    "UTF-16BE": _swapped_utf16,
    "lower case": lambda text: text.lower().encode(),
    "upper case": lambda text: text.upper().encode(),
    "upper case UTF-16": lambda text: text.upper().encode("utf-16-le"),
    "reversed": lambda text: text[::-1].encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "hex upper": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()),
    "base32": lambda text: base64.b32encode(text.encode()),
    "base32 lower": lambda text: base64.b32encode(text.encode()).lower(),
    "JSON": lambda text: json.dumps(text).encode(),
    "JSON unescaped": lambda text: json.dumps(text, ensure_ascii=False).encode(),
    "JSON all escaped": lambda text: b"".join(
        b"\\u%04x" % unit for unit in memoryview(text.encode("utf-16-le")).cast("H")
    ),
    "URL": lambda text: urllib.parse.quote(text, safe="").encode(),
    "URL form": lambda text: urllib.parse.urlencode({"q": text}).encode(),
    "URL all escaped": lambda text: b"".join(b"%%%02X" % byte for byte in text.encode()),
    "quoted-printable all": lambda text: b"".join(b"=%02X" % byte for byte in text.encode()),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()).replace(b"=\n", b""),
    "HTML": lambda text: html.escape(text).encode(),
    "HTML all escaped": lambda text: "".join(f"&#x{ord(char):x};" for char in text).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=40, deadline=None)
@given(
    before=st.text(max_size=12),
    after=st.text(max_size=12),
    kind=st.sampled_from(CanaryKind),
    seed=st.integers(0, 2**32),
)
def test_a_value_in_any_context_is_found_in_every_spelling(
    spelling: str, before: str, after: str, kind: CanaryKind, seed: int
) -> None:
    (canary,) = make_canaries({"field": kind}, random.Random(seed))
    text = f"{before} {canary.value} {after}".encode("utf-8", "replace").decode()
    written = SPELLINGS[spelling](text)
    found = {item.piece for item in patterns([canary]) if item.data in written}
    # The whole value is in a pattern of its own in each spelling, not only by its shards.
    assert "whole" in found
    assert {f"shard {n}" for n in range(1, len(canary.shards) + 1)} <= found


@settings(max_examples=60, deadline=None)
@given(data=st.data(), before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_grouped_encodings_are_found_at_every_offset_among_any_bytes(
    data: st.DataObject, before: bytes, after: bytes
) -> None:
    text = data.draw(
        st.text(st.characters(min_codepoint=33, codec="utf-8"), min_size=8, max_size=20)
    )
    canary = Canary("field", CanaryKind.TEXT, text, (text,))
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.b32encode):
        written = encode(before + text.encode() + after)
        assert any(item.data in written for item in patterns([canary]))


@given(st.sampled_from(["md5", "sha1", "sha256"]), st.booleans(), st.integers(0, 2**32))
def test_unsalted_digests_are_found(algorithm: str, upper: bool, seed: int) -> None:
    (canary,) = make_canaries({"email": CanaryKind.EMAIL}, random.Random(seed))
    value = canary.value.upper() if upper else canary.value
    digest = hashlib.new(algorithm, value.encode()).digest()
    for written in (digest, digest.hex().encode(), base64.b64encode(digest)):
        assert any(item.data in b"#" + written + b"#" for item in patterns([canary]))


def test_a_pattern_is_a_plain_value() -> None:
    assert Pattern(0, "whole", "UTF-8", b"x") == Pattern(0, "whole", "UTF-8", b"x")
