"""Sets Metal up: folders, keys, the operator's token. Done once; afterwards it only looks.

Metal is a throwaway company. Its keys are made on a software token (SoftHSM2) when that is
installed, behind a key service of its own, else in an embedded key store; neither is an HSM. The
PIN or passphrase is random and lies in ``data/pin`` (0600) beside them, so whoever has the folder
has the keys: a company would keep it elsewhere.

Example:
    >>> prepare(Settings.from_environment(os.environ), os.environ).environment     # doctest: +SKIP
    {'METAL_KEYS': 'aws-kms:arn:aws:kms:eu-central-1:111122223333:key/…', ...}
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from assay.core import exclusive_lock, write_atomically
from assay.keys import KeyExistsError, create_key, create_signing_key
from metal.errors import SettingsError
from metal.settings import Settings

KMS = "kms"
SOFTHSM2 = "softhsm2"
EMBEDDED = "embedded"
_LABEL = "metal"
_CONFIGURATION = "SOFTHSM2_CONF"
_LIBRARIES = (
    "usr/lib/softhsm",
    "usr/lib/*/softhsm",
    "usr/lib64/pkcs11",
    "usr/local/lib/softhsm",
    "opt/homebrew/lib/softhsm",
    "opt/local/lib/softhsm",
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What everything else needs to know.

    Attributes:
        environment: variables for the server, its clients and the programme.
        notes: lines for a reader: what the keys are, and what they are not.
    """

    environment: Mapping[str, str]
    notes: tuple[str, ...]


def prepare(settings: Settings, environment: MutableMapping[str, str]) -> Prepared:
    """Make what is missing, and say what there is.

    Args:
        settings: where everything is.
        environment: the process's own (``os.environ``): SoftHSM2 finds its tokens by a variable
            of it, ``SOFTHSM2_CONF``, which is set here.

    Raises:
        KeysError: a key could not be made.
        SettingsError: the keys that are wanted cannot be had.
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(settings.data / "setup.lock", "Metal's set-up", wait=True):
        _make_secret(settings.data / "admin-token")
        keys, notes = _keys(settings, environment)
    return Prepared({**_places(settings), **keys}, notes)


def _make_secret(path: Path) -> None:
    if not path.exists():
        write_atomically(path, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)


def _places(settings: Settings) -> dict[str, str]:
    return {
        "METAL_HOME": str(settings.home),
        "METAL_DATA": str(settings.data),
        "METAL_BUCKET": str(settings.bucket),
        "DATABASE_URL": settings.database_url,
        "KEY_DATABASE_URL": settings.key_database_url,
        "METAL_URL": f"https://localhost:{settings.https_port}",
        "METAL_HTTP_URL": f"http://localhost:{settings.http_port}",
    }


def _keys(
    settings: Settings, environment: MutableMapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables that name the keys, and what to say about them."""
    given = {name: environment.get(name, "") for name in ("METAL_KEYS", "METAL_LOG_SIGNER")}
    if all(given.values()):
        return given, ("keys: those that METAL_KEYS and METAL_LOG_SIGNER name",)
    if any(given.values()):
        raise SettingsError(
            "expected METAL_KEYS and METAL_LOG_SIGNER both set or both unset, found one of them"
        )
    _make_secret(settings.data / "pin")
    record = settings.data / "setup.json"
    chosen = _recorded(record) or _choose(settings)
    if chosen in {KMS, SOFTHSM2}:
        variables, note = _software_token(settings, environment, with_service=chosen == KMS)
    else:
        variables, note = _embedded_store(settings, environment)
    # Written last: before it nothing is sealed, so what was left unfinished can be finished.
    write_atomically(record, json.dumps({"keys": chosen}).encode() + b"\n", mode=0o600)
    return variables, (note,)


def _recorded(record: Path) -> str | None:
    if not record.exists():
        return None
    try:
        chosen = json.loads(record.read_bytes())["keys"]
    except (ValueError, KeyError, TypeError):
        chosen = None
    if chosen not in {KMS, SOFTHSM2, EMBEDDED}:
        raise SettingsError(
            f'expected {record} to say {{"keys": "{KMS}"}}, {{"keys": "{SOFTHSM2}"}} or '
            f'{{"keys": "{EMBEDDED}"}}, found something else; nothing was changed'
        )
    return str(chosen)


