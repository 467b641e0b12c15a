"""A first programme file, proposed from what is seen in a repository.

Only what was really seen becomes an asset; everything else that a programme usually holds is
proposed as a comment, to be filled in by someone who knows. A proposal never claims anything.

Example:
    >>> proposal = propose(Path("."))                  # doctest: +SKIP
    >>> proposal.seen                                  # doctest: +SKIP
    ('SQLAlchemy models: shop.models:Base (src/shop/models.py)', ...)
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_SKIPPED = {"node_modules", "site-packages", "venv", "build", "dist", "__pycache__"}
_DATABASE_VARIABLE = re.compile(r"\b(?:[A-Z][A-Z0-9_]*)?(?:DATABASE|DB)_UR[LI]\b")
_WEB_FRAMEWORKS = {"fastapi", "flask", "starlette", "django", "aiohttp"}
_LARGEST_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Proposal:
    """A proposed programme file.

    Attributes:
        text: the file's content: a programme that loads, with comments.
        seen: one sentence for each thing that the proposal rests on.
        missing: one sentence for each thing that somebody must fill in.
    """

    text: str
    seen: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass
class _Sight:
    """What was seen while reading the repository."""

    bases: dict[str, Path]
    variables: set[str]
    frameworks: set[str]
    uses_buckets: bool
    python_files: int


def propose(repository: Path) -> Proposal:
    """Look at a repository and propose a programme file for it.

    Args:
        repository: its folder. Python files are parsed, never imported.
    """
    sight = _look(repository)
    organisation = _organisation(repository)
    seen = [f"{sight.python_files} Python files"]
    missing: list[str] = []
    assets = ["  - {id: code, kind: repository, path: .}"]
    variable = sorted(sight.variables, key=lambda name: (name != "DATABASE_URL", name))
    for number, (base, path) in enumerate(sorted(sight.bases.items()), 1):
        seen.append(f"SQLAlchemy models: {base} ({path})")
        name = "app-db" if number == 1 else f"app-db-{number}"
        url = variable[0] if variable else "DATABASE_URL"
        assets.append(
            f"  - {{id: {name}, kind: datastore, url: env:{url}, "
            f"models: {base}, holds: customer-data}}"
        )
    if not sight.bases:
        missing.append("a datastore: no SQLAlchemy models were found")
        assets.append(
            "  # - {id: app-db, kind: datastore, url: env:DATABASE_URL, "
            "models: your.models:Base, holds: customer-data}"
        )
    if variable:
        seen.append(f"database settings: {', '.join(variable)}")
    if sight.frameworks:
        seen.append(f"web framework: {', '.join(sorted(sight.frameworks))}")
    missing += [
        "each endpoint: the https:// URL that clients use",
        "the application: a function that writes given values through its own API, and its logs",
    ]
    assets += [
        "  # Each server that clients reach:",
        '  # - {id: api, kind: endpoint, url: "https://api.example.com", '
        'http: "http://api.example.com"}',
        "  # Each folder of objects, with a function that lists what should be in it:",
        "  # - {id: uploads, kind: bucket, url: file:uploads, index: your.uploads:sealed_objects}",
        "  # The application, so that the leak test can write through it and search its storage:",
        "  # - {id: app, kind: application, plant: your.canaries:plant, stores: [app-db], "
        "logs: [logs]}",
    ]
    if sight.uses_buckets:
        seen.append("object storage is used (boto3 or a similar client)")
        missing.append("the bucket: where its objects are and which function lists them")
    return Proposal(_text(organisation, assets), tuple(seen), tuple(missing))


def _text(organisation: str, assets: list[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", organisation.lower()).strip("-") or "company"
    quoted = yaml.safe_dump(organisation, allow_unicode=True, width=10_000).splitlines()[0]
    return "\n".join(
        [
            "# What we promise, and the assets on which we keep it. Secrets never stand here:",
            "# they are references, env:NAME or file:PATH.",
            f"organisation: {quoted}",
            "",
            "# The key that wraps all data keys. `assay keys create` makes both keys.",
            "# With an HSM: pkcs11:token=NAME;object=kek?pin-source=env:ASSAY_PIN",
            'keys: "embedded:.assay/keys.json?passphrase-source=env:ASSAY_PASSPHRASE"',
            "log:",
            "  store: .assay",
            '  signer: "embedded:.assay/keys.json?object=log'
            '&passphrase-source=env:ASSAY_PASSPHRASE"',
            f"  origin: {slug}.example/assay",
            "",
            "assets:",
            *assets,
            "",
            "promises: all",
            "",
        ]
    )


def _organisation(repository: Path) -> str:
    try:
        project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
        name = str(project["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        name = repository.resolve().name
    return re.sub(r"[-_.]+", " ", name).strip().title() or "Company"


def _look(repository: Path) -> _Sight:
    sight = _Sight({}, set(), set(), uses_buckets=False, python_files=0)
    for path in _files(repository):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        sight.variables |= set(_DATABASE_VARIABLE.findall(text))
        if path.suffix != ".py":
            continue
        sight.python_files += 1
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        relative = path.relative_to(repository)
        for name in _declarative_bases(tree):
            sight.bases[f"{_module(relative)}:{name}"] = relative
        modules = _imports(tree)
        sight.frameworks |= modules & _WEB_FRAMEWORKS
        sight.uses_buckets |= bool(modules & {"boto3", "aioboto3", "minio"})
    return sight


def _files(repository: Path) -> Iterator[Path]:
    """Python files and example settings, without hidden, built and installed folders."""
    for folder, folders, names in os.walk(repository):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED
            and not name.startswith(".")
            and not (Path(folder) / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(folder) / name
            wanted = name.endswith(".py") or name.startswith((".env.example", "env.example"))
            if wanted and path.is_file() and path.stat().st_size <= _LARGEST_FILE_BYTES:
                yield path


def _module(relative: Path) -> str:
    parts = list(relative.with_suffix("").parts)
    if parts[0] == "src":
        parts = parts[1:]
    if parts and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def _declarative_bases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            if any(_last_name(base) == "DeclarativeBase" for base in node.bases):
                yield node.name
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _last_name(node.value.func) == "declarative_base"
        ):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name))


def _imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
