"""The tables. Postgres is the only truth about data, jobs and results."""

from __future__ import annotations

from app.database.tables.access import ApiKey, BrowserSession, LoginLink, Project
from app.database.tables.annotations import Annotation, Annotator, Item
from app.database.tables.changes import AuditEvent, StoredAnswer
from app.database.tables.datasets import Dataset, DatasetSums, DatasetTask, DatasetVersion, File
from app.database.tables.jobs import JOB_STATUSES, UNFINISHED, Job, JobCheckpoint, JobEvent
from app.database.tables.models import FineTunedModel, ModelAlias
from app.database.tables.reports import (
    ALL_TASKS,
    HARMFUL_FLAGS,
    AnnotatorPair,
    AnnotatorReport,
    Decision,
    ItemReport,
    ReportFigures,
)
from app.database.tables.webhooks import Webhook, WebhookMessage

__all__ = [
    "ALL_TASKS",
    "HARMFUL_FLAGS",
    "JOB_STATUSES",
    "UNFINISHED",
    "Annotation",
    "Annotator",
    "AnnotatorPair",
    "AnnotatorReport",
    "ApiKey",
    "AuditEvent",
    "BrowserSession",
    "Dataset",
    "DatasetSums",
    "DatasetTask",
    "DatasetVersion",
    "Decision",
    "File",
    "FineTunedModel",
    "Item",
    "ItemReport",
    "Job",
    "JobCheckpoint",
    "JobEvent",
    "LoginLink",
    "ModelAlias",
    "Project",
    "ReportFigures",
    "StoredAnswer",
    "Webhook",
    "WebhookMessage",
]
