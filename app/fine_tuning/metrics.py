"""Prometheus metrics of the jobs, read from the database whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.database import job_queries
from app.database.session import transaction
from app.settings import get_settings


class JobMetrics(Collector):
    """All projects together; nothing while the database is away."""

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return _families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            with transaction() as session:
                facts = job_queries.queue_facts(session)
        except SQLAlchemyError:
            return ()
        jobs, oldest_queued, oldest_heartbeat = _families()
        for status, count in facts.counts.items():
            jobs.add_metric([status], count)
        oldest_queued.add_metric([], facts.oldest_queued_seconds)
        oldest_heartbeat.add_metric([], max(0.0, get_settings().lease_seconds - facts.shortest_lease_seconds))
        return jobs, oldest_queued, oldest_heartbeat


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("realm_jobs", "Jobs by status.", labels=["status"]),
        GaugeMetricFamily("realm_oldest_queued_job_seconds", "How long the first in the queue has waited.", labels=[]),
        GaugeMetricFamily("realm_oldest_heartbeat_seconds", "How long the most silent worker has been.", labels=[]),
    )


REGISTRY.register(JobMetrics())
