"""What a context makes of a programme's keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.controls import Context, Datastore, load_programme
from assay.core import DataKeyClass, SteppedClock
from assay.keys import SuccessorKeyService
from assay.keys.embedded import EmbeddedProvider
from assay.keys.embedded_format import SMALLEST_N, ScryptParameters

ENVIRONMENT = {"ASSAY_PASSPHRASE": "correct horse battery"}
MADE = datetime(2026, 1, 1, tzinfo=UTC)
PROGRAMME = """\
organisation: Shop
keys: "embedded:keys.json?object=new"
former_keys: ["embedded:keys.json?object=old"]
key_rotation: {rows: {age_days: 30}}
log: {store: log, signer: "embedded:keys.json?object=log", origin: shop.example/assay}
assets: [{id: shop, kind: datastore, url: "sqlite:///shop.db", models: "m:Base"}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("old", "new"):
        provider = EmbeddedProvider(ScryptParameters(n=SMALLEST_N))
        provider.create_key(f"embedded:keys.json?object={name}", tmp_path, ENVIRONMENT)
    (tmp_path / "assay.yaml").write_text(PROGRAMME)
    (tmp_path / "shop.db").touch()
    return tmp_path


def opened(folder: Path, clock: SteppedClock) -> Context:
    programme = load_programme(folder / "assay.yaml")
    return Context(folder, programme, environment=ENVIRONMENT, clock=clock)


def test_the_programmes_keyring_rotates_by_its_policy(folder: Path) -> None:
    clock = SteppedClock(MADE)
    with opened(folder, clock) as context:
        (shop,) = context.programme.assets
        assert isinstance(shop, Datastore)
        versions = []
        for days in (0, 29, 30):
            clock.set(MADE + timedelta(days=days))
            keyring = context.keyring(shop)
            versions.append(keyring.current("a", DataKeyClass.ROWS).version)
            keyring.close()
        assert versions == [1, 1, 2]


def test_the_programmes_key_service_opens_what_its_former_keks_wrapped(folder: Path) -> None:
    with opened(folder, SteppedClock(MADE)) as context:
        service = context.key_service()
        assert isinstance(service, SuccessorKeyService)
        where = {"owner": "a", "class": "rows", "version": "1"}
        old = context.opened_service("embedded:keys.json?object=old")
        assert context.opened_service("embedded:keys.json?object=old") is old
        data_key, wrapped = old.generate_data_key(where)
        assert service.unwrap(wrapped, where) == data_key
        assert service.uri == "embedded:keys.json?object=new"
