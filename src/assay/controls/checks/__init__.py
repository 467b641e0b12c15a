"""The table of checks: one line each, in the order in which they are drilled.

Example:
    >>> CHECKS["tls-floor"].asset_kind
    'endpoint'
"""

from assay.controls.check import AnyCheck
from assay.controls.checks.destroyed_keys import DestroyedKeysCheck
from assay.controls.checks.hsts import HstsCheck
from assay.controls.checks.key_custody import KeyCustody
from assay.controls.checks.leak_test import LeakTest
from assay.controls.checks.sast_bandit import SastBandit
from assay.controls.checks.sealed_objects import SealedObjects
from assay.controls.checks.sealed_rows import SealedRows
from assay.controls.checks.tls_floor import TlsFloor
from assay.controls.checks.uniform_coverage import UniformCoverage

_ALL: tuple[AnyCheck, ...] = (
    SealedRows(),
    LeakTest(),
    KeyCustody(),
    TlsFloor(),
    HstsCheck(),
    SealedObjects(),
    SastBandit(),
    UniformCoverage(),
    DestroyedKeysCheck(),
)

CHECKS = {check.id: check for check in _ALL}
"""Every check by its id."""

__all__ = ["CHECKS"]
