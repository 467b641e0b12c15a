"""What an operator does on the service's own machine: set it up, and name who may sign requests.

AWS has IAM for this, another service. Here principals, their access keys and identity policies are
kept beside the keys, and are changed only by who can open the database and the token. Every change
is an event of the audit trail, of the principal ``arn:aws:iam::ACCOUNT:root``.

Example:
    >>> administration = Administration(store, token)                   # doctest: +SKIP
    >>> administration.add_principal("orders")                          # doctest: +SKIP
    'arn:aws:iam::111122223333:user/orders'
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from assay.core import Clock, SystemClock
from assay.kms.access_keys import Secrets
from assay.kms.call import compiled
from assay.kms.errors import (
    AlreadyExistsError,
    AlteredTrailError,
    LimitError,
    NotFoundError,
    ValidationError,
)
from assay.kms.events import event
from assay.kms.records import AccessKeyRecord, KeySpec, KeyUsage, PrincipalRecord
from assay.kms.store import Store, Transaction, event_digest
from assay.kms.token import Token

MOST_ACCESS_KEYS = 2
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}", re.ASCII)
ROOT = "root"

FULL_ACCESS = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}'
)
"""An identity policy that allows every action, wherever the key policy leaves it to the account."""


@dataclass(frozen=True, slots=True)
class MadeAccessKey:
    """A new access key; its secret is told this once.

    Attributes:
        access_key_id: ``AKIA…``.
        secret: to sign with.
        principal: the ARN of whose it is.
    """

    access_key_id: str
    secret: str = field(repr=False)
    principal: str


@dataclass(frozen=True, slots=True)
class Trail:
    """What a look through the audit trail found.

    Attributes:
        events: how many there are.
        chains: the last number and digest of each chain.
    """

    events: int
    chains: dict[str, tuple[int, bytes]]


def initialise(engine: Engine, token: Token, *, account: str, region: str) -> None:
    """Make the state of a new service, and the key of the token that seals access keys.

    Args:
        engine: of an empty database.
        token: will hold the keys.
        account: 12 digits; for ARNs.
        region: such as ``eu-central-1``; for ARNs and signatures.

    Raises:
        ValidationError: account or Region are malformed.
        InternalError: there is a state already; it was not touched.
    """
    if not _ACCOUNT.fullmatch(account):
        raise ValidationError(f"expected an account of 12 digits, found {account[:20]!r}")
    if not _REGION.fullmatch(region):
        raise ValidationError(f"expected a Region such as eu-central-1, found {region[:40]!r}")
    Store.refuse_existing(engine)
    made = token.create_key(
        KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, f"access-keys/{uuid.uuid4()}"
    )
    Store.create(engine, account=account, region=region, seal_handle=made.handle)


class Administration:
    """Changes principals and reads the audit trail; beside a running service or without one.

    Args:
        store: the durable state, opened for this process.
        token: holds the keys.
        clock: for the events.
    """

    def __init__(self, store: Store, token: Token, *, clock: Clock | None = None) -> None:
        self._store = store
        self._secrets = Secrets(token, store.seal_handle)
        self._clock = clock or SystemClock()

    def principals(self) -> list[PrincipalRecord]:
        """All principals, sorted by ARN."""
        with self._store.transaction() as transaction:
            return sorted(transaction.state.principals.values(), key=lambda each: each.arn)

    def access_keys(self, principal: str) -> list[AccessKeyRecord]:
        """The access keys of a principal, oldest first.

        Args:
            principal: its ARN, or the name of a user, or ``root``.
        """
        with self._store.transaction() as transaction:
            arn = _arn(transaction, principal)
            found = [k for k in transaction.state.access_keys.values() if k.principal == arn]
            return sorted(found, key=lambda each: each.created_at)

    def add_principal(self, name: str) -> str:
        """Name a new principal, who may do nothing yet; returns its ARN.

        Args:
            name: of the user; ``root`` is the account itself, which identity policies do not bind.

        Raises:
            AlreadyExistsError: there is one of this name.
            ValidationError: no user can have this name.
        """
        if not _NAME.fullmatch(name):
            raise ValidationError("expected a user name of 1 to 64 letters, digits and +=,.@_-")
        with self._changing("AddPrincipal", name) as (transaction, arn):
            if arn in transaction.state.principals:
                raise AlreadyExistsError(
                    f"expected no principal {arn}, found one; it was not changed"
                )
            transaction.put(PrincipalRecord(arn))
        return arn

    def enable_principal(self, name: str, *, enabled: bool) -> None:
        """Accept the requests of a principal, or refuse them all.

        Raises:
            NotFoundError: there is no such principal.
        """
        action = "EnablePrincipal" if enabled else "DisablePrincipal"
        with self._changing(action, name) as (transaction, arn):
            transaction.put(replace(_existing(transaction, arn), enabled=enabled))

    def put_policy(self, name: str, policy_name: str, text: str | None) -> None:
        """Put an identity policy of a principal, or take it away.

        Args:
            name: of the user, or ``root``.
            policy_name: of the policy; one of this name is replaced.
            text: JSON; None takes it away.

        Raises:
            NotFoundError: there is no such principal.
            DocumentError: the policy is malformed.
        """
        with self._changing("PutPrincipalPolicy", name) as (transaction, arn):
            principal = _existing(transaction, arn)
            policies = {n: t for n, t in principal.policies.items() if n != policy_name}
            if text is not None:
                compiled(text, "identity", transaction.state.account)
                policies[policy_name] = text
            transaction.put(replace(principal, policies=policies))

    def create_access_key(self, name: str) -> MadeAccessKey:
        """Make an access key for a principal.

        Raises:
            NotFoundError: there is no such principal.
            LimitError: it has two already; remove one first.
        """
        with self._changing("CreateAccessKey", name) as (transaction, arn):
            _existing(transaction, arn)
            held = [k for k in transaction.state.access_keys.values() if k.principal == arn]
            if len(held) >= MOST_ACCESS_KEYS:
                raise LimitError(
                    f"expected at most {MOST_ACCESS_KEYS} access keys of {arn}, found as many; "
                    "remove one first"
                )
            record, secret = self._secrets.make(arn, self._clock.now())
            transaction.put(record)
        return MadeAccessKey(record.access_key_id, secret, arn)

    def remove_access_key(self, access_key_id: str) -> None:
        """Accept no more requests that were signed with an access key.

        Raises:
            NotFoundError: there is none.
        """
        with self._changing("RemoveAccessKey", access_key_id) as (transaction, _):
            record = transaction.state.access_keys.get(access_key_id)
            if record is None:
                raise NotFoundError("expected the id of an access key, found none such")
            transaction.remove(record)

    def trail(self) -> Iterator[tuple[str, int, str, bytes]]:
        """The audit trail: chain, number, event as JSON, digest."""
        return self._store.events()

    def verify_trail(self) -> Trail:
        """Read the whole audit trail and check that nothing in it was altered or removed.

        Raises:
            AlteredTrailError: something was; it says where.
        """
        heads: dict[str, tuple[int, bytes]] = {}
        count = 0
        for chain, number, text, digest in self.trail():
            before, last = heads.get(chain, (0, bytes(32)))
            if number != before + 1:
                raise AlteredTrailError(
                    f"expected event {before + 1} of the chain {chain}, found {number}: events "
                    "were removed"
                )
            if event_digest(last, text.encode()) != digest:
                raise AlteredTrailError(
                    f"expected event {number} of the chain {chain} as it was recorded, found "
                    "another: the audit trail was altered"
                )
            heads[chain], count = (number, digest), count + 1
        return Trail(count, heads)

    @contextmanager
    def _changing(self, action: str, name: str) -> Iterator[tuple[Transaction, str]]:
        with self._store.transaction() as transaction:
            arn = _arn(transaction, name)
            yield transaction, arn
            transaction.record_event(
                event(
                    self._clock.now(),
                    principal=transaction.state.root,
                    action=action,
                    reason=f"on this machine, about {arn}",
                )
            )


def _arn(transaction: Transaction, name: str) -> str:
    state = transaction.state
    if name.startswith("arn:"):
        return name
    return state.root if name == ROOT else f"arn:aws:iam::{state.account}:user/{name}"


def _existing(transaction: Transaction, arn: str) -> PrincipalRecord:
    found = transaction.state.principals.get(arn)
    if found is None:
        raise NotFoundError(f"expected a principal {arn}, found none; add it first")
    return found
