from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.keys import KeyUriError
from assay.keys.vault_uri import VaultUri, parse_key_path, parse_vault_uri

ACCEPTED = {
    "vault:transit/keys/kek": VaultUri("transit", "kek"),
    "vault:transit/keys/kek?": VaultUri("transit", "kek"),
    "vault:a/b-c/d_e/keys/k.1-2_3": VaultUri("a/b-c/d_e", "k.1-2_3"),
    "vault:keys/keys/keys": VaultUri("keys", "keys"),
    "vault:t/keys/k?address=https://vault.example:8200/": VaultUri(
        "t", "k", "https://vault.example:8200/"
    ),
    "vault:t/keys/k?address=http://127.0.0.1:8200&deadline=300": VaultUri(
        "t", "k", "http://127.0.0.1:8200", deadline_seconds=300
    ),
    "vault:t/keys/k?namespace=a/b/&ca=data/ca%20new.pem": VaultUri(
        "t", "k", namespace="a/b", ca="data/ca new.pem"
    ),
    "vault:t/keys/k?token-source=file:a%26b": VaultUri("t", "k", token_source="file:a&b"),
    "vault:t/keys/k?role-id-source=env:R&secret-id-source=file:s&approle=a/b": VaultUri(
        "t", "k", role_id_source="env:R", secret_id_source="file:s", approle="a/b"
    ),
}
PATH = "vault:MOUNT/keys/NAME"
REFUSED = {
    "": "begins with vault:",
    "vault": "begins with vault:",
    "VAULT:t/keys/k": "begins with vault:",
    "vault:": PATH,
    "vault:k": PATH,
    "vault:t/k": PATH,
    "vault:/keys/k": PATH,
    "vault:t/keys/": PATH,
    "vault:t//keys/k": PATH,
    "vault:/t/keys/k": PATH,
    "vault:t/keys/k/": PATH,
    "vault:t/keys/k/config": PATH,
    "vault:t/keys/../k": PATH,
    "vault:../keys/k": PATH,
    "vault:t/keys/k.": PATH,
    "vault:t/keys/-k": PATH,
    "vault:t/keys/k\n": PATH,
    "vault:t/keys/ä": PATH,
    "vault:t/keys/a%2Fb": PATH,
    "vault:t/keys/a#b": PATH,
    f"vault:t/keys/{'k' * 129}": PATH,
    "vault:sys/keys/k": PATH,
    "vault:auth/approle/keys/k": PATH,
    "vault:t/keys/k?address=http://vault.example": "http:// only for this machine",
    "vault:t/keys/k?address=https://me:hunter2@vault.example": "http:// only for this machine",
    "vault:t/keys/k?address=https://vault.example/v1": "http:// only for this machine",
    "vault:t/keys/k?address=vault.example:8200": "http:// only for this machine",
    "vault:t/keys/k?namespace=a b": "namespace= in the vault URI to be a path",
    "vault:t/keys/k?namespace=../b": "namespace= in the vault URI to be a path",
    "vault:t/keys/k?namespace=a%0d%0aX-Vault-Token:b": "namespace= in the vault URI to be a path",
    "vault:t/keys/k?role-id-source=env:R&secret-id-source=env:S&approle=a?b": "approle= in",
    "vault:t/keys/k?token-source=hvs.hunter2": "token-source=env:NAME or",
    "vault:t/keys/k?role-id-source=hunter2&secret-id-source=env:S": "role-id-source=env:NAME or",
    "vault:t/keys/k?role-id-source=env:R": "both role-id-source= and",
    "vault:t/keys/k?secret-id-source=env:R": "both role-id-source= and",
    "vault:t/keys/k?approle=a": "both role-id-source= and",
    "vault:t/keys/k?role-id-source=env:R&secret-id-source=env:S&token-source=env:T": "found both",
    "vault:t/keys/k?token=hvs.hunter2": "no credentials",
    "vault:t/keys/k?secret_id=hunter2": "no credentials",
    "vault:t/keys/k?role_id=hunter2": "no credentials",
    "vault:t/keys/k?Password=hunter2": "no credentials",
    "vault:t/keys/k?verify=false": "found 'verify'",
    "vault:t/keys/k?address=https://a&address=https://a": "address once",
    "vault:t/keys/k?ca=%ff": "percent-encoded UTF-8",
    "vault:t/keys/k?deadline=0": "from 1 to 300",
    "vault:t/keys/k?deadline=301": "from 1 to 300",
}


@pytest.mark.parametrize("uri", ACCEPTED)
def test_accepted(uri: str) -> None:
    assert parse_vault_uri(uri) == ACCEPTED[uri]


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri: str) -> None:
    with pytest.raises(KeyUriError, match=REFUSED[uri]) as caught:
        parse_vault_uri(uri)
    assert "hunter2" not in str(caught.value)


PATHS = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,9}[A-Za-z0-9_])?", fullmatch=True)
MOUNTS = st.lists(PATHS, min_size=1, max_size=4).map("/".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
REFERENCES = st.builds("{}:{}".format, st.sampled_from(["env", "file"]), TEXTS)
LOGINS = st.one_of(
    st.fixed_dictionaries({"token_source": st.none() | REFERENCES}),
    st.fixed_dictionaries(
        {
            "role_id_source": REFERENCES,
            "secret_id_source": REFERENCES,
            "approle": st.none() | MOUNTS,
        }
    ),
)


URIS = st.builds(
    lambda mount, name, login, **others: VaultUri(mount, name, "https://v", **login, **others),
    MOUNTS.filter(lambda m: m.split("/")[0] not in {"sys", "auth", "identity", "cubbyhole"}),
    st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,9}[A-Za-z0-9_])?", fullmatch=True),
    LOGINS,
    namespace=st.none() | MOUNTS,
    ca=st.none() | TEXTS,
    deadline_seconds=st.integers(1, 300),
)


@given(URIS)
def test_what_is_written_is_read_back(uri: VaultUri) -> None:
    assert parse_vault_uri(uri.with_query()) == uri
    assert parse_vault_uri(uri.without_options()) == VaultUri(uri.mount, uri.name)
    assert parse_key_path(f"{uri.mount}/keys/{uri.name}") == (uri.mount, uri.name)
