"""Prometheus metrics of the jobs, read from the database whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.database import job_queries
from app.database.session import transaction
from app.database.tables import Job
from app.fine_tuning.rates import prompts_per_step
from app.settings import get_settings
from realm_core.config import Hyperparameters


class JobMetrics(Collector):
    """All projects together, so that no project's names are shown to another; nothing while the database is away."""

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, help_, labels=labels) for name, (help_, labels) in _FAMILIES.items()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            with transaction() as session:
                facts = job_queries.queue_facts(session)
                running = [job for job, _, _ in job_queries.running_jobs(session)]
        except SQLAlchemyError:
            return ()
        step_seconds, rows_per_second = _speed(running)
        families = {family.name: family for family in self.describe()}
        for status, count in facts.counts.items():
            families["realm_jobs"].add_metric([status], count)
        silent = max(0.0, get_settings().lease_seconds - facts.shortest_lease_seconds)
        families["realm_oldest_queued_job_seconds"].add_metric([], facts.oldest_queued_seconds)
        families["realm_oldest_heartbeat_seconds"].add_metric([], silent)
        families["realm_training_step_seconds"].add_metric([], step_seconds)
        families["realm_training_rows_per_second"].add_metric([], rows_per_second)
        return families.values()


_FAMILIES: dict[str, tuple[str, list[str]]] = {
    "realm_jobs": ("Jobs by status.", ["status"]),
    "realm_oldest_queued_job_seconds": ("How long the first in the queue has waited.", []),
    "realm_oldest_heartbeat_seconds": ("Age of the oldest lease: how long the most silent worker has been.", []),
    "realm_training_step_seconds": ("An optimiser step of the slowest job that trains now; 0 when none does.", []),
    "realm_training_rows_per_second": ("Prompts that all jobs that train now learn from in a second.", []),
}


def _speed(running: Iterable[Job]) -> tuple[float, float]:
    """Seconds per step of the slowest, rows per second of all; of the attempts that run now."""
    slowest, rows = 0.0, 0.0
    for job in running:
        training = job.progress.get("pace", {}).get("training", {})
        if training.get("steps") and training["seconds"] > 0:
            seconds = training["seconds"] / training["steps"]
            slowest = max(slowest, seconds)
            asked = Hyperparameters(**job.method["hyperparameters"])
            rows += prompts_per_step(asked, job.resolved or {}) / seconds
    return slowest, rows


REGISTRY.register(JobMetrics())
