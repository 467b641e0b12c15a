"""The leak test: plant canaries through the application, then search every raw medium for them.

Example:
    >>> canaries = make_canaries({"text": CanaryKind.TEXT}, secrets.SystemRandom())
    >>> plant(canaries[0].value)            # through the application's own write path
    >>> media = [Medium("database files", (Path("data"),)), Medium("logs", (Path("logs"),))]
    >>> search = search_files(media, load_matcher(patterns(canaries)))
    >>> search.hits_total, [(item.name, item.bytes_read) for item in search.media]
    (0, [('database files', 1064960), ('logs', 20480)])

A search without a positive control proves nothing: wrap it in a `LeakyTwin` per medium, and ask
`missing_forms` whether the control was found. What is searched, and what a pass means and does
not mean, is in ``spec/leak-test.md``. The room reports facts; checks judge them.
"""

from assay.leakage.canaries import Canary, CanaryKind, RandomSource, make_canaries
from assay.leakage.errors import CanaryError, ControlError, LeakageError, MatcherError
from assay.leakage.layers import Limits
from assay.leakage.matcher import Matcher, load_matcher
from assay.leakage.media import CONTROL_FORMS, LeakyTwin, Medium, missing_forms
from assay.leakage.observation import (
    FileChange,
    FileSearch,
    FileState,
    Hit,
    MediumSearch,
    Search,
)
from assay.leakage.patterns import Pattern, byte_patterns, patterns
from assay.leakage.search import search_file, search_files

__all__ = [
    "CONTROL_FORMS",
    "Canary",
    "CanaryError",
    "CanaryKind",
    "ControlError",
    "FileChange",
    "FileSearch",
    "FileState",
    "Hit",
    "LeakageError",
    "LeakyTwin",
    "Limits",
    "Matcher",
    "MatcherError",
    "Medium",
    "MediumSearch",
    "Pattern",
    "RandomSource",
    "Search",
    "byte_patterns",
    "load_matcher",
    "make_canaries",
    "missing_forms",
    "patterns",
    "search_file",
    "search_files",
]
