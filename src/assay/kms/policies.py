"""Key policies and identity policies: JSON documents, read once and then asked.

A document that AWS would take and that would say less than it seems to is refused as well: an
action, a condition key, an operator or a policy variable that nobody knows, a statement without
its resource, ``NotPrincipal``. The error names the place and the reason.

Section "Decision" of ``spec/kms.md``; `assay.kms.decision` decides.

Source: IAM user guide, "Grammar of the IAM JSON policy language"; AWS KMS developer guide,
"Creating a key policy".

Example:
    >>> policy = parse_policy(default_policy("111122223333"), kind="key", account="111122223333")
    >>> policy.statements[0].label
    'key policy, statement 1 (Enable IAM User Permissions)'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from assay.kms.actions import ACTIONS
from assay.kms.conditions import Condition, ConditionReader, Presence
from assay.kms.documents import (
    check_elements,
    decode_document,
    either_at,
    listed_at,
    named,
    object_at,
    shown,
    text_at,
    texts_at,
)
from assay.kms.errors import DocumentError
from assay.kms.patterns import Pattern, read_pattern
from assay.kms.query import Query

PolicyKind = Literal["key", "identity"]

MAXIMUM_IDENTITY = 10_240
"""Characters of an identity policy without white space."""

_ACTION = re.compile(r"\*|([a-z0-9-]+):([A-Za-z0-9*?]+)", re.IGNORECASE | re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINCIPAL = re.compile(
    r"arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[^*?]+)"
    r"|sts::[0-9]{12}:(assumed-role|federated-user)/[^*?]+)"
)
_RESOURCE = re.compile(r"arn:[a-z0-9*?-]+:[a-z0-9-]+:(?=.*\*|[^:]*:[^:]*:.)", re.DOTALL)
_SIDS: Mapping[PolicyKind, re.Pattern[str]] = {
    "key": re.compile("[\x20-\x7e\xa0-\xff]*"),
    "identity": re.compile("[A-Za-z0-9]*"),
}
_SID_CHARACTERS: Mapping[PolicyKind, str] = {
    "key": "letters, digits, signs and spaces",
    "identity": "letters and digits",
}
_DOCUMENT_ELEMENTS: Mapping[PolicyKind, frozenset[str]] = {
    "key": frozenset({"Version", "Id", "Statement"}),
    "identity": frozenset({"Version", "Statement"}),
}
_STATEMENT_ELEMENTS: Mapping[PolicyKind, frozenset[str]] = {
    "key": frozenset(
        {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "Condition"}
    ),
    "identity": frozenset(
        {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    ),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        label: what it is called in an audit trail.
        deny: its effect.
        everyone: whether it is for everybody; so is each statement of an identity policy.
        account: whether it names the account.
        principals: ARNs that it names beside.
        actions: all actions of KMS that it is for.
        resources: patterns of what it is for; nothing means every resource.
        outside: whether it is for what these patterns do not match.
        conditions: which must all hold.
    """

    label: str
    deny: bool
    everyone: bool
    account: bool
    principals: frozenset[str]
    actions: frozenset[str]
    resources: tuple[Pattern, ...]
    outside: bool
    conditions: tuple[Condition | Presence, ...]

    def names(self, principal: str) -> bool:
        """Whether it names somebody, by ARN or with everybody."""
        return self.everyone or principal in self.principals

    def applies(self, query: Query) -> bool:
        """Whether action, resource and every condition apply; the principal is asked elsewhere."""
        return (
            query.action in self.actions
            and (not self.resources or self._covers(query))
            and all(condition.holds(query) for condition in self.conditions)
        )

    def _covers(self, query: Query) -> bool:
        for pattern in self.resources:
            found = pattern.matches(query.resource, query)
            if found:
                return not self.outside
            if found is None and self.outside and not self.deny:
                return False
        return self.outside


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy document.

    Attributes:
        kind: whose policy it is, a key's or a principal's.
        statements: in the order of the document.
    """

    kind: PolicyKind
    statements: tuple[Statement, ...]


def default_policy(account: str) -> str:
    """The key policy of a key that was made without one: AWS's, which enables identity policies.

    Source: AWS KMS developer guide, "Default key policy".
    """
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    document = {"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}
    return json.dumps(document, indent=2)


def parse_policy(text: str, *, kind: PolicyKind, account: str, name: str = "") -> Policy:
    """Read a policy document.

    Args:
        text: JSON.
        kind: ``key`` or ``identity``.
        account: 12 digits; which principals are the account's.
        name: of an identity policy, for the audit trail.

    Raises:
        DocumentError: it is not valid; the message names the place and what was expected there.
    """
    called = "key policy" if kind == "key" else f"identity policy {name}".rstrip()
    if kind == "identity" and (dense := len("".join(text.split()))) > MAXIMUM_IDENTITY:
        raise DocumentError(
            f"{called}: expected at most {MAXIMUM_IDENTITY} characters that are no white space, "
            f"found {dense}"
        )
    document = object_at(called, decode_document(text))
    check_elements(called, document, _DOCUMENT_ELEMENTS[kind])
    version = document.get("Version", "2008-10-17")
    if version not in ("2008-10-17", "2012-10-17"):
        raise DocumentError(f"{called}, Version: expected 2012-10-17, found {shown(version)}")
    if "Id" in document:
        text_at(f"{called}, Id", document["Id"])
    if "Statement" not in document:
        raise DocumentError(f"{called}: expected Statement, found no such element")
    listed = listed_at(f"{called}, Statement", document["Statement"])
    reader = _Reader(kind, account, called, variables=version == "2012-10-17")
    return Policy(kind, tuple(reader.read(each, at) for at, each in enumerate(listed, 1)))


class _Reader:
    """Reads the statements of one document."""

    def __init__(self, kind: PolicyKind, account: str, called: str, *, variables: bool) -> None:
        self._kind = kind
        self._account = account
        self._called = called
        self._variables = variables
        self._sids: set[str] = set()

    def read(self, raw: object, at: int) -> Statement:
        """Read one statement, the ``at``-th."""
        place = f"{self._called}, statement {at}"
        element = object_at(place, raw)
        check_elements(place, element, _STATEMENT_ELEMENTS[self._kind])
        label = self._label(element, place)
        if element.get("Effect") not in ("Allow", "Deny"):
            raise DocumentError(
                f"{place}, Effect: expected Allow or Deny, found {shown(element.get('Effect'))}"
            )
        deny = element["Effect"] == "Deny"
        everyone, account, principals = self._principals(element, place)
        resources, outside = self._resources(element, place)
        return Statement(
            label=label,
            deny=deny,
            everyone=everyone,
            account=account,
            principals=principals,
            actions=self._actions(element, place),
            resources=resources,
            outside=outside,
            conditions=ConditionReader(
                deny=deny, variables=self._variables, key_policy=self._kind == "key"
            ).read(element.get("Condition", {}), f"{place}, Condition"),
        )

    def _label(self, element: Mapping[str, object], place: str) -> str:
        if "Sid" not in element:
            return place
        sid = text_at(f"{place}, Sid", element["Sid"])
        if not _SIDS[self._kind].fullmatch(sid):
            raise DocumentError(
                f"{place}, Sid: expected {_SID_CHARACTERS[self._kind]}, found {shown(sid)}"
            )
        if sid in self._sids:
            raise DocumentError(f"{place}, Sid: expected another than before, found {shown(sid)}")
        self._sids.add(sid)
        return f"{place} ({sid[:64]})" if sid else place

    def _principals(
        self, element: Mapping[str, object], place: str
    ) -> tuple[bool, bool, frozenset[str]]:
        """Whether everybody is named, whether the account is, and who else."""
        if self._kind == "identity":
            return True, False, frozenset()
        spot = f"{place}, Principal"
        raw = element.get("Principal")
        if raw == "*":
            return True, False, frozenset()
        if not isinstance(raw, dict) or not raw:
            raise DocumentError(f'{spot}: expected "*" or {{"AWS": …}}, found {shown(raw)}')
        found: set[str] = set()
        for kind, value in raw.items():
            texts = texts_at(f"{spot}, {named(kind)}", value)
            if kind == "AWS":
                found.update(self._aws(each, f"{spot}, AWS") for each in texts)
            elif kind not in ("Service", "Federated", "CanonicalUser"):
                raise DocumentError(f"{spot}: expected AWS, found {shown(kind)}")
        root = _root(self._account)
        return "*" in found, root in found, frozenset(found - {"*", root})

    def _aws(self, text: str, place: str) -> str:
        """A principal as an ARN; an account number is its root."""
        if text == "*" or _PRINCIPAL.fullmatch(text):
            return text
        if _ACCOUNT.fullmatch(text):
            return _root(text)
        raise DocumentError(
            f'{place}: expected "*", an account, or the ARN of a user, a role or a root, '
            f"found {shown(text)}"
        )

    def _actions(self, element: Mapping[str, object], place: str) -> frozenset[str]:
        name, raw = either_at(place, element, "Action", "NotAction")
        spot = f"{place}, {name}"
        found: set[str] = set()
        for text in texts_at(spot, raw):
            found |= self._named_actions(text, spot)
        return frozenset(found if name == "Action" else ACTIONS.keys() - found)

    def _named_actions(self, text: str, place: str) -> set[str]:
        """The actions of KMS that a name or pattern stands for, compared without case."""
        parts = _ACTION.fullmatch(text)
        if parts is None:
            raise DocumentError(
                f'{place}: expected "*" or a service and an action such as kms:Decrypt, '
                f"found {shown(text)}"
            )
        if text == "*":
            return set(ACTIONS)
        if self._kind == "identity" and parts[1].lower() != "kms":
            return set()
        pattern = read_pattern(text, place, variables=False, folded=True)
        nothing = Query("", "", "", {})
        found = {each for each in ACTIONS if pattern.matches(each, nothing)}
        if not found:
            raise DocumentError(f"{place}: expected an action of KMS, found {shown(text)}")
        return found

    def _resources(
        self, element: Mapping[str, object], place: str
    ) -> tuple[tuple[Pattern, ...], bool]:
        """Patterns, and whether the statement is for what they do not match."""
        name, raw = either_at(place, element, "Resource", "NotResource")
        spot = f"{place}, {name}"
        outside = name == "NotResource"
        texts = texts_at(spot, raw)
        patterns = tuple(self._resource(text, spot) for text in texts)
        return (() if "*" in texts and not outside else patterns), outside

    def _resource(self, text: str, place: str) -> Pattern:
        if text != "*" and not _RESOURCE.match(text):
            raise DocumentError(
                f'{place}: expected "*" or an ARN such as '
                f"arn:aws:kms:eu-central-1:{self._account}:key/…, found {shown(text)}"
            )
        head = text.split("${", 1)[0] if self._variables else text
        if head != text and head.count(":") < 5:
            raise DocumentError(
                f"{place}: expected variables after the fifth colon only, found {shown(text)}"
            )
        return read_pattern(text, place, variables=self._variables)


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"
