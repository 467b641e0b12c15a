"""AWS's own clients, unchanged, and a running `assay kms serve` for them.

- `kms`: a service of this test process on a SoftHSM2 token, and its administrator's access key.
- `python_clients`: AWS CLI, AWS Encryption SDK and Amazon S3 Encryption Client, in an environment
  of their own from the hash-locked ``python.txt`` (made from ``python.in`` by ``uv pip compile
  --universal --python-version 3.11 --generate-hashes``).
- `node_clients`: the AWS SDK and Encryption SDK for JavaScript, from ``node/package-lock.json``.
- `sops`: its command, built from source by ``sops/go.mod``.
- `seaweedfs`: an S3 server that encrypts with keys of the service, built by ``weed/go.mod``.

Each is installed once, into the tools of the checkout, in a folder named by what it is made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.core import PinnedTool, tools_home

from ..conftest import new_token
from ..kms_server import ACCOUNT, KmsServer
from .seaweedfs import S3, served

HERE = Path(__file__).parent
_BUILD_SECONDS, _ANSWER_SECONDS = 900, 120


@dataclass(frozen=True)
class Kms:
    """A running service.

    Attributes:
        server: its process.
        admin: the access key of a principal who may do everything.
    """

    server: KmsServer
    admin: Mapping[str, str]

    @property
    def client(self) -> Any:
        """The administrator's boto3."""
        return self.server.client(self.admin)

    @property
    def account(self) -> str:
        """Whose keys these are."""
        return ACCOUNT

    def key(self, **options: Any) -> str:
        """The ARN of a new key."""
        made: str = self.client.create_key(**options)["KeyMetadata"]["Arn"]
        return made

    def environment(self, access: Mapping[str, str] | None = None, **more: str) -> dict[str, str]:
        """What the page tells to set, and nothing else."""
        return {**self.server.environment_of(self.admin if access is None else access), **more}

    def performed(self, action: str, key: str) -> list[str]:
        """The outcomes of an action on a key, oldest first, by the audit trail."""
        return [
            each["outcome"]
            for each in self.server.events()
            if (each.get("action"), each.get("key")) == (action, key)
        ]


@pytest.fixture(scope="session")
def kms(softhsm_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kms]:
    """A service of this test process."""
    token, folder = new_token(softhsm_directory), tmp_path_factory.mktemp("kms")
    server = KmsServer(
        folder, token.environment, f"pkcs11:token={token.label}", f"sqlite:///{folder / 'kms.db'}"
    )
    server.prepare()
    admin = server.user("admin", full_access=True)
    server.start()
    try:
        yield Kms(server, admin)
    finally:
        if server.process is not None:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def reader(kms: Kms) -> Mapping[str, str]:
    """The access key of a principal who may do nothing of himself."""
    return kms.server.user("reader")


@pytest.fixture(scope="session")
def python_clients() -> Path:
    """The commands of the environment with AWS's clients in Python."""
    requirements = HERE / "python.txt"
    version = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    tool = PinnedTool("aws-clients", version, requirements, tools_home())
    with _locked(tool.environment.with_suffix(".lock")):
        tool.create(sys.executable)
    return tool.executable("python").parent


@pytest.fixture(scope="session")
def node_clients(needs: Callable[[str], None]) -> Path:
    """A folder with AWS's clients in JavaScript, and our programme that uses them."""
    needs("node")
    sources = [HERE / "node" / name for name in ("package.json", "package-lock.json")]
    folder = _folder("aws-clients-node", sources)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            for each in sources:
                shutil.copy(each, folder)
            _made(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def sops(built: Callable[[str, str, str], Path]) -> Path:
    """The command."""
    return built("sops", "github.com/getsops/sops/v3/cmd/sops", "one minute")


@pytest.fixture(scope="session")
def seaweedfs(
    built: Callable[[str, str, str], Path], kms: Kms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3]:
    """An S3 server of this test process; `kms` is its key service, by an access key of its own."""
    program = built("weed", "github.com/seaweedfs/seaweedfs/weed", "three minutes")
    yield from served(program, kms, tmp_path_factory.mktemp("seaweedfs"))


@pytest.fixture(scope="session")
def built(
    needs: Callable[[str], None], pytestconfig: pytest.Config
) -> Callable[[str, str, str], Path]:
    """Builds a Go command from the module of the folder of that name, when that has changed."""
    needs("go")

    def build(name: str, package: str, lasts: str) -> Path:
        source = HERE / name
        folder = _folder(name, [source / "go.mod", source / "go.sum"])
        with _locked(folder.with_suffix(".lock")):
            if not (folder / name).exists():
                capture = pytestconfig.pluginmanager.getplugin("capturemanager")
                with capture.global_and_fixture_disabled():
                    print(f"\nBuilding {name} from source, once: about {lasts}", file=sys.stderr)
                unfinished = folder / f"{name}.new"
                _made(
                    ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), package],
                    source,
                )
                unfinished.rename(folder / name)
        return folder / name

    return build


def _folder(name: str, sources: Sequence[Path]) -> Path:
    """A folder among the tools, named by what it is made from."""
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    folder = tools_home() / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _locked:  # noqa: N801 - used like a function
    """Workers of pytest-xdist make a thing once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _made(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS
    )
    if done.returncode:
        pytest.fail(
            f"expected `{' '.join(command)}` to end well (it needs its package registry the first "
            f"time), found:\n{(done.stdout + done.stderr)[-2000:]}",
            pytrace=False,
        )


class ClientError(Exception):
    """What a client raised, as ``Kind: message``."""


class Programme:
    """A programme that uses a client: takes a line of JSON for a call and gives one back.

    Args:
        command: starts it.
        environment: all that it knows of the service.
        folder: where it runs.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self._log = (folder / f"{Path(command[-1]).name}.log").open("w+")
        self._process = subprocess.Popen(
            command, env=environment, cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Call, and give what it gave or raise what it raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            pytest.fail(f"the programme ended: {self._log.read()[-3000:]}", pytrace=False)
        told = json.loads(line)
        if "error" in told:
            raise ClientError(told["error"])
        return told["answer"]

    def close(self) -> None:
        """End it with its input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_ANSWER_SECONDS)
        self._process.stdout.close()
        self._log.close()
