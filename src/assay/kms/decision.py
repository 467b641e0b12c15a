"""Who may do what with a key: key policy, identity policies and grants, in this order.

1. A statement with ``Deny`` that applies, in any of the policies: denied.
2. The caller is the account's root and the key policy allows the account: allowed.
3. A statement of the key policy with ``Allow`` that names the caller: allowed.
4. A statement of the key policy with ``Allow`` that names the account, and a statement of an
   identity policy with ``Allow``: allowed.
5. A grant of the key for the caller: allowed.
6. Else: denied.

Section "Decision" of ``spec/kms.md``. Nothing here reads or writes; the verdict says which rule
decided, for the audit trail.

Source: AWS KMS developer guide, "Troubleshooting key access"; IAM user guide, "Policy evaluation
logic".

Example:
    >>> from assay.kms.policies import default_policy, parse_policy
    >>> account = "111122223333"
    >>> query = Query(f"arn:aws:iam::{account}:root", "kms:DescribeKey",
    ...               f"arn:aws:kms:eu-central-1:{account}:key/1b9ec9d2", {})
    >>> key_policy = parse_policy(default_policy(account), kind="key", account=account)
    >>> decide(query, account=account, key_policy=key_policy).rule
    "key policy, statement 1 (Enable IAM User Permissions), for the account's root"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from assay.kms.errors import DocumentError
from assay.kms.grants import grant_allows
from assay.kms.policies import Policy, Statement
from assay.kms.query import Query
from assay.kms.records import GrantRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided.

    Attributes:
        allowed: whether the caller may.
        rule: which rule decided; never content of the request.
    """

    allowed: bool
    rule: str


def decide(
    query: Query,
    *,
    account: str,
    key_policy: Policy | None,
    identity: Sequence[Policy] = (),
    grants: Iterable[GrantRecord] = (),
) -> Verdict:
    """Decide whether a caller may do what is asked.

    Args:
        query: who asks for what.
        account: 12 digits.
        key_policy: of the key; None for what has no key: an action of the account, an alias, or a
            key that does not exist.
        identity: all policies of the caller.
        grants: of the key; those for others may be left out.
    """
    member = query.principal.startswith(f"arn:aws:iam::{account}:")
    denied = _denied(query, key_policy, identity, member=member)  # 1
    if denied is not None:
        return Verdict(False, f"explicit deny in {denied.label}")
    if key_policy is None:
        return _without_key(query, identity, account)
    root = query.principal == f"arn:aws:iam::{account}:root"
    delegating: Statement | None = None
    for statement in _applying(query, key_policy, deny=False, member=member):
        if root and statement.account:  # 2
            return Verdict(True, f"{statement.label}, for the account's root")
        if statement.names(query.principal):  # 3
            return Verdict(True, statement.label)
        if delegating is None:
            delegating = statement
    if delegating is not None:  # 4
        allowing = _first(query, identity, deny=False, member=member)
        if allowing is not None:
            return Verdict(True, f"{delegating.label}, for the account, and {allowing.label}")
    return _by_grant(query, grants)  # 5, 6


def decide_retirement(
    query: Query, *, account: str, grant: GrantRecord, identity: Sequence[Policy] = ()
) -> Verdict:
    """Decide whether a caller may retire a grant, which the grant itself says, not the key policy.

    The retiring principal may, the grantee when ``RetireGrant`` is among the operations, and the
    account: its root, and whom an identity policy allows it. A ``Deny`` of an identity policy
    denies.

    Args:
        query: with the action ``kms:RetireGrant`` and the ARN of the grant's key.
        account: 12 digits, in which the grant was made.
        grant: which one.
        identity: all policies of the caller.

    Source: AWS KMS developer guide, "Retiring and revoking grants".
    """
    denied = _denied(query, None, identity, member=False)
    if denied is not None:
        return Verdict(False, f"explicit deny in {denied.label}")
    called = f"grant {grant.grant_id}"
    if query.principal == grant.retiring:
        return Verdict(True, f"{called}, its retiring principal")
    if query.principal == grant.grantee and "RetireGrant" in grant.operations:
        return Verdict(True, called)
    return _without_key(query, identity, account)


def check_no_lockout(
    policy: Policy, query: Query, *, account: str, identity: Sequence[Policy] = ()
) -> None:
    """See that somebody could still change the key policy: who puts it, or the account.

    The account counts because its root cannot be taken away, and can allow it to anybody.

    Args:
        policy: the new key policy.
        query: of who puts it; asked again for ``kms:PutKeyPolicy``, with the same facts.
        account: 12 digits.
        identity: all policies of who puts it.

    Raises:
        DocumentError: neither could.

    Source: AWS KMS API reference, PutKeyPolicy, "Policy".
    """
    again = replace(query, action="kms:PutKeyPolicy", context=None, grant=None)
    if decide(again, account=account, key_policy=policy, identity=identity).allowed:
        return
    root = f"arn:aws:iam::{account}:root"
    facts = {**again.facts, "aws:principalarn": root, "aws:principaltype": "Account"}
    facts |= {"aws:username": None, "aws:userid": account}
    by_root = replace(again, principal=root, facts=facts)
    if not decide(by_root, account=account, key_policy=policy).allowed:
        raise DocumentError(
            "The new key policy will not allow you to update the key policy in the future."
        )


def _denied(
    query: Query, key_policy: Policy | None, identity: Sequence[Policy], *, member: bool
) -> Statement | None:
    policies = identity if key_policy is None else (key_policy, *identity)
    return _first(query, policies, deny=True, member=member)


def _first(
    query: Query, policies: Iterable[Policy], *, deny: bool, member: bool
) -> Statement | None:
    for policy in policies:
        for statement in _applying(query, policy, deny=deny, member=member):
            return statement
    return None


def _applying(query: Query, policy: Policy, *, deny: bool, member: bool) -> Iterator[Statement]:
    """The statements that apply to a caller, who may be a member of the account."""
    for statement in policy.statements:
        if (
            statement.deny is deny
            and (statement.names(query.principal) or (member and statement.account))
            and statement.applies(query)
        ):
            yield statement


def _without_key(query: Query, identity: Sequence[Policy], account: str) -> Verdict:
    if query.principal == f"arn:aws:iam::{account}:root":
        return Verdict(True, "the account's root")
    allowing = _first(query, identity, deny=False, member=False)
    if allowing is None:
        return Verdict(False, "no identity policy allows it")
    return Verdict(True, allowing.label)


def _by_grant(query: Query, grants: Iterable[GrantRecord]) -> Verdict:
    operation = query.action.removeprefix("kms:")
    for grant in grants:
        if grant_allows(grant, query.principal, operation, query.context, query.grant):
            return Verdict(True, f"grant {grant.grant_id}")
    return Verdict(False, "no statement or grant allows it")
