"""The protocol of a check: collect facts, judge them, and know what must make it fail.

A check is one file in ``controls/checks``. It is finished when it has all three: `Check.collect`
does the input and output and has no opinion; `Check.judge` is pure and can be run again by
anyone, years later, on the recorded facts; `Check.violations` are disposable twins on which the
check must fail, and must pass as long as nothing was injected.

Example:
    >>> class Check(Protocol[Facts]): ...      # see any file in controls/checks
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from assay.controls.asset import Asset
from assay.controls.context import Context
from assay.core import Result

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Twin:
    """A disposable stand-in for an asset.

    Attributes:
        asset: the asset as a programme would declare it.
        context: the context in which the check observes it.
    """

    asset: Asset
    context: Context


@dataclass(frozen=True)
class Violation:
    """One way to break what a check protects.

    Attributes:
        id: its name, unique within the check.
        description: what is injected, as a fact ("a row's envelope is replaced by its plaintext").
        twin: builds the twin in an empty folder; the flag says whether to inject the violation.
            Without it the check must pass, with it the check must fail: so it is the violation
            that the check sees and nothing else.
    """

    id: str
    description: str
    twin: Callable[[Path, bool], AbstractContextManager[Twin]]


class Check(Protocol[Facts]):
    """One check.

    Attributes:
        id: stable, in the catalogue and in every statement.
        version: counts up whenever `judge` may answer otherwise for the same facts, or the facts
            get another form. A check may also have ``also_judges``, a tuple of older versions on
            whose facts `judge` answers as they did.
        asset_kind: the kind of asset it looks at.
        title: what it does, in a few words, for people who watch it run.
        facts: the type of what it collects: a msgspec struct of text, integers, booleans, lists
            and mappings.
    """

    id: str
    version: int
    asset_kind: str
    title: str
    facts: type[Facts]

    def collect(self, asset: Asset, context: Context) -> Facts:
        """Observe the asset: all input and output, no opinion.

        Raises:
            AssayError: it could not be observed; the runner records an ``error`` result.
        """
        ...

    def judge(self, facts: Facts) -> Result:
        """Judge the facts: pure, without input, output, clock or randomness."""
        ...

    def violations(self) -> Sequence[Violation]:
        """The twins that must make it fail: at least one."""
        ...


AnyCheck = Check[Any]


def judges_version(check: AnyCheck, version: int) -> bool:
    """Whether a check judges the facts that a version of it collected."""
    return version == check.version or version in getattr(check, "also_judges", ())
