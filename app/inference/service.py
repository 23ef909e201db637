"""Fine-tuned models: what they are, their files, their end."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator

from sqlalchemy import event
from sqlalchemy.orm import Session

from app.artifacts import ArtifactStore, get_artifacts
from app.database import model_queries
from app.database.model_queries import ModelRow
from app.database.tables import FineTunedModel
from app.dependencies import Page
from app.errors import Conflict, NotFound, Unprocessable
from app.inference.model_card import model_card
from app.inference.model_link import ModelUnusable
from app.settings import get_settings

CHUNK_BYTES = 1024**2
CARD = "README.md"
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


def find_model(session: Session, project_id: str, model_id: str) -> ModelRow:
    """A model of the project by its id or an alias. Raises NotFound."""
    row = model_queries.find_model(session, project_id, model_id)
    if row is None:
        raise _no_model(model_id)
    return row


def find_files(session: Session, project_id: str, model_id: str) -> tuple[str, int]:
    """Where a model's files lie and how many bytes they have. Raises NotFound."""
    found = model_queries.find_files(session, project_id, model_id)
    if found is None:
        raise _no_model(model_id)
    return found.artifact, sum(file["bytes"] for file in found.manifest.values())


def _no_model(model_id: str) -> NotFound:
    return NotFound(f"There is no model {model_id!r}.", code="model_not_found", param="model")


def set_alias(session: Session, project_id: str, model_id: str, alias: str) -> FineTunedModel:
    """Let an alias stand for a model from now on. Raises NotFound, and Unprocessable for a base model's name."""
    model = find_model(session, project_id, model_id)[0]
    if alias in get_settings().base_model_names():
        raise Unprocessable(f"{alias!r} is the name of a base model.", code="alias_is_base_model", param="alias")
    if not model_queries.lock_model(session, model, for_deletion=False):
        raise _no_model(model_id)
    model_queries.set_alias(session, project_id, alias, model.id)
    return model


def delete_alias(session: Session, project_id: str, model_id: str, alias: str) -> FineTunedModel:
    """Take an alias away from a model. Raises NotFound."""
    model = find_model(session, project_id, model_id)[0]
    if not model_queries.delete_alias(session, project_id, alias, model.id):
        raise NotFound(f"{alias!r} is no alias of {model.id}.", code="alias_not_found", param="alias")
    return model


def list_models(session: Session, project_id: str, page: Page) -> list[ModelRow]:
    """A page of the project's models, one more than its limit when there are more."""
    mark = find_model(session, project_id, page.after)[0] if page.after is not None else None
    return model_queries.list_models(session, project_id, after=mark, limit=page.limit, descending=page.descending)


def delete_model(session: Session, project_id: str, model_id: str, unload: Callable[[str], None]) -> str:
    """Delete a model, and once that is committed unload it and remove its files. Raises NotFound, Conflict.

    Returns the id of the model, which may have been named by an alias.
    """
    model = find_model(session, project_id, model_id)[0]
    model_queries.lock_model(session, model, for_deletion=True)
    jobs = model_queries.unfinished_jobs_from(session, project_id, model.id)
    if jobs:
        raise Conflict(f"The job {jobs[0]} continues from this model; cancel it first.", code="model_in_use")
    model_queries.delete_model(session, model.id)

    def delete_files(_: Session) -> None:
        unload(model.artifact)
        get_artifacts().delete(model.artifact)

    event.listen(session, "after_commit", delete_files, once=True)
    return model.id


def model_archive(session: Session, project_id: str, model_id: str) -> tuple[str, Iterator[bytes], int]:
    """The model's id, its folder as a tar, and the size of that in bytes. Raises NotFound, ModelUnusable."""
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

    return model.id, stream(), size


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
