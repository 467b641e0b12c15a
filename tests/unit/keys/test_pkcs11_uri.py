from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.keys import KeyServiceError, KeyUriError
from assay.keys.pkcs11_uri import Pkcs11Uri, find_module, parse_pkcs11_uri

ACCEPTED = {
    "pkcs11:token=assay;object=kek": Pkcs11Uri(token="assay", object="kek"),
    "pkcs11:object=kek;token=assay": Pkcs11Uri(token="assay", object="kek"),
    "pkcs11:token=My%20token;id=%01%fF;type=secret-key": Pkcs11Uri(
        token="My token", id=b"\x01\xff", type="secret-key"
    ),
    "pkcs11:serial=501b86f2;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;object=%C3%A4": (
        Pkcs11Uri(serial="501b86f2", manufacturer="SoftHSM project", model="SoftHSM v2", object="ä")
    ),
    "pkcs11:token=a%3Bb%26c;object=k?pin-source=file:/run/pin&module-path=/usr/lib/x.so": (
        Pkcs11Uri(
            token="a;b&c", object="k", pin_source="file:/run/pin", module_path="/usr/lib/x.so"
        )
    ),
    "pkcs11:token=a=b;object=k?pin-source=env:PIN": Pkcs11Uri(
        token="a=b", object="k", pin_source="env:PIN"
    ),
}
REFUSED = {
    "": "begins with pkcs11:",
    "pkcs11": "begins with pkcs11:",
    "PKCS11:token=a;object=k": "begins with pkcs11:",
    "pkcs11:": "token= or serial=",
    "pkcs11:object=kek": "token= or serial=",
    "pkcs11:token=assay": "object= or id=",
    "pkcs11:token=;object=k": "a value for token",
    "pkcs11:token;object=k": "a value for token",
    "pkcs11:token=a;token=a;object=k": "token once",
    "pkcs11:token=a;object=k;": "one of token,",
    "pkcs11:token=a;object=k;slot-id=1": "found 'slot-id'",
    "pkcs11:token=a;object=k;type=cert": "found 'cert'",
    "pkcs11:token=a b;object=k": "percent-encoded",
    "pkcs11:token=a/b;object=k": "percent-encoded",
    "pkcs11:token=ä;object=k": "percent-encoded",
    "pkcs11:token=a%2;object=k": "percent-encoded",
    "pkcs11:token=a%zz;object=k": "percent-encoded",
    "pkcs11:token=%ff;object=k": "UTF-8",
    "pkcs11:token=a;object=k#x": "percent-encoded",
    "pkcs11:token=a;object=k\n": "percent-encoded",
    "pkcs11:token=a;object=k?pin-value=1234": "no PIN",
    "pkcs11:token=a;object=k;pin-value=1234": "no PIN",
    "pkcs11:token=a;object=k?pin-source=1234": "pin-source=env:NAME",
    "pkcs11:token=a;object=k?pin-source=env:A&pin-source=env:B": "pin-source once",
    "pkcs11:token=a;object=k?module-name=softhsm2": "found 'module-name'",
}


@pytest.mark.parametrize("uri", ACCEPTED)
def test_accepted(uri: str) -> None:
    assert parse_pkcs11_uri(uri) == ACCEPTED[uri]


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri: str) -> None:
    with pytest.raises(KeyUriError, match=REFUSED[uri]) as caught:
        parse_pkcs11_uri(uri)
    assert "1234" not in str(caught.value)


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXT, TEXT, st.one_of(st.none(), st.binary(min_size=1, max_size=8)), TEXT)
def test_what_is_written_is_read_back(
    token: str, name: str, key_id: bytes | None, module: str
) -> None:
    uri = Pkcs11Uri(
        token=token, object=name, id=key_id, module_path=module, pin_source=f"file:{name}"
    )
    assert parse_pkcs11_uri(uri.with_query()) == uri


def test_without_secrets_names_the_key_and_nothing_else() -> None:
    uri = parse_pkcs11_uri("pkcs11:object=kek;token=assay?pin-source=env:PIN&module-path=/x.so")
    assert uri.without_secrets() == "pkcs11:token=assay;object=kek"


def test_the_module_is_the_one_that_was_named(tmp_path: Path) -> None:
    named, variable = tmp_path / "named.so", tmp_path / "variable.so"
    for file in (named, variable):
        file.touch()
    environment = {"ASSAY_PKCS11_MODULE": str(variable)}
    uri = parse_pkcs11_uri("pkcs11:token=a;object=k?module-path=named.so")
    assert find_module(uri, tmp_path, environment) == named
    uri = parse_pkcs11_uri("pkcs11:token=a;object=k")
    assert find_module(uri, tmp_path, environment) == variable


def test_a_missing_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = parse_pkcs11_uri("pkcs11:token=a;object=k?module-path=gone.so")
    with pytest.raises(KeyServiceError, match=r"gone\.so, found no file"):
        find_module(uri, tmp_path, {})
    monkeypatch.setattr("assay.keys.pkcs11_uri.SOFTHSM_MODULES", (str(tmp_path / "none.so"),))
    with pytest.raises(KeyServiceError, match="install SoftHSM2"):
        find_module(parse_pkcs11_uri("pkcs11:token=a;object=k"), tmp_path, {})