def _choose(settings: Settings) -> str:
    wanted = settings.key_store or (KMS if _library() else EMBEDDED)
    if wanted in {KMS, SOFTHSM2} and _library() is None:
        raise SettingsError(
            "expected SoftHSM2, since METAL_KEY_STORE asks for it, found it not installed; "
            "install the package softhsm2, or leave METAL_KEY_STORE unset"
        )
    return wanted


def _library() -> Path | None:
    """SoftHSM2's library, where packages put it."""
    found = (
        path
        for pattern in _LIBRARIES
        for path in sorted(Path("/").glob(f"{pattern}/libsofthsm2.so"))
    )
    return next(found, None)


def _software_token(
    settings: Settings, environment: MutableMapping[str, str], *, with_service: bool
) -> tuple[dict[str, str], str]:
    # Only here, so that an embedded key store needs no PKCS#11 library.
    from assay.keys import initialise_token

    library = _library()
    folder = settings.data / "softhsm"
    if library is None:
        raise SettingsError(
            f"expected SoftHSM2, since the keys are in {folder}, found it not installed; install "
            "the package softhsm2"
        )
    source = f"module-path={library}&pin-source=file:{_written(settings, settings.data / 'pin')}"
    keys, signer = (f"pkcs11:token={_LABEL};object={name}?{source}" for name in ("kek", "log"))
    if not folder.exists():
        # Built aside and renamed, so that a token is either complete or not there.
        aside = settings.data / "softhsm.unfinished"
        shutil.rmtree(aside, ignore_errors=True)
        (aside / "tokens").mkdir(mode=0o700, parents=True)
        environment[_CONFIGURATION] = str(_configure(aside))
        pin = (settings.data / "pin").read_text(encoding="ascii").strip()
        # The security officer's PIN is forgotten: nobody resets the PIN of a throwaway company.
        initialise_token(library, label=_LABEL, so_pin=secrets.token_urlsafe(24), user_pin=pin)
        if not with_service:
            create_key(keys, directory=settings.home, environment=environment)
        create_signing_key(signer, directory=settings.home, environment=environment)
        aside.rename(folder)
    environment[_CONFIGURATION] = str(_configure(folder))
    variables = {
        _CONFIGURATION: environment[_CONFIGURATION],
        "METAL_KEYS": keys,
        "METAL_LOG_SIGNER": signer,
    }
    before = ""
    if with_service:
        # Only here, so that other set-ups need none of what a service needs.
        from metal.key_service import prepare_key_service

        variables |= prepare_key_service(settings, f"pkcs11:token={_LABEL}?{source}")
        before = "a key service of Metal's own (assay kms serve) in front of "
    return variables, (
        f"keys: {before}SoftHSM2, a software token, not an HSM; whoever has {folder} and the PIN "
        "beside it has the keys"
    )


def _configure(folder: Path) -> Path:
    """Write SoftHSM2's configuration for the place where the folder is now."""
    path = folder / "softhsm2.conf"
    text = (
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
    )
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text.encode(), mode=0o600)
    return path


def _embedded_store(
    settings: Settings, environment: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    store = settings.data / "keys.json"
    source = f"passphrase-source=file:{_written(settings, settings.data / 'pin')}"
    keys, signer = (
        f"embedded:{_written(settings, store)}?object={name}&{source}" for name in ("kek", "log")
    )
    for uri, create in ((keys, create_key), (signer, create_signing_key)):
        with suppress(KeyExistsError):
            create(uri, directory=settings.home, environment=environment)
    why = "" if _library() else "; SoftHSM2 is not installed"
    return {"METAL_KEYS": keys, "METAL_LOG_SIGNER": signer}, (
        f"keys: an embedded key store, not an HSM{why}; whoever has {store} and the passphrase "
        "beside it has the keys"
    )


def _written(settings: Settings, path: Path) -> str:
    """A path as it stands in a key's URI: short when it is below the company's folder."""
    if path.is_relative_to(settings.home):
        path = path.relative_to(settings.home)
    return quote(str(path), safe="/")
