"""What keyrings tell OpenTelemetry, which does nothing with it until an SDK is set up.

=============================== ========= ==================================================
instrument                      kind      attributes
=============================== ========= ==================================================
``assay.keys.service.duration`` histogram ``operation`` (generate, unwrap), ``scheme`` of the
                                          key URI, ``error.type`` when it failed; seconds
``assay.keys.cache.misses``     counter   ``class``
``assay.keys.cache.keys``       gauge     keys that are kept now
``assay.keys.outage.leases``    counter   ``class``; keys that were given out after their time
                                          because the service was away, each for some seconds
``assay.keys.dropped``          counter   ``class``
=============================== ========= ==================================================

No instrument is told an owner or a key id. Names and units follow
https://opentelemetry.io/docs/specs/semconv/general/metrics/.

Example:
    >>> keyring = Keyring(service, table, metrics=KeyMetrics(provider))      # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from assay.core import DataKeyClass


class KeepsKeys(Protocol):
    """Keeps unwrapped keys."""

    @property
    def kept_keys(self) -> int:
        """How many."""
        ...


class KeyMetrics:
    """The instruments of all keyrings that share it.

    Args:
        provider: whose meter is told; the one that is set for the process when None.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = get_meter("assay.keys", meter_provider=provider)
        self._keyrings: WeakSet[KeepsKeys] = WeakSet()
        self._duration = meter.create_histogram(
            "assay.keys.service.duration", "s", "How long calls of the key service take."
        )
        self._misses = meter.create_counter(
            "assay.keys.cache.misses", "{miss}", "Keys that were not found in the cache."
        )
        self._leases = meter.create_counter(
            "assay.keys.outage.leases", "{lease}", "Keys that were given out in an outage."
        )
        self._dropped = meter.create_counter(
            "assay.keys.dropped", "{key}", "Keys that were dropped from the cache."
        )
        meter.create_observable_gauge(
            "assay.keys.cache.keys", [self._count], "{key}", "Unwrapped keys that are kept."
        )

    def observe(self, keyring: KeepsKeys) -> None:
        """Count the keys of a keyring as long as it lives."""
        self._keyrings.add(keyring)

    @contextmanager
    def call(self, operation: str, uri: str) -> Iterator[None]:
        """A call of a key service.

        Args:
            operation: "generate" or "unwrap".
            uri: which KEK; only its scheme is told.
        """
        attributes = {"operation": operation, "scheme": uri.partition(":")[0]}
        begun = time.perf_counter()
        try:
            yield
        except Exception as exc:
            attributes["error.type"] = type(exc).__name__
            raise
        finally:
            self._duration.record(time.perf_counter() - begun, attributes)

    def miss(self, key_class: DataKeyClass) -> None:
        """A key was not found in the cache."""
        self._misses.add(1, {"class": key_class.value})

    def lease(self, key_class: DataKeyClass) -> None:
        """A key was given out after its time."""
        self._leases.add(1, {"class": key_class.value})

    def drop(self, key_class: DataKeyClass) -> None:
        """A key was dropped."""
        self._dropped.add(1, {"class": key_class.value})

    def _count(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(sum(keyring.kept_keys for keyring in list(self._keyrings)))


@lru_cache(maxsize=1)
def default_metrics() -> KeyMetrics:
    """Those of the provider that is set for the process, now or later."""
    return KeyMetrics()
