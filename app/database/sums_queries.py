"""The sums of each dataset's newest version, from which those of the next follow."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.database.tables import DatasetSums


def find_sums(session: Session, dataset_key: int, version: int) -> bytes | None:
    """Those of a version, if they are known."""
    query = select(DatasetSums.sums).where(DatasetSums.dataset_key == dataset_key, DatasetSums.version == version)
    return session.execute(query).scalar_one_or_none()


def keep_sums(session: Session, dataset_key: int, version: int, sums: bytes) -> None:
    """In place of those of the version before."""
    new = insert(DatasetSums).values(dataset_key=dataset_key, version=version, sums=sums)
    session.execute(new.on_conflict_do_update(index_elements=["dataset_key"], set_={"version": version, "sums": sums}))


def forget_sums(session: Session, dataset_keys: Sequence[int]) -> None:
    """The next append counts them anew."""
    session.execute(delete(DatasetSums).where(DatasetSums.dataset_key.in_(dataset_keys)))
