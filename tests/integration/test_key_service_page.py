"""The page of the key service, from top to bottom, on a SoftHSM2 token."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SoftHsmToken
from .kms_server import KmsServer

BLOCK = re.compile(r"^```(\w+(?: client)?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
POLICY = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}}'
)


@pytest.fixture
def server(softhsm_token: SoftHsmToken, tmp_path: Path) -> Iterator[KmsServer]:
    made = KmsServer(
        tmp_path, softhsm_token.environment, f"pkcs11:token={softhsm_token.label}",
        f"sqlite:///{tmp_path / 'kms.db'}",
    )  # fmt: skip
    made.certificates()
    yield made
    if made.process is not None:
        made.stop()


def test_the_page_runs(server: KmsServer, repository: Path) -> None:
    page = (repository / "docs" / "key-service.md").read_text(encoding="utf-8")
    folder = server.folder
    (folder / "policy.json").write_text(POLICY)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    blocks = BLOCK.findall(page)
    assert [name for name, _ in blocks] == [
        "sh",
        "sh",
        "sh",
        "py",
        "sh client",
        "sh client",
        "sh",
        "sh",
    ]
    using = ""
    for name, body in blocks:
        text = body.replace("token=assay-kms", server.token.removeprefix("pkcs11:"))
        if "kms serve" in text:
            server.start()
            continue
        if "AWS_ENDPOINT_URL_KMS" in text:
            using = text.replace("https://localhost:8443", server.url)
            continue
        if name == "sh client":
            continue  # kms_clients/test_page.py, where these clients are
        script = text if name == "sh" else f"{using}\npython - <<'END'\n{text}\nEND"
        done = subprocess.run(
            ["sh", "-e", "-c", script], cwd=folder, capture_output=True, text=True, check=False,  # noqa: S607 - sh of the PATH
            env={
                **server.environment, "PATH": path, "HOME": str(folder),
                "ASSAY_KMS_TOKEN": server.token, "ASSAY_KMS_STATE": server.state,
            },
        )  # fmt: skip
        assert done.returncode == 0, f"{body}\n{done.stdout}{done.stderr}"
