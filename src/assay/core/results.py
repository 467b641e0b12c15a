"""What a check may say: a status, how many items it looked at, and how real they were.

Example:
    >>> Result.of(Population(in_scope=2, evaluated=2, failed=0), Fidelity.LIVE, "2 rows open")
    Result(status=<Status.PASS: 'pass'>, reason='2 rows open', ...)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Status(StrEnum):
    """The four answers of a check. ``error`` (could not tell) blocks exactly as ``fail`` does."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"


class Fidelity(StrEnum):
    """How real the thing was that was looked at.

    ``live`` is the company's own system, ``emulated`` a stand-in for it (a software token, an API
    emulator, a server on loopback), ``fixture`` test data.
    """

    LIVE = "live"
    EMULATED = "emulated"
    FIXTURE = "fixture"

    @staticmethod
    def weakest(*fidelities: Fidelity) -> Fidelity:
        """The least real of several: a chain of evidence is as real as its weakest link.

        Raises:
            ValueError: no fidelity was given; nothing observed is not ``live``.
        """
        order = [Fidelity.LIVE, Fidelity.EMULATED, Fidelity.FIXTURE]
        return max(fidelities, key=order.index)


@dataclass(frozen=True, slots=True)
class Population:
    """Counts of the items (rows, files, endpoints) that a result speaks about.

    Attributes:
        in_scope: items that the check should have looked at.
        evaluated: items that it did look at; at most ``in_scope``.
        failed: items that broke the control; at most ``evaluated``.
        unit: what one item is, in the plural ("rows", "endpoints").
    """

    in_scope: int
    evaluated: int
    failed: int = 0
    unit: str = "items"

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if not 0 <= self.failed <= self.evaluated <= self.in_scope:
            raise ValueError(
                f"expected 0 <= failed <= evaluated <= in scope, found {self.failed}, "
                f"{self.evaluated}, {self.in_scope}"
            )


@dataclass(frozen=True, slots=True)
class Result:
    """The judgement of one check about one asset.

    Attributes:
        status: see `Status`.
        reason: one sentence for a reader who does not know the check.
        population: see `Population`.
        fidelity: see `Fidelity`; shown wherever the result is shown.
        findings: one sentence for each thing that is wrong; the first few when there are many.
    """

    status: Status
    reason: str
    population: Population
    fidelity: Fidelity
    findings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse a pass that nothing supports (rule 1: no vacuous pass)."""
        if self.status is not Status.PASS:
            return
        counts = self.population
        if counts.evaluated == 0 or counts.evaluated != counts.in_scope or counts.failed:
            raise ValueError(f"expected a pass over a whole, non-empty population, found {counts}")

    @classmethod
    def of(
        cls,
        population: Population,
        fidelity: Fidelity,
        reason: str,
        findings: tuple[str, ...] = (),
    ) -> Result:
        """The result that the counts dictate, so that no check can pass by mistake.

        ``fail`` when an item failed; else ``error`` when nothing was evaluated, or less than was
        in scope; else ``pass``.

        Args:
            population: the counts.
            fidelity: how real the observed thing was.
            reason: a sentence that fits the outcome.
            findings: sentences about the failed items.
        """
        unit = population.unit
        if population.failed:
            status = Status.FAIL
        elif population.evaluated == 0:
            status, reason = Status.ERROR, f"could not tell: no {unit} were evaluated. {reason}"
        elif population.evaluated < population.in_scope:
            status = Status.ERROR
            reason = (
                f"could not tell: {population.evaluated} of {population.in_scope} {unit} were "
                f"evaluated. {reason}"
            )
        else:
            status = Status.PASS
        return cls(status, reason, population, fidelity, findings)

    @classmethod
    def error(
        cls,
        reason: str,
        fidelity: Fidelity,
        *,
        in_scope: int = 1,
        unit: str = "items",
        findings: tuple[str, ...] = (),
    ) -> Result:
        """Could not tell.

        Args:
            reason: what was expected and what was found instead.
            fidelity: how real the thing would have been.
            in_scope: how many items should have been looked at, as far as is known.
            unit: what one item is.
            findings: details.
        """
        return cls(Status.ERROR, reason, Population(in_scope, 0, 0, unit), fidelity, findings)

    @classmethod
    def not_applicable(cls, reason: str, fidelity: Fidelity) -> Result:
        """The control has no meaning for this asset; the reason says why, as a fact."""
        return cls(Status.NOT_APPLICABLE, reason, Population(0, 0), fidelity)

    def at_most(self, fidelity: Fidelity) -> Result:
        """The same result, with a fidelity no stronger than the given one."""
        return replace(self, fidelity=Fidelity.weakest(self.fidelity, fidelity))


def result_to_json(result: Result) -> dict[str, object]:
    """The result as it stands in a statement."""
    counts = result.population
    return {
        "status": result.status.value,
        "reason": result.reason,
        "population": {
            "in_scope": counts.in_scope,
            "evaluated": counts.evaluated,
            "failed": counts.failed,
            "unit": counts.unit,
        },
        "fidelity": result.fidelity.value,
        "findings": list(result.findings),
    }
