"""What every test may ask for.

A test that needs a server or a tool asks the fixture `needs` for it. Where it is missing the test
is left out, by name and reason; with ``CI=true`` it fails instead.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.tamper_matrix import ATTACKS, Attack

settings.register_profile(
    "assay", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("assay")

REPOSITORY = Path(__file__).parents[1]


def _softhsm2() -> bool:
    return any(
        path.exists()
        for pattern in ("usr/lib/softhsm", "usr/lib/*/softhsm", "usr/local/lib/softhsm",
                        "opt/homebrew/lib/softhsm")
        for path in Path("/").glob(f"{pattern}/libsofthsm2.so")
    )  # fmt: skip


def _postgresql() -> bool:
    return bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


def _chromium() -> bool:
    return bool(shutil.which("chromium") or shutil.which("chromium-browser"))


def _mariadb() -> bool:
    return bool(
        (shutil.which("mariadbd") or Path("/usr/sbin/mariadbd").exists())
        and shutil.which("mariadb-install-db")
    )


def _go() -> bool:
    return bool(shutil.which("go"))


def _node() -> bool:
    return bool(shutil.which("node") and shutil.which("npm"))


def _rclone() -> bool:
    return bool(shutil.which("rclone") or Path(sys.executable).with_name("rclone").exists())


def _bandit() -> bool:
    from assay.core import tools_home
    from assay.scan import bandit_tool

    return bandit_tool(tools_home()).is_complete()


def _sslyze() -> bool:
    from assay.core import tools_home
    from assay.transport import sslyze_tool

    return sslyze_tool(tools_home()).is_complete()


_PRESENT: dict[str, Callable[[], bool]] = {
    "softhsm2": _softhsm2,
    "postgresql": _postgresql,
    "chromium": _chromium,
    "go": _go,
    "mariadb": _mariadb,
    "node": _node,
    "rclone": _rclone,
    "bandit": _bandit,
    "sslyze": _sslyze,
}


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """Leave the test out, or with ``CI=true`` fail it, when something it needs is missing."""

    def check(name: str) -> None:
        if _PRESENT[name]():
            return
        reason = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI must leave nothing out", pytrace=False)
        pytest.skip(reason)

    return check


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(autouse=True, scope="session")
def tools_of_the_checkout() -> None:
    """Tests use the tool environments of the checkout, unless told otherwise."""
    os.environ.setdefault("ASSAY_TOOLS", str(REPOSITORY / ".tools"))


@pytest.fixture(params=ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def attack(request: pytest.FixtureRequest) -> Attack:
    """Each attack of the tamper matrix in turn; see ``tests/tamper_matrix.py``."""
    return request.param
