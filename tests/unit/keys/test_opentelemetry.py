"""What keyrings tell OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from assay.core import DataKeyClass
from assay.keys import (
    Keyring,
    KeyServiceUnavailableError,
    MemoryDataKeyTable,
    MemoryKeyService,
)
from assay.keys.opentelemetry import KeyMetrics

ROWS = DataKeyClass.ROWS


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class AbsentService(MemoryKeyService):
    away = False

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if self.away:
            raise KeyServiceUnavailableError("expected an answer, found none")
        return super().unwrap(wrapped, context)


def measured(reader: InMemoryMetricReader) -> dict[tuple[str, str], float]:
    """Instrument and attributes to value, or to the number of measurements of a histogram."""
    found = {}
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "assay.keys"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = " ".join(f"{k}={v}" for k, v in sorted(point.attributes.items()))
                    value = getattr(point, "count", getattr(point, "value", None))
                    found[metric.name.removeprefix("assay.keys."), attributes] = value
    return found


def test_calls_misses_outages_and_kept_keys_are_measured() -> None:
    reader = InMemoryMetricReader()
    metrics = KeyMetrics(MeterProvider([reader]))
    service, table, seconds = AbsentService(), MemoryDataKeyTable(), Seconds()
    keyring = Keyring(
        service,
        table,
        metrics=metrics,
        cache_ttl_seconds=300,
        outage_seconds=300,
        monotonic=seconds,
        watch_seconds=3600,
    )
    keyring.current("ada@example.com", ROWS)
    keyring.current("b", DataKeyClass.OBJECTS)
    keyring.current("b", DataKeyClass.OBJECTS)
    seconds.now = 300.0
    keyring.current("b", DataKeyClass.OBJECTS)
    service.away = True
    keyring.current("ada@example.com", ROWS)
    with pytest.raises(KeyServiceUnavailableError):
        Keyring(service, table, metrics=metrics).current("b", DataKeyClass.OBJECTS)
    found = measured(reader)
    assert found == {
        ("service.duration", "operation=generate scheme=memory"): 2,
        ("service.duration", "operation=unwrap scheme=memory"): 1,
        (
            "service.duration",
            "error.type=KeyServiceUnavailableError operation=unwrap scheme=memory",
        ): 2,
        ("cache.misses", "class=rows"): 2,
        ("cache.misses", "class=objects"): 3,
        ("outage.leases", "class=rows"): 1,
        ("cache.keys", ""): 2,
    }
    keyring.close()
    assert measured(reader)["dropped", "class=rows"] == 1
    assert measured(reader)["cache.keys", ""] == 0
    assert "ada" not in repr(measured(reader))


def test_nothing_is_needed_and_nothing_is_slow_without_an_sdk() -> None:
    """The room is imported without OpenTelemetry; the first keyring imports its API alone."""
    code = (
        "import sys, assay.keys as keys\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
        "keys.Keyring(keys.MemoryKeyService(), keys.MemoryDataKeyTable())\n"
        "assert 'opentelemetry.metrics' in sys.modules\n"
        "assert 'opentelemetry.sdk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
