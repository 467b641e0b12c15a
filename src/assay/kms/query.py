"""One request, as policies and grants see it.

Example:
    >>> query = Query(
    ...     principal="arn:aws:iam::111122223333:user/ada",
    ...     action="kms:Decrypt",
    ...     resource="arn:aws:kms:eu-central-1:111122223333:key/1b9ec9d2",
    ...     facts={"kms:keyspec": "SYMMETRIC_DEFAULT"},
    ...     context={"Department": "IT"},
    ... )
    >>> query.values("kms:keyspec")
    ('SYMMETRIC_DEFAULT',)
    >>> query.values("kms:encryptioncontext:department")
    ('IT',)
    >>> query.values("kms:requestalias")
    ()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from assay.kms.condition_keys import CONTEXT_KEYS, CONTEXT_PREFIX
from assay.kms.grants import GrantRequest

Value = str | bool | int | datetime
"""One value of a condition key; a datetime has a zone."""

Fact = Value | tuple[str, ...] | None
"""What a request has of a condition key; None and the empty tuple: it has none."""


@dataclass(frozen=True, slots=True)
class Query:
    """Who wants to do what with which resource.

    Attributes:
        principal: the ARN of who asks.
        action: ``kms:Decrypt``; for ReEncrypt one query each of ``kms:ReEncryptFrom`` and
            ``kms:ReEncryptTo``.
        resource: the ARN of the key or alias, or ``*`` for an action of the whole account.
        facts: condition keys in lower case to what the request has of them. The encryption
            context is not among them; `values` takes it from `context`.
        context: the encryption context, empty when the request gave none; None for an action that
            takes none.
        grant: for ``kms:CreateGrant``, the grant that would be made.
    """

    principal: str
    action: str
    resource: str
    facts: Mapping[str, Fact]
    context: Mapping[str, str] | None = None
    grant: GrantRequest | None = None

    def values(self, key: str) -> tuple[Value, ...]:
        """All values of a condition key; nothing when the request has none.

        Args:
            key: in lower case.
        """
        if key.startswith(CONTEXT_PREFIX):
            name = key[len(CONTEXT_PREFIX) :]
            # Two names may differ in case only: then the key has two values.
            return tuple(value for each, value in self._pairs().items() if each.lower() == name)
        if key == CONTEXT_KEYS:
            return tuple(self._pairs())
        fact = self.facts.get(key)
        if fact is None:
            return ()
        return fact if isinstance(fact, tuple) else (fact,)

    def _pairs(self) -> Mapping[str, str]:
        if self.context is not None:
            return self.context
        return {} if self.grant is None else self.grant.context


def caller_facts(
    principal: str, *, region: str, source: str, now: datetime, userid: str | None = None
) -> dict[str, Fact]:
    """The facts that are the same for every action.

    Args:
        principal: ``arn:aws:iam::ACCOUNT:user/NAME`` or ``arn:aws:iam::ACCOUNT:root``.
        region: of the service.
        source: the address that sent the request; "" when it is not known.
        now: with a zone.
        userid: a name of the user that nobody had before; for the root it is the account.

    Source: IAM user guide, "Principal key values".
    """
    account, _, name = principal.removeprefix("arn:aws:iam::").partition(":")
    root = name == "root"
    return {
        "aws:principalarn": principal,
        "aws:principalaccount": account,
        "aws:principaltype": "Account" if root else "User",
        "aws:username": None if root else name.rpartition("/")[2],
        "aws:userid": account if root else userid,
        "aws:resourceaccount": account,
        "aws:requestedregion": region,
        "aws:sourceip": source or None,
        "aws:securetransport": True,
        "aws:currenttime": now,
        "aws:epochtime": int(now.timestamp()),
        "aws:viaawsservice": False,
        "aws:principalisawsservice": False,
        "kms:calleraccount": account,
    }
