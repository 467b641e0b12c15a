"""Metal's key management service: ``assay kms serve`` in front of its token.

Set up once: the service's state, two principals, the key that wraps the data keys. Metal itself may
use that key and look at it, and nothing else; whoever made it may do anything, and has no access
key any more.

Example:
    >>> prepare_key_service(settings, "pkcs11:token=metal?…")     # doctest: +SKIP
    {'METAL_KEYS': 'aws-kms:arn:aws:kms:eu-central-1:111122223333:key/…?…', ...}
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from assay.assemble import ServicePlace, initialise_key_server, open_administration, serve_keys
from assay.core import exclusive_lock, write_atomically
from assay.keys import KeyExistsError, create_key, open_key_service
from metal.addresses import read_address
from metal.certificates import NAMES, ensure_certificate
from metal.errors import StartError
from metal.settings import Settings

ACCOUNT, REGION = "111122223333", "eu-central-1"

_START_SECONDS = 60.0
_ALIAS = "alias/metal-kek"
_COMPANY, _MAKER = "metal", "maker"
# What assay.keys.aws_kms names as the least privileges to seal, to read and to observe custody.
_ACTIONS = (
    "DescribeKey", "GenerateDataKey", "Decrypt", "ReEncryptFrom", "ReEncryptTo",
    "GetKeyRotationStatus", "GetKeyPolicy", "ListGrants", "GetPublicKey", "GetParametersForImport",
)  # fmt: skip


def prepare_key_service(settings: Settings, token: str) -> Mapping[str, str]:
    """Make the service and the key, where they are not there yet.

    Args:
        settings: where everything is.
        token: URI of the token, without a key.

    Returns:
        The variables by which Metal, Assay and AWS's own tools find both.

    Raises:
        AssayError, StartError: something could not be made; what was is used the next time.
    """
    folder = settings.key_service
    folder.mkdir(mode=0o700, exist_ok=True)
    place = _place(settings, token)
    found = {
        "ASSAY_KMS_STATE": place.state,
        "ASSAY_KMS_TOKEN": place.token,
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_ENDPOINT_URL_KMS": f"https://localhost:{settings.kms_port}",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        "AWS_PROFILE": _COMPANY,
    }
    record = folder / "kek"
    if not record.exists():
        _make(settings, place, {**os.environ, **found}, record)
    arn = record.read_text(encoding="ascii").strip()
    trusted = quote(str(folder / "ca.pem"), safe="/")
    return {"METAL_KEYS": f"aws-kms:{arn}?ca={trusted}&profile={_COMPANY}", **found}


def serve_key_service(
    settings: Settings, *, say: Callable[[str], None], stop_at_end_of_input: bool = False
) -> None:
    """Serve until SIGTERM; says where in ``key-service.json``.

    Args:
        settings: where everything is, and the port.
        say: shows a line to whoever started it.
        stop_at_end_of_input: stop as well when standard input ends.

    Raises:
        AssayError: the token or the state cannot be opened, or the port is taken.
        StartError: Metal was not set up with a key service.
    """
    token = os.environ.get("ASSAY_KMS_TOKEN")
    if not (settings.key_service / "kms.db").exists() or not token:
        raise StartError(
            f"expected a key service in {settings.key_service}, found none; run `python -m metal "
            "setup` and use the environment that it prints"
        )
    authority, server = settings.key_service / "ca.pem", settings.key_service / "server.pem"
    ensure_certificate(authority, server)

    def ready(_: str, port: int, fidelity: object) -> None:
        address = {"pid": os.getpid(), "https": f"https://{NAMES[0]}:{port}"}
        write_atomically(settings.key_service_file, json.dumps(address).encode() + b"\n")
        say(f"metal: keys are at {address['https']} ({fidelity})")

    if stop_at_end_of_input:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    with exclusive_lock(settings.key_service / "server.lock", "Metal's key service"):
        try:
            serve_keys(
                _place(settings, token),
                host="127.0.0.1",
                port=settings.kms_port,
                certificate=server,
                private_key=server,
                ready=ready,
            )
        finally:
            settings.key_service_file.unlink(missing_ok=True)


def _place(settings: Settings, token: str) -> ServicePlace:
    return ServicePlace(f"sqlite:///{settings.key_service / 'kms.db'}", token, settings.home)


def _make(
    settings: Settings, place: ServicePlace, environment: Mapping[str, str], record: Path
) -> None:
    """Everything that is missing; each step may have been done by a set-up that was interrupted."""
    if not (settings.key_service / "kms.db").exists():
        initialise_key_server(place, account=ACCOUNT, region=REGION)
    credentials = settings.key_service / "credentials"
    with open_administration(place) as administration:
        there = {each.arn.rpartition("/")[2] for each in administration.principals()}
        for name in (_COMPANY, _MAKER):
            if name not in there:
                administration.add_principal(name)
            for key in administration.access_keys(_arn(name)):
                administration.remove_access_key(key.access_key_id)  # whose secret nobody has
        administration.put_policy(_MAKER, "everything", _policy(("*",)))
        administration.put_policy(_COMPANY, "use-and-observe", _policy(_ACTIONS))
        made = {name: administration.create_access_key(name) for name in (_COMPANY, _MAKER)}
        lines = {
            name: f"[{name}]\naws_access_key_id = {key.access_key_id}\n"
            f"aws_secret_access_key = {key.secret}\n"
            for name, key in made.items()
        }
        write_atomically(credentials, "".join(lines.values()).encode(), mode=0o600)
        arn = _make_kek(settings, environment)
        administration.remove_access_key(made[_MAKER].access_key_id)
    write_atomically(credentials, lines[_COMPANY].encode(), mode=0o600)
    write_atomically(record, f"{arn}\n".encode())


def _make_kek(settings: Settings, environment: Mapping[str, str]) -> str:
    """The key that wraps the data keys, made by the service; its ARN."""
    here: Any = {"directory": settings.home, "environment": environment}
    with _running(environment, settings) as endpoint, _environment(environment):
        trusted = quote(environment["AWS_CA_BUNDLE"], safe="/")
        options = f"region={REGION}&endpoint={endpoint}&ca={trusted}&profile={_MAKER}"
        uri = f"aws-kms:{_ALIAS}?{options}"
        with suppress(KeyExistsError):  # an interrupted set-up got so far
            create_key(uri, **here)
        with closing(open_key_service(uri, **here)) as service:
            return service.uri.removeprefix("aws-kms:")


def _arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


def _policy(actions: tuple[str, ...]) -> str:
    statement = {
        "Effect": "Allow", "Action": [f"kms:{action}" for action in actions], "Resource": "*",
    }  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def _running(environment: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """The service as a process of its own, as it will be later; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metal", "keys", "--stop-at-end-of-input"],
        env={**environment, "METAL_KMS_PORT": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            address = read_address(settings.key_service_file, process.pid)
            if address is not None:
                yield address["https"]
                return
            time.sleep(0.05)
        raise StartError(
            f"expected the key service to be ready within {_START_SECONDS:.0f} s, it was not"
        )
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """boto3 finds credentials by the variables of its own process alone."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
