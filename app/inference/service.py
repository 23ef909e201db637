"""Fine-tuned models: what they are, their files, their end."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator

from sqlalchemy import event
from sqlalchemy.orm import Session

from app.artifacts import ArtifactStore, get_artifacts
from app.database import model_queries
from app.database.model_queries import MODEL_ID, ModelRow
from app.database.tables import FineTunedModel
from app.dependencies import Page
from app.errors import Conflict, NotFound
from app.inference.model_cache import ModelUnusable
from app.inference.model_card import model_card

CHUNK_BYTES = 1024**2
CARD = "README.md"
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


def find_model(session: Session, project_id: str, model_id: str) -> ModelRow:
    """A model of the project. Raises NotFound."""
    row = model_queries.find_model(session, project_id, model_id) if MODEL_ID.fullmatch(model_id) else None
    if row is None:
        raise NotFound(f"There is no model {model_id!r}.", code="model_not_found", param="model")
    return row


def list_models(session: Session, project_id: str, page: Page) -> list[ModelRow]:
    """A page of the project's models, one more than its limit when there are more."""
    mark = find_model(session, project_id, page.after)[0] if page.after is not None else None
    return model_queries.list_models(session, project_id, after=mark, limit=page.limit, descending=page.descending)


def delete_model(session: Session, project_id: str, model_id: str, unload: Callable[[str], None]) -> None:
    """Delete a model, and once that is committed unload it and remove its files. Raises NotFound, Conflict."""
    model = find_model(session, project_id, model_id)[0]
    jobs = model_queries.unfinished_jobs_from(session, project_id, model_id)
    if jobs:
        raise Conflict(f"The job {jobs[0]} continues from this model; cancel it first.", code="model_in_use")
    model_queries.delete_model(session, model_id)

    def delete_files(_: Session) -> None:
        unload(model.artifact)
        get_artifacts().delete(model.artifact)

    event.listen(session, "after_commit", delete_files, once=True)


def model_archive(session: Session, project_id: str, model_id: str) -> tuple[Iterator[bytes], int]:
    """The model's folder as a tar and its size in bytes. Raises NotFound, ModelUnusable."""
    row = find_model(session, project_id, model_id)
    model, store, card = row[0], get_artifacts(), model_card(row)
    if store.manifest(model.artifact) != model.manifest:
        raise ModelUnusable("The model's files are missing or damaged; train it again.")
    sizes = {CARD: len(card)} | {name: facts["bytes"] for name, facts in sorted(model.manifest.items())}
    headers = {name: _tar_header(model, name, n_bytes) for name, n_bytes in sizes.items()}
    size = sum(len(headers[name]) + _padded(n_bytes) for name, n_bytes in sizes.items()) + len(_END_OF_TAR)

    def stream() -> Iterator[bytes]:
        for name, n_bytes in sizes.items():
            yield headers[name]
            yield from (card,) if name == CARD else _chunks(store, model.artifact, name)
            yield bytes(_padded(n_bytes) - n_bytes)
        yield _END_OF_TAR

    return stream(), size


def _tar_header(model: FineTunedModel, name: str, n_bytes: int) -> bytes:
    entry = tarfile.TarInfo(f"{file_name(model.id)}/{name}")
    entry.size = n_bytes
    entry.mtime = int(model.created_at.timestamp())
    return entry.tobuf()


def file_name(model_id: str) -> str:
    """The id without its colons, which some file systems forbid."""
    return model_id.replace(":", "-")


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _chunks(store: ArtifactStore, artifact: str, name: str) -> Iterator[bytes]:
    with store.open(artifact, name) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
