"""What the context opens, and what it refuses to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.controls.context import Context
from assay.controls.twins.programme import twin_programme
from assay.keys import KeyNotFoundError, KeyUriError


def test_a_key_that_does_not_sign_every_statement_is_no_key_of_a_log(tmp_path: Path) -> None:
    programme = twin_programme(signer="env:LOG")
    environment = {"LOG": "aws-kms:alias/log?region=eu-central-1"}
    with Context(tmp_path, programme, environment=environment) as context:
        with pytest.raises(KeyUriError, match="found aws-kms:, which signs at most 4096 bytes"):
            context.signer()


def test_a_key_that_signs_whatever_comes_is_opened(tmp_path: Path) -> None:
    programme = twin_programme(signer="embedded:keys.json?object=log&passphrase-source=env:P")
    with Context(tmp_path, programme, environment={"P": "correct horse battery"}) as context:
        with pytest.raises(KeyNotFoundError):  # it was looked for
            context.signer()
