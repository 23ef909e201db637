"""Settings of the service, read from REALM_* environment variables."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Where things are and how much is allowed. `realm up` fills in the URLs of its own Postgres and Redis."""

    model_config = SettingsConfigDict(env_prefix="REALM_", extra="ignore")

    data_dir: Path = Field(Path(".realm"), description="Folder of everything that `realm up` keeps.")
    database_url: str | None = Field(None, description="postgresql+psycopg://…; unset: `realm up` brings its own.")
    redis_url: str | None = Field(None, description="redis://… or unix://…; unset: `realm up` brings its own.")
    artifacts_url: str | None = Field(None, description="fsspec URL (file://…, s3://bucket/prefix).")
    models_dir: Path | None = Field(None, description="Folder whose sub-folders may be used as base models.")
    base_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("minilm", "google/flan-t5-small", "google/flan-t5-base", "google/flan-t5-large"),
        description="Names a job may fine-tune.",
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = Field(None, description="How browsers reach the service, if not http://host:port.")
    lease_seconds: float = Field(30.0, gt=0, description="A worker that is silent for longer has lost its job.")
    cancel_grace_seconds: float = Field(
        5.0, ge=0, description="Time for a training process to end before it is killed."
    )
    job_timeout_seconds: float = Field(24 * 3600.0, gt=0, description="Longest that one attempt may run.")
    checkpoint_seconds: float = Field(
        60.0, ge=0, description="Between the states of training that are saved: the most that a lost worker costs."
    )
    max_attempts: int = Field(3, ge=1, description="How often a job is started before it fails.")
    worker_slots: int = Field(1, ge=1, description="Jobs that one worker trains at once (one per GPU).")
    processes_per_job: int = Field(
        1, ge=1, description="Processes that train one job together; each has a GPU, where there are GPUs."
    )
    model_in_parts: bool = Field(
        False,
        description="Whether each of a job's processes trains a part of the model only (FSDP) instead of a copy of all "
        "of it (DDP): for models whose weights, gradients and moments do not fit one GPU. The weights alone must.",
    )
    torch_threads: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) - 1),
        ge=1,
        description="CPU threads of one training process; the API keeps the rest.",
    )
    predict_warm_start: bool = Field(
        True, description="Start the process with the models when the API starts, not at the first predict."
    )
    predict_threads: int = Field(1, ge=1, description="CPU threads of the models that answer at predict.")
    predict_precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16: half the memory and faster on CPUs with bf16; probabilities move by about .01.",
    )
    predict_timeout_seconds: float = Field(30.0, gt=0, description="Longest that a predict request waits.")
    max_predict_inputs: int = Field(1000, ge=1, description="Most inputs of one predict request.")
    max_predict_inputs_in_flight: int = Field(4096, ge=1, description="Beyond these, predict answers 429.")
    predict_batch_tokens: int = Field(512, ge=1, description="Most tokens in one forward pass; a GPU likes 16384.")
    model_memory_bytes: int = Field(4 * 1024**3, gt=0, description="Loaded models beyond this are unloaded.")
    requests_per_minute: int = Field(6000, ge=0, description="Requests of one key; 0: as many as it likes.")
    upload_bytes_per_day: int = Field(100 * 1024**3, ge=0, description="Sent by one project; 0: no limit.")
    max_unfinished_jobs: int = Field(200, ge=0, description="Jobs of one project that wait or run; 0: no limit.")
    webhook_private_addresses: bool = Field(
        False, description="Let webhooks go to private addresses and over http, in a network that is all your own."
    )
    max_upload_bytes: int = Field(4 * 1024**3, gt=0)
    max_field_bytes: int = Field(1024**2, gt=0, description="Longest text in one cell of an upload.")
    max_rows: int = Field(50_000_000, gt=0)
    max_answers: int = Field(1000, gt=1, description="Most distinct labels of one task.")

    @field_validator("database_url")
    @classmethod
    def _with_our_driver(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
            raise ValueError("must begin with postgresql://")
        return f"postgresql+psycopg://{rest}"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    def base_model_names(self) -> list[str]:
        """What a job may fine-tune: the names allowed, and the folders of models_dir."""
        folder = self.models_dir
        local = folder.iterdir() if folder is not None and folder.is_dir() else ()
        return [*self.base_models, *sorted(path.name for path in local if path.is_dir())]

    @field_validator("base_models", mode="before")
    @classmethod
    def _separated_by_commas(cls, names: object) -> object:
        return tuple(name for part in names.split(",") if (name := part.strip())) if isinstance(names, str) else names

    @field_validator("public_url")
    @classmethod
    def _browsable(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url if url is None else url.rstrip("/")

    @property
    def artifacts(self) -> str:
        """The artifact store's URL: what is set, else a folder in the data folder."""
        return self.artifacts_url or (self.data_dir.absolute() / "artifacts").as_uri()

    @property
    def url(self) -> str:
        """Where browsers and the command line find the service."""
        if self.public_url is not None:
            return self.public_url
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
