"""The table of checks: one line each, the order in which they are drilled.

Example:
    >>> CHECKS["tls-floor"].asset_kind
    'endpoint'
"""

from assay.controls.check import AnyCheck
from assay.controls.checks.key_custody import KeyCustody
from assay.controls.checks.sealed_rows import SealedRows
from assay.controls.checks.uniform_coverage import UniformCoverage

_ALL: tuple[AnyCheck, ...] = (
    SealedRows(),
    KeyCustody(),
    UniformCoverage(),
)

CHECKS = {check.id: check for check in _ALL}
"""Every check by its id."""

__all__ = ["CHECKS"]
