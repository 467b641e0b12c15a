"""The keys of the key management service on a real SoftHSM2 token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kms_token_contract import CONTRACT

from assay.core import Fidelity
from assay.keys import open_token
from assay.kms.errors import TokenUnavailableError
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.token import Token


def opened(softhsm_token: Any) -> Pkcs11Token:
    uri = f"pkcs11:token={softhsm_token.label}?module-path={softhsm_token.module}"
    return Pkcs11Token(open_token(uri, directory=Path(), environment=softhsm_token.environment))


@pytest.fixture
def token(softhsm_token: Any) -> Iterator[Pkcs11Token]:
    found = opened(softhsm_token)
    yield found
    found.close()


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_the_token_keeps_the_contract(rule: Callable[[Token], None], token: Pkcs11Token) -> None:
    rule(token)


def test_it_says_that_it_is_a_stand_in(token: Pkcs11Token) -> None:
    assert token.fidelity is Fidelity.EMULATED


def test_a_closed_token_does_nothing(token: Pkcs11Token) -> None:
    token.close()
    with pytest.raises(TokenUnavailableError, match="was closed"):
        token.random(16)
