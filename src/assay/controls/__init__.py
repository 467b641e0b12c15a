"""Promises, controls, assets, checks and drills: what is promised, and whether it is kept.

Example:
    >>> programme = load_programme(Path("examples/metal/assay.yaml"))     # doctest: +SKIP
    >>> [asset.id for asset in programme.assets]                           # doctest: +SKIP
    ['app-db', 'uploads', 'api', 'app', 'code']

The route: `programme` (what is declared) and `catalogue` (which control keeps which promise) make
a `scope`; the `runner` lets each check `collect` and `judge`; `coverage` says what follows for
each promise; `drill` shows that each check can fail.
"""

from assay.controls.asset import (
    Application,
    Asset,
    Bucket,
    Datastore,
    Endpoint,
    Key,
    ProgrammeFile,
    Repository,
    kind_of,
)
from assay.controls.catalogue import (
    Catalogue,
    Control,
    Frameworks,
    Promise,
    load_catalogue,
    refuse_unknown_checks,
)
from assay.controls.check import AnyCheck, Check, Twin, Violation
from assay.controls.checks import CHECKS
from assay.controls.context import Context
from assay.controls.coverage import (
    CoverageLine,
    Outcome,
    Outcomes,
    PromiseState,
    State,
    assess,
    exit_code,
    planned_checks,
)
from assay.controls.drill import DrillOutcome, drill, drill_all, record_drill
from assay.controls.errors import (
    CatalogueError,
    CollectError,
    ControlsError,
    ObservationError,
    ProgrammeError,
    TwinError,
)
from assay.controls.observation import ObservationRecord, judge_record
from assay.controls.programme import Programme, load_programme, programme_schema
from assay.controls.proposal import Proposal, propose
from assay.controls.runner import RunReport, new_run_id, observe, run_checks
from assay.controls.scope import Scope, ScopedAsset, scope_of

__all__ = [
    "CHECKS",
    "AnyCheck",
    "Application",
    "Asset",
    "Bucket",
    "Catalogue",
    "CatalogueError",
    "Check",
    "CollectError",
    "Context",
    "Control",
    "ControlsError",
    "CoverageLine",
    "Datastore",
    "DrillOutcome",
    "Endpoint",
    "Frameworks",
    "Key",
    "ObservationError",
    "ObservationRecord",
    "Outcome",
    "Outcomes",
    "Programme",
    "ProgrammeError",
    "ProgrammeFile",
    "Promise",
    "PromiseState",
    "Proposal",
    "Repository",
    "RunReport",
    "Scope",
    "ScopedAsset",
    "State",
    "Twin",
    "TwinError",
    "Violation",
    "assess",
    "drill",
    "drill_all",
    "exit_code",
    "judge_record",
    "kind_of",
    "load_catalogue",
    "load_programme",
    "new_run_id",
    "observe",
    "planned_checks",
    "programme_schema",
    "propose",
    "record_drill",
    "refuse_unknown_checks",
    "run_checks",
    "scope_of",
]
