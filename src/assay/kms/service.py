"""The service: signed requests in, answers out, each of them decided, recorded and then given.

One thread does all of it, batch by batch: it takes what has come in, decides and performs every
request, and commits what they changed and their audit events in one transaction. Only then are the
answers given. So an answer never leaves without its durable event, the wait for the disk is shared
by all requests of a batch, and operations never meet each other halfway.

Specification: ``spec/kms.md``, "One request".

Example:
    >>> service = Service(store, token)                                 # doctest: +SKIP
    >>> service.submit(request).result().status                         # doctest: +SKIP
    200
"""

from __future__ import annotations

import asyncio
import queue
import threading
import traceback
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from assay.core import AssayError, Clock, Event, EventSink, IgnoredEvents, SystemClock
from assay.kms.access_keys import Secrets
from assay.kms.arguments import read_arguments
from assay.kms.call import Call
from assay.kms.errors import (
    AccessDeniedError,
    InternalError,
    KmsError,
    UnknownClientError,
    UnknownOperationError,
    UnsupportedError,
)
from assay.kms.events import LONGEST_ACTION, concerning, event
from assay.kms.housekeeping import keep_house
from assay.kms.operations import OPERATIONS, UNSUPPORTED
from assay.kms.records import PrincipalRecord
from assay.kms.request import Answer, SignedRequest
from assay.kms.sigv4 import Caller, verify
from assay.kms.store import Store, Transaction
from assay.kms.token import Token

MOST_IN_BATCH = 64
HOUSEKEEPING_SECONDS = 60.0
MOST_REFUSED_PLACES = 10_000
_TARGET = "TrentService."


@dataclass(frozen=True, slots=True)
class _Job:
    """One thing to do within a transaction.

    Attributes:
        act: does it.
        refused: the outcome when nothing of it has happened, and why.
        done: takes the outcome once it is durable.
    """

    act: Callable[[Transaction], Any]
    refused: Callable[[KmsError], Any]
    done: Future[Any] = field(default_factory=Future)


