"""What must hold in database and artifact store whenever nothing is going on, whatever happened before."""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.artifacts import ArtifactStore

# Each finds what breaks its rule: rows of (what, which).
_RULES = {
    "a running job has a live lease": """
        SELECT id FROM jobs WHERE status = 'running' AND (lease_until IS NULL OR lease_until < now())""",
    "a job that has ended has its time and its reason": """
        SELECT id FROM jobs WHERE status IN ('succeeded', 'failed', 'cancelled') AND (
            finished_at IS NULL OR lease_until IS NOT NULL
            OR (status = 'succeeded') <> (error_code IS NULL) OR (status = 'succeeded') <> (error_message IS NULL)
            OR (status = 'succeeded') <> (summary IS NOT NULL))""",
    "a job's events are numbered 1, 2, 3, … without gaps": """
        SELECT j.id FROM jobs j LEFT JOIN job_events e ON e.job_key = j.key GROUP BY j.key, j.id, j.last_event
        HAVING count(e.number) <> j.last_event OR coalesce(max(e.number), 0) <> j.last_event""",
    "a job succeeds once, and each of its attempts starts once": """
        SELECT j.id FROM jobs j JOIN job_events e ON e.job_key = j.key
        WHERE e.message = 'The job succeeded' OR e.message LIKE 'Attempt % started'
        GROUP BY j.id, e.message HAVING count(*) > 1""",
    "a job has one model, if it succeeded with one, and else none": """
        SELECT j.id FROM jobs j LEFT JOIN models m ON m.job_key = j.key GROUP BY j.key, j.id, j.fine_tuned_model
        HAVING count(m.id) > 1 OR (count(m.id) = 1 AND min(m.id) IS DISTINCT FROM j.fine_tuned_model)""",
    "a report is there as a whole, or not at all": """
        SELECT j.id FROM jobs j
        LEFT JOIN datasets d ON d.id = j.dataset_id
        LEFT JOIN dataset_versions v ON v.dataset_key = d.key AND v.number = j.dataset_version
        WHERE (SELECT count(*) FROM item_reports r WHERE r.job_key = j.key)
            <> CASE WHEN j.status = 'succeeded' THEN coalesce(v.n_items, 0) ELSE 0 END AND d.key IS NOT NULL""",
    "an upload that was accepted is whole": """
        SELECT d.id FROM datasets d LEFT JOIN dataset_versions v ON v.dataset_key = d.key WHERE v.number IS NULL
            OR v.n_labels <> (SELECT count(*) FROM annotations a WHERE a.dataset_key = d.key
                AND a.added_in <= v.number AND (a.superseded_in IS NULL OR a.superseded_in > v.number))
            OR v.n_items > (SELECT count(*) FROM items i WHERE i.dataset_key = d.key)""",
    "an upload that was not accepted is absent": """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname ~ '^(items|annotations)_[0-9]+$'
            AND NOT EXISTS (SELECT FROM datasets d WHERE d.key = substring(c.relname FROM '[0-9]+$')::int)""",
}


def violations(session: Session, store: ArtifactStore) -> list[str]:
    """Everything that breaks a rule, as sentences."""
    found = [f"{rule}: {row[0]}" for rule, query in _RULES.items() for row in session.execute(text(query))]
    return found + _damaged_models(session, store)


def _damaged_models(session: Session, store: ArtifactStore) -> list[str]:
    rows = session.execute(text("SELECT id, artifact, manifest FROM models")).all()
    return [
        f"a model's files equal its manifest: {model}, {name}"
        for model, artifact, manifest in rows
        for name, facts in manifest.items()
        if _sha256(store, artifact, name) != facts["sha256"]
    ]


def _sha256(store: ArtifactStore, artifact: str, name: str) -> str | None:
    try:
        with store.open(artifact, name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
