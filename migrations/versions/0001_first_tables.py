"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that waits for a lock makes every later query wait behind it. Better to fail, and to be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "annotations",
        sa.Column("dataset_key", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Integer(), nullable=False),
        sa.Column("added_in", sa.Integer(), nullable=False),
        sa.Column("superseded_in", sa.Integer(), nullable=True),
        sa.Column("label", sa.SmallInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("cost", sa.REAL(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("dataset_key", "item", "annotator", "added_in", name=op.f("pk_annotations")),
        postgresql_partition_by="LIST (dataset_key)",
    )
    op.create_index(op.f("ix_annotations_annotator"), "annotations", ["annotator"], unique=False)
    op.create_table(
        "items",
        sa.Column("dataset_key", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("task", sa.SmallInteger(), nullable=False),
        sa.Column("key", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("gold", sa.SmallInteger(), nullable=True),
        sa.Column("added_in", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_key", "item", name=op.f("pk_items")),
        sa.UniqueConstraint("dataset_key", "key", name=op.f("uq_items_dataset_key_key")),
        postgresql_partition_by="LIST (dataset_key)",
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "annotators",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_annotators_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotators")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_annotators_project_id_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_project_id"), "api_keys", ["project_id"], unique=False)
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_audit_events_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index(
        "ix_audit_events_project_id_created_at_id", "audit_events", ["project_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "stored_answers",
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_stored_answers_api_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("api_key_id", "idempotency_key", name=op.f("pk_stored_answers")),
    )
    op.create_index(op.f("ix_stored_answers_created_at"), "stored_answers", ["created_at"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("has_text", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_datasets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("key", name=op.f("uq_datasets_key")),
    )
    op.create_index(
        "ix_datasets_project_id_created_at_id", "datasets", ["project_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "browser_sessions",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_browser_sessions_api_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_browser_sessions")),
    )
    op.create_table(
        "dataset_tasks",
        sa.Column("dataset_key", sa.Integer(), nullable=False),
        sa.Column("task", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("answers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("declared", sa.Boolean(), nullable=False),
        sa.Column("added_in", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_key"], ["datasets.key"], name=op.f("fk_dataset_tasks_dataset_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_key", "task", name=op.f("pk_dataset_tasks")),
        sa.UniqueConstraint("dataset_key", "name", name=op.f("uq_dataset_tasks_dataset_key_name")),
    )
    op.create_table(
        "dataset_sums",
        sa.Column("dataset_key", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_key"], ["datasets.key"], name=op.f("fk_dataset_sums_dataset_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_key", name=op.f("pk_dataset_sums")),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("dataset_key", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("n_labels", sa.BigInteger(), nullable=False),
        sa.Column("n_items", sa.Integer(), nullable=False),
        sa.Column("n_annotators", sa.Integer(), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("statistics", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_key"], ["datasets.key"], name=op.f("fk_dataset_versions_dataset_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_key", "number", name=op.f("pk_dataset_versions")),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("dataset_version", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_files_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_files_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_project_id_created_at_id", "files", ["project_id", "created_at", "id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=True),
        sa.Column("dataset_version", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("method", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("resolved", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("suffix", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lost_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_event", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("log_tail", sa.Text(), nullable=True),
        sa.Column("fine_tuned_model", sa.Text(), nullable=True),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('succeeded','failed','cancelled'))", name=op.f("ck_jobs_finished")
        ),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_jobs_lease")),
        sa.CheckConstraint(
            "status IN ('validating_files','queued','running','succeeded','failed','cancelled')",
            name=op.f("ck_jobs_status"),
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_jobs_dataset_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("key", name=op.f("uq_jobs_key")),
    )
    op.create_index(op.f("ix_jobs_dataset_id"), "jobs", ["dataset_id"], unique=False)
    op.create_index("ix_jobs_project_id_created_at_id", "jobs", ["project_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["queued_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued','running')"),
    )
    op.create_table(
        "login_links",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_login_links_api_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_links")),
    )
    op.create_table(
        "annotator_reports",
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Integer(), nullable=False),
        sa.Column("task", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("accuracy_low", sa.Double(), nullable=True),
        sa.Column("accuracy_high", sa.Double(), nullable=True),
        sa.Column("accuracy_method", sa.Text(), nullable=True),
        sa.Column("model_accuracy", sa.Double(), nullable=True),
        sa.Column("expertise", sa.Double(), nullable=True),
        sa.Column("expertise_low", sa.Double(), nullable=True),
        sa.Column("expertise_high", sa.Double(), nullable=True),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.Column("median_seconds", sa.Double(), nullable=True),
        sa.Column("mean_cost", sa.Double(), nullable=True),
        sa.Column("flags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "concern",
            sa.Double(),
            sa.Computed(
                "CASE WHEN flags && ARRAY['below_chance', 'guesser', 'always_same', 'swaps', 'drift'] THEN 0"
                " WHEN accuracy IS NULL THEN 4 ELSE 2 END + coalesce(accuracy, 1)",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator"], ["annotators.id"], name=op.f("fk_annotator_reports_annotator"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job_key"], ["jobs.key"], name=op.f("fk_annotator_reports_job_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_key", "annotator", "task", name=op.f("pk_annotator_reports")),
    )
    op.create_index(op.f("ix_annotator_reports_annotator"), "annotator_reports", ["annotator"], unique=False)
    op.create_index(
        "ix_annotator_reports_concern", "annotator_reports", ["job_key", "task", "concern", "annotator"], unique=False
    )
    op.create_index(
        "ix_annotator_reports_flagged",
        "annotator_reports",
        ["job_key", "task"],
        unique=False,
        postgresql_where=sa.text("flags <> '{}'"),
    )
    op.create_table(
        "annotator_pairs",
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("second", sa.Integer(), nullable=False),
        sa.Column("shared", sa.Integer(), nullable=False),
        sa.Column("equal", sa.Integer(), nullable=False),
        sa.Column("same_mistakes", sa.REAL(), nullable=False),
        sa.Column("expected_mistakes", sa.REAL(), nullable=False),
        sa.Column("suspicious", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["first"], ["annotators.id"], name=op.f("fk_annotator_pairs_first"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_annotator_pairs_job_key"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["second"], ["annotators.id"], name=op.f("fk_annotator_pairs_second"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_key", "first", "second", name=op.f("pk_annotator_pairs")),
    )
    op.create_index(op.f("ix_annotator_pairs_first"), "annotator_pairs", ["first"], unique=False)
    op.create_index(op.f("ix_annotator_pairs_second"), "annotator_pairs", ["second"], unique=False)
    op.create_table(
        "report_figures",
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_report_figures_job_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_report_figures")),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator"], ["annotators.id"], name=op.f("fk_decisions_annotator"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_decisions_job_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_annotator"), "decisions", ["annotator"], unique=False)
    op.create_index(
        "ix_decisions_job_key_annotator_created_at_id",
        "decisions",
        ["job_key", "annotator", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "item_reports",
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("label", sa.SmallInteger(), nullable=False),
        sa.Column("probability", sa.REAL(), nullable=False),
        sa.Column("model_probability", sa.REAL(), nullable=True),
        sa.Column("relabel_gain", sa.REAL(), nullable=False),
        sa.Column("posterior", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("model_posterior", postgresql.ARRAY(sa.REAL()), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_item_reports_job_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_key", "item", name=op.f("pk_item_reports")),
    )
    op.create_index(
        "ix_item_reports_job_key_probability", "item_reports", ["job_key", "probability", "item"], unique=False
    )
    op.create_index(
        "ix_item_reports_job_key_relabel_gain",
        "item_reports",
        ["job_key", sa.literal_column("relabel_gain DESC"), "item"],
        unique=False,
    )
    op.create_table(
        "job_checkpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_job_checkpoints_job_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_checkpoints")),
    )
    op.create_index(op.f("ix_job_checkpoints_job_key"), "job_checkpoints", ["job_key"], unique=False)
    op.create_table(
        "job_events",
        sa.Column("job_key", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_job_events_job_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_key", "number", name=op.f("pk_job_events")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("job_key", sa.Integer(), nullable=True),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tasks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.key"], name=op.f("fk_models_job_key"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_project_id"), "models", ["project_id"], unique=False)
    op.create_table(
        "model_aliases",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_aliases_model_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_model_aliases_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_model_aliases")),
    )
    op.create_index(op.f("ix_model_aliases_model_id"), "model_aliases", ["model_id"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_webhooks_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_project_id"), "webhooks", ["project_id"], unique=False)
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_messages_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_messages")),
    )
    op.create_index(
        "ix_webhook_messages_webhook_id_created_at_id", "webhook_messages", ["webhook_id", "created_at", "id"]
    )
    op.create_index(
        "ix_webhook_messages_due",
        "webhook_messages",
        ["next_attempt_at"],
        postgresql_where=sa.text("status = 'pending'"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("webhook_messages")
    op.drop_table("webhooks")
    op.drop_index(op.f("ix_model_aliases_model_id"), table_name="model_aliases")
    op.drop_table("model_aliases")
    op.drop_index(op.f("ix_models_project_id"), table_name="models")
    op.drop_table("models")
    op.drop_table("job_events")
    op.drop_index(op.f("ix_job_checkpoints_job_key"), table_name="job_checkpoints")
    op.drop_table("job_checkpoints")
    op.drop_index("ix_item_reports_job_key_relabel_gain", table_name="item_reports")
    op.drop_table("item_reports")
    op.drop_index("ix_decisions_job_key_annotator_created_at_id", table_name="decisions")
    op.drop_index(op.f("ix_decisions_annotator"), table_name="decisions")
    op.drop_table("decisions")
    op.drop_table("report_figures")
    op.drop_index(op.f("ix_annotator_pairs_second"), table_name="annotator_pairs")
    op.drop_index(op.f("ix_annotator_pairs_first"), table_name="annotator_pairs")
    op.drop_table("annotator_pairs")
    op.drop_index(op.f("ix_annotator_reports_annotator"), table_name="annotator_reports")
    op.drop_table("annotator_reports")
    op.drop_table("login_links")
    op.drop_index("ix_jobs_waiting", table_name="jobs", postgresql_where=sa.text("status IN ('queued','running')"))
    op.drop_index("ix_jobs_project_id_created_at_id", table_name="jobs")
    op.drop_index(op.f("ix_jobs_dataset_id"), table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("ix_files_project_id_created_at_id", table_name="files")
    op.drop_table("files")
    op.drop_table("dataset_versions")
    op.drop_table("dataset_sums")
    op.drop_table("dataset_tasks")
    op.drop_table("browser_sessions")
    op.drop_index("ix_datasets_project_id_created_at_id", table_name="datasets")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_stored_answers_created_at"), table_name="stored_answers")
    op.drop_table("stored_answers")
    op.drop_index("ix_audit_events_project_id_created_at_id", table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_index(op.f("ix_api_keys_project_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("annotators")
    op.drop_table("projects")
    op.drop_table("items")
    op.drop_table("annotations")
