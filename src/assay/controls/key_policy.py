"""Statements of a key policy by which everybody may use a key.

What is looked for is narrow, so that it is certain: an Allow for all principals, without a
condition, of an action that uses the key, grants its use or changes the policy. Who else may, by
IAM policies, grants and roles that others may take, is another question.

Source: AWS KMS developer guide, "Key policies"; IAM user guide, "JSON policy elements".

Example:
    >>> statements_for_everybody('{"Statement": {"Effect": "Allow", "Principal": "*", '
    ...                          '"Action": "kms:*", "Resource": "*"}}')
    ['statement 1']
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

_USES = (
    "kms:decrypt", "kms:reencryptfrom", "kms:generatedatakey", "kms:creategrant",
    "kms:putkeypolicy", "kms:sign", "kms:replicatekey", "kms:importkeymaterial",
)  # fmt: skip


def statements_for_everybody(policy: str) -> list[str]:
    """The statements that let everybody use a key: their numbers, and their Sid.

    Args:
        policy: a key policy, JSON.

    Raises:
        ValueError: it is no policy document.
    """
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError) as exc:
        raise ValueError("expected a key policy, found no JSON") from exc
    statements = _list(document.get("Statement")) if isinstance(document, dict) else [None]
    found = []
    for number, statement in enumerate(statements, 1):
        if not isinstance(statement, dict):
            raise ValueError("expected statements in a key policy, found something else")  # noqa: TRY004 - the document is wrong, not a type in the code
        if _is_for_everybody(statement):
            sid = statement.get("Sid")
            found.append(f"statement {number}" + (f" ({sid})" if sid else ""))
    return found


def _is_for_everybody(statement: dict[str, Any]) -> bool:
    if statement.get("Effect") != "Allow" or statement.get("Condition"):
        return False
    return _names_everybody(statement) and _names_a_use(statement)


def _names_everybody(statement: dict[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        return any("*" in _list(value) for value in principal.values())
    return "*" in _list(principal)


def _names_a_use(statement: dict[str, Any]) -> bool:
    if "NotAction" in statement:
        return True
    patterns = [str(each).lower().replace("[", "[[]") for each in _list(statement.get("Action"))]
    return any(fnmatchcase(use, pattern) for use in _USES for pattern in patterns)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
