"""One identified request on its way through an operation: whose it is, what it may, what it did.

An operation asks for its key here, and is given it only when the caller may use it like this and
the key is in a state that allows it. What was asked for goes into the audit event.

Specification: ``spec/kms.md``, "Decision".

Example:
    >>> record = call.key(arguments.key_id, context={"tenant": "north"})    # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from assay.kms.decision import Verdict, check_no_lockout, decide, decide_retirement
from assay.kms.errors import (
    AccessDeniedError,
    DisabledError,
    DryRunError,
    InvalidArnError,
    InvalidStateError,
    NotFoundError,
)
from assay.kms.grants import GrantRequest
from assay.kms.policies import Policy, PolicyKind, parse_policy
from assay.kms.query import Fact, Query, caller_facts
from assay.kms.records import GrantRecord, KeyRecord, KeyState, PrincipalRecord
from assay.kms.state import State
from assay.kms.store import Transaction
from assay.kms.token import Token

LONGEST_ARN = 256
USABLE = frozenset({KeyState.ENABLED})
ANY_STATE = frozenset(KeyState)
NOT_PENDING = frozenset({KeyState.ENABLED, KeyState.DISABLED})

_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]+):(\d{12}):((?:key|alias)/.+)", re.ASCII)


@lru_cache(maxsize=4096)
def compiled(text: str, kind: PolicyKind, account: str) -> Policy:
    """A policy, ready to decide.

    Raises:
        DocumentError: it is malformed.
    """
    return parse_policy(text, kind=kind, account=account)


@dataclass
class Call:
    """One request of a known principal.

    Attributes:
        action: ``Decrypt``.
        principal: who sent it.
        source: the IP address.
        now: the moment at which it is decided.
        transaction: in which everything happens.
        token: holds the keys.
        keys: what was asked for: ARN and encryption context; for the audit event.
        rule: what decided last; for the audit event. None: nothing was decided.
    """

    action: str
    principal: PrincipalRecord
    source: str
    now: datetime
    transaction: Transaction
    token: Token
    keys: list[tuple[str, Mapping[str, str] | None]] = field(default_factory=list)
    rule: str | None = None

    @property
    def state(self) -> State:
        """What the service knows."""
        return self.transaction.state

    def key(  # noqa: PLR0913 - one decision has these parts, all with names
        self,
        reference: str,
        *,
        action: str | None = None,
        context: Mapping[str, str] | None = None,
        facts: Mapping[str, Fact] | None = None,
        grant: GrantRequest | None = None,
        states: frozenset[KeyState] = USABLE,
        dry_run: bool = False,
    ) -> KeyRecord:
        """The key that a request names, when the caller may do this with it.

        Args:
            reference: key id, key ARN, alias or alias ARN.
            action: what is done with it, when that is not the action itself.
            context: the encryption context, where the action has one.
            facts: condition keys of this request, in lower case.
            grant: for CreateGrant, what would be granted.
            states: in which the key must be.
            dry_run: stop here when all is well.

        Raises:
            AccessDeniedError: the caller may not.
            NotFoundError: there is no such key.
            InvalidArnError: no form of a reference.
            DisabledError: it is disabled.
            InvalidStateError: it waits for its deletion.
            DryRunError: ``dry_run``, and all is well.
        """
        key_id, alias = self._resolve(reference)
        record = None if key_id is None else self.state.keys.get(key_id)
        arn = record.arn if record else _would_be_arn(self.state, reference)
        self.keys.append((arn[:LONGEST_ARN], context))
        known: dict[str, Fact] = {} if record is None else self._facts_of_key(record)
        known |= {"kms:requestalias": alias, **(facts or {})}
        account = self.state.account
        query = self._query(action, arn, known, context, grant)
        verdict = decide(
            query,
            account=account,
            key_policy=None if record is None else compiled(record.policy, "key", account),
            identity=self._identity(),
            grants=() if record is None else self.state.grants_of(record.key_id),
        )
        self._take(verdict, query)
        if record is None:
            raise NotFoundError(f"expected a key {reference[:120]!r}, found none")
        _refuse_state(record, states)
        self.stop_if_dry(dry_run)
        return record

    def anywhere(
        self,
        resource: str = "*",
        *,
        action: str | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        """Ask whether the caller may do what concerns no key, or an alias.

        Args:
            resource: the ARN of an alias, or ``*``.
            action: what is done, when that is not the action itself.
            facts: condition keys of this request.

        Raises:
            AccessDeniedError: the caller may not.
        """
        query = self._query(action, resource, facts)
        verdict = decide(
            query, account=self.state.account, key_policy=None, identity=self._identity()
        )
        self._take(verdict, query)

    def retiring(self, grant: GrantRecord) -> None:
        """Ask whether the caller may retire a grant.

        Raises:
            AccessDeniedError: the caller may not.
        """
        arn = self.state.key_arn(grant.key_id)
        self.keys.append((arn, None))
        query = self._query("RetireGrant", arn, None)
        verdict = decide_retirement(
            query, account=self.state.account, grant=grant, identity=self._identity()
        )
        self._take(verdict, query)

    def refuse_lockout(self, record: KeyRecord, policy: str) -> None:
        """Refuse a key policy that nobody could change any more.

        Raises:
            DocumentError: it is one, or malformed.
        """
        account = self.state.account
        query = self._query("PutKeyPolicy", record.arn, self._facts_of_key(record))
        parsed = compiled(policy, "key", account)
        check_no_lockout(parsed, query, account=account, identity=self._identity())

    def is_same_key(self, one: str, other: str) -> bool:
        """Whether two references mean one key."""
        first = self._resolve(one)[0]
        return first is not None and first == self._resolve(other)[0]

    @staticmethod
    def stop_if_dry(dry_run: bool) -> None:
        """End a request that only asked whether it would succeed.

        Raises:
            DryRunError: it did.
        """
        if dry_run:
            raise DryRunError("the request would have succeeded; it asked for a dry run")

    def _identity(self) -> list[Policy]:
        account = self.state.account
        return [compiled(text, "identity", account) for text in self.principal.policies.values()]

    def _query(
        self,
        action: str | None,
        resource: str,
        facts: Mapping[str, Fact] | None,
        context: Mapping[str, str] | None = None,
        grant: GrantRequest | None = None,
    ) -> Query:
        arn, region = self.principal.arn, self.state.region
        known = caller_facts(arn, region=region, source=self.source, now=self.now)
        return Query(
            principal=arn,
            action=f"kms:{action or self.action}",
            resource=resource,
            facts={**known, **(facts or {})},
            context=context,
            grant=grant,
        )

    def _facts_of_key(self, record: KeyRecord) -> dict[str, Fact]:
        """The condition keys that a key itself brings."""
        return {
            "kms:keyspec": record.spec.value,
            "kms:keyusage": record.usage.value,
            "kms:keyorigin": "AWS_KMS",
            "kms:multiregion": record.multi_region,
            "kms:multiregionkeytype": "PRIMARY" if record.multi_region else None,
            "kms:resourcealiases": tuple(self.state.aliases_of(record.key_id)),
            **{f"aws:resourcetag/{name.lower()}": value for name, value in record.tags.items()},
        }

    def _take(self, verdict: Verdict, query: Query) -> None:
        self.rule = verdict.rule
        if not verdict.allowed:
            raise AccessDeniedError(
                f"User: {self.principal.arn} is not authorized to perform: {query.action} on "
                f"resource: {query.resource[:LONGEST_ARN]} ({verdict.rule})",
                verdict.rule,
            )

    def _resolve(self, reference: str) -> tuple[str | None, str | None]:
        """The key id that is meant, or None, and the alias by which it was named."""
        name = reference
        if reference.startswith("arn:"):
            match = _ARN.fullmatch(reference)
            if match is None:
                raise InvalidArnError(
                    f"expected the ARN of a key or alias, found {reference[:120]!r}"
                )
            if match[1] != self.state.region or match[2] != self.state.account:
                raise NotFoundError(
                    f"expected an ARN of Region {self.state.region} and account "
                    f"{self.state.account}, found another"
                )
            name = match[3].removeprefix("key/")
        if name.startswith("alias/"):
            found = self.state.aliases.get(name)
            return (found.key_id if found else None), name
        return name, None


def _refuse_state(record: KeyRecord, states: frozenset[KeyState]) -> None:
    if record.state in states:
        return
    if record.state is KeyState.DISABLED and KeyState.ENABLED in states:
        raise DisabledError(f"{record.arn} is disabled.")
    if record.state is KeyState.PENDING_DELETION:
        raise InvalidStateError(f"{record.arn} is pending deletion.")
    raise InvalidStateError(f"{record.arn} is not pending deletion.")


def _would_be_arn(state: State, reference: str) -> str:
    if reference.startswith("arn:"):
        return reference
    if reference.startswith("alias/"):
        return state.alias_arn(reference)
    return state.key_arn(reference)
