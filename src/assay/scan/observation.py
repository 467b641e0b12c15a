"""What a scan saw: plain facts that can be recorded, read again and judged later.

No source code is in them, and no value that a rule quoted from it.

Example:
    >>> msgspec.json.decode(recorded, type=BanditObservation).canary_missed  # doctest: +SKIP
    ()
"""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place at which a rule found something.

    Attributes:
        rule: its id ("B602").
        severity: ``low``, ``medium`` or ``high``.
        confidence: ``low``, ``medium`` or ``high``.
        path: relative to the repository, with slashes.
        line: counted from 1.
        message: the rule's words, without what it quotes from the code.
    """

    rule: str
    severity: str
    confidence: str
    path: str
    line: int
    message: str


class BanditObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bandit said about a repository.

    ``files`` is ``parsed`` and ``len(unparsed)`` together.

    Attributes:
        version: of the bandit that ran, as its environment says.
        expected_version: the pinned version.
        interpreter: version of the Python that parsed the files ("3.13.0").
        rules: how many of the pinned version's rules were loaded.
        expected_rules: how many rules the pinned version has.
        files: Python files in scope.
        parsed: files that were parsed, and that every rule looked at.
        unparsed: the other files in scope, each with its reason.
        excluded: files that the programme leaves out, each with its reason.
        lines: lines of code that were parsed, as bandit counts.
        suppressed: findings that ``nosec`` comments took out of the report.
        canary_missed: rules that did not find their line of the canary, which was scanned in the
            same runs as the files.
        findings: what the rules found, by path and line.
        listing: ``git`` or ``walk``: who listed the files.
        installed: folders of installed packages that were left out where git does not tell, each
            with its reason.
        others: files in scope that hold Python in a form that bandit does not read, counted by
            suffix.
    """

    version: str
    expected_version: str
    interpreter: str
    rules: int
    expected_rules: int
    files: int
    parsed: int
    unparsed: dict[str, str]
    excluded: dict[str, str]
    lines: int
    suppressed: int
    canary_missed: tuple[str, ...]
    findings: tuple[Finding, ...]
    listing: str = "git"
    installed: dict[str, str] = msgspec.field(default_factory=dict)
    others: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def canary_found(self) -> bool:
        """Whether every rule found its line of the canary in every run."""
        return not self.canary_missed