class Service:
    """Answers requests in a thread of its own. Safe between threads.

    Args:
        store: the durable state.
        token: holds the keys.
        clock: for signatures, states and rotations.
        events: told of what an operator must see: ``kms.defect``, ``kms.housekeeping-failed``.
    """

    def __init__(
        self,
        store: Store,
        token: Token,
        *,
        clock: Clock | None = None,
        events: EventSink | None = None,
    ) -> None:
        self._store = store
        self._token = token
        self._clock = clock or SystemClock()
        self._events = events or IgnoredEvents()
        self._secrets = Secrets(token, store.seal_handle)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._refused: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._work, name="kms", daemon=True)
        self._thread.start()

    def submit(self, request: SignedRequest) -> Future[Answer]:
        """Hand a request in; its answer comes when everything about it is durable."""
        job = _Job(lambda transaction: self._one(transaction, request), _refused)
        self._jobs.put(job)
        return job.done

    async def answer(self, request: SignedRequest) -> Answer:
        """The same for an event loop."""
        return await asyncio.wrap_future(self.submit(request))

    async def is_healthy(self) -> bool:
        """Whether the token answers and a transaction can be committed."""
        job = _Job(lambda _: bool(self._token.random(1)), lambda _: False)
        self._jobs.put(job)
        return bool(await asyncio.wrap_future(job.done))

    def close(self) -> None:
        """Answer what has come in, and end. A second call does nothing."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        kept_house = self._clock.now()
        self._keep_house()
        while True:
            batch, ending = self._next_batch()
            if batch:
                self._do(batch)
            if ending:
                self._keep_house()
                return
            now = self._clock.now()
            if (now - kept_house).total_seconds() >= HOUSEKEEPING_SECONDS:
                kept_house = now
                self._keep_house()

    def _next_batch(self) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        with suppress(queue.Empty):
            job = self._jobs.get(timeout=HOUSEKEEPING_SECONDS)
            while True:
                if job is None:
                    return batch, True
                if job.done.set_running_or_notify_cancel():  # else its client has gone
                    batch.append(job)
                if len(batch) == MOST_IN_BATCH:
                    break
                job = self._jobs.get_nowait()
        return batch, False

    def _do(self, batch: Sequence[_Job]) -> None:
        try:
            with self._store.transaction() as transaction:
                outcomes = [job.act(transaction) for job in batch]
        except KmsError as exc:
            outcomes = [job.refused(exc) for job in batch]
        except Exception as exc:  # noqa: BLE001 - a defect of one must not be the others' end
            if len(batch) > 1:
                for job in batch:
                    self._do([job])
                return
            self._report(exc)
            broken = InternalError("expected the service to answer, found a defect of it")
            outcomes = [job.refused(broken) for job in batch]
        for job, outcome in zip(batch, outcomes, strict=True):
            job.done.set_result(outcome)

    def _report(self, error: Exception) -> None:
        """Tell of a defect: its kind and place, never what it says, which may be content."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        details = {"error": type(error).__name__, "place": f"{place.filename}:{place.lineno}"}
        self._events.emit(Event("kms.defect", details))

    def _one(self, transaction: Transaction, request: SignedRequest) -> Answer:
        request_id, now = str(uuid.uuid4()), self._clock.now()
        action = (request.header("x-amz-target") or "").removeprefix(_TARGET)
        try:
            principal = self._identify(transaction, request, now)
        except KmsError as exc:
            self._count_refused(request.source, exc.code)
            return Answer.of_error(exc, request_id)
        call = Call(action, principal, request.source, now, transaction, self._token)
        outcome, reason = "ok", None
        try:
            answer = Answer(200, _perform(call, request), request_id)
        except KmsError as exc:
            outcome = exc.code
            reason = exc.rule if isinstance(exc, AccessDeniedError) else type(exc).__name__
            answer = Answer.of_error(exc, request_id)
        transaction.record_event(
            event(
                now,
                request=request_id,
                principal=principal.arn,
                source=request.source,
                action=action[:LONGEST_ACTION],
                **concerning(call.keys),
                outcome=outcome,
                reason=reason or call.rule,
            )
        )
        return answer

    def _identify(
        self, transaction: Transaction, request: SignedRequest, now: datetime
    ) -> PrincipalRecord:
        state = transaction.state

        def secret_of(access_key_id: str) -> str | None:
            found = state.access_keys.get(access_key_id)
            return self._secrets.open(found) if found is not None and found.enabled else None

        caller: Caller = verify(request, secret_of, region=state.region, now=now)
        principal = state.principals.get(state.access_keys[caller.access_key_id].principal)
        if principal is None or not principal.enabled:
            raise UnknownClientError("The security token included in the request is invalid.")
        return principal

    def _count_refused(self, source: str, code: str) -> None:
        """Requests of nobody are counted, not recorded one by one: anybody can send millions."""
        if len(self._refused) >= MOST_REFUSED_PLACES:
            source = ""
        self._refused[source, code] = self._refused.get((source, code), 0) + 1

    def _keep_house(self) -> None:
        """Destroy and rotate what is due, and record how many were refused."""
        now, refused = self._clock.now(), dict(self._refused)
        try:
            with self._store.transaction() as transaction:
                for (source, code), count in sorted(refused.items()):
                    transaction.record_event(event(now, source=source, outcome=code, count=count))
                keep_house(transaction, self._token, now)
        except KmsError as exc:  # nothing happened; the next round tries again
            self._events.emit(Event("kms.housekeeping-failed", {"error": exc.code}))
        except Exception as exc:  # noqa: BLE001 - requests are answered all the same
            self._report(exc)
        else:
            self._refused.clear()


def _refused(error: KmsError) -> Answer:
    return Answer.of_error(error, str(uuid.uuid4()))


def _perform(call: Call, request: SignedRequest) -> bytes:
    operation = OPERATIONS.get(call.action)
    if operation is None:
        if call.action in UNSUPPORTED:
            raise UnsupportedError(f"{call.action} is not supported: {UNSUPPORTED[call.action]}")
        raise UnknownOperationError("expected an action of AWS KMS in X-Amz-Target, found another")
    arguments = read_arguments(request.body, operation.takes)
    try:
        answer = operation.perform(call, arguments)
    except KmsError:
        raise
    except AssayError as exc:
        raise InternalError(f"expected to perform {call.action}: {type(exc).__name__}") from exc
    if call.rule is None:
        raise InternalError(f"expected a decision about {call.action}, found none was made")
    return b"" if answer is None else msgspec.json.encode(answer)
