"""Datasets, their versions and tasks, and the files that name a version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date, page_by_key
from app.database.lock_waits import or_busy, wait_shortly
from app.database.tables import UNFINISHED, Dataset, DatasetTask, DatasetVersion, File, FineTunedModel, Job


def add_dataset(session: Session, id_: str, project_id: str, name: str, *, has_text: bool) -> Dataset:
    new = insert(Dataset).values(id=id_, project_id=project_id, name=name, has_text=has_text)
    return session.execute(new.returning(Dataset)).scalar_one()


def add_version(session: Session, **values: Any) -> DatasetVersion:
    return session.execute(insert(DatasetVersion).values(**values).returning(DatasetVersion)).scalar_one()


def add_task(session: Session, **values: Any) -> None:
    session.execute(insert(DatasetTask).values(**values))


def set_answers(session: Session, dataset_key: int, task: int, answers: list[dict[str, Any]]) -> None:
    session.execute(
        update(DatasetTask)
        .where(DatasetTask.dataset_key == dataset_key, DatasetTask.task == task)
        .values(answers=answers)
    )


def find_dataset(session: Session, project_id: str, dataset_id: str) -> Dataset | None:
    query = select(Dataset).where(Dataset.id == dataset_id, Dataset.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def rename(session: Session, dataset: Dataset, name: str) -> None:
    session.execute(update(Dataset).where(Dataset.key == dataset.key).values(name=name))
    session.refresh(dataset)


def find_version(session: Session, dataset_key: int, number: int | None = None) -> DatasetVersion | None:
    """A version of a dataset, by default the newest."""
    query = select(DatasetVersion).where(DatasetVersion.dataset_key == dataset_key)
    if number is not None:
        query = query.where(DatasetVersion.number == number)
    return session.execute(query.order_by(DatasetVersion.number.desc()).limit(1)).scalar_one_or_none()


def newest_versions(session: Session, dataset_keys: list[int]) -> dict[int, DatasetVersion]:
    """The newest version of each dataset, by its key."""
    query = (
        select(DatasetVersion)
        .where(DatasetVersion.dataset_key.in_(dataset_keys))
        .order_by(DatasetVersion.dataset_key, DatasetVersion.number.desc())
        .distinct(DatasetVersion.dataset_key)
    )
    return {version.dataset_key: version for version in session.execute(query).scalars()}


def list_versions(
    session: Session, dataset_key: int, *, after: int | None, limit: int, descending: bool
) -> list[DatasetVersion]:
    """A page of a dataset's versions by number, one more than `limit` when there are more."""
    query = select(DatasetVersion).where(DatasetVersion.dataset_key == dataset_key)
    mark = None if after is None else (after,)
    query = page_by_key(query, (DatasetVersion.number,), after=mark, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def list_datasets(
    session: Session, project_id: str, *, after: Dataset | None, limit: int, descending: bool
) -> list[Dataset]:
    """A page of a project's datasets by (created_at, id), one more than `limit` when there are more."""
    query = select(Dataset).where(Dataset.project_id == project_id)
    query = page_by_date(query, Dataset, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def list_tasks(session: Session, dataset_key: int, version: int) -> list[DatasetTask]:
    """The tasks of a version, by number. Their answers may be later ones: see `added_in` of each."""
    query = select(DatasetTask).where(DatasetTask.dataset_key == dataset_key, DatasetTask.added_in <= version)
    return list(session.execute(query.order_by(DatasetTask.task)).scalars())


def keep_statistics(session: Session, version: DatasetVersion, statistics: dict[str, Any]) -> None:
    session.execute(
        update(DatasetVersion)
        .where(DatasetVersion.dataset_key == version.dataset_key, DatasetVersion.number == version.number)
        .values(statistics=statistics)
    )


def lock_for_append(session: Session, dataset: Dataset) -> None:
    """Keep others from changing or deleting a dataset until this transaction ends. Raises DataBusy."""
    with or_busy():
        session.execute(
            select(Dataset.key).where(Dataset.key == dataset.key).with_for_update(nowait=True, key_share=True)
        )


def lock_for_deletion(session: Session, dataset: Dataset) -> None:
    """Keep others from changing a dataset or naming it in a job until this transaction ends. Raises DataBusy.

    Locks are waited for shortly only, from here on: dropping a partition needs its parent for itself, and who waits
    for that makes all who come later wait too.
    """
    wait_shortly(session)
    with or_busy():
        session.execute(select(Dataset.key).where(Dataset.key == dataset.key).with_for_update())


def has_unfinished_jobs(session: Session, dataset: Dataset) -> bool:
    query = select(Job.key).where(Job.dataset_id == dataset.id, Job.status.in_(UNFINISHED)).limit(1)
    return session.execute(query).first() is not None


def delete_dataset(session: Session, dataset: Dataset) -> None:
    """Remove a dataset with its versions, tasks, files and data. Raises DataBusy while others read the data."""
    session.execute(delete(Dataset).where(Dataset.key == dataset.key))
    with or_busy():
        session.execute(text(f"DROP TABLE items_{dataset.key}, annotations_{dataset.key}"))


def delete_jobs(session: Session, dataset: Dataset) -> list[str]:
    """Remove the jobs of a dataset, their reports and models; returns where their files lie."""
    jobs = select(Job.key).where(Job.dataset_id == dataset.id)
    models = delete(FineTunedModel).where(FineTunedModel.job_key.in_(jobs)).returning(FineTunedModel.artifact)
    artifacts = list(session.execute(models).scalars())
    deleted = session.execute(delete(Job).where(Job.dataset_id == dataset.id).returning(Job.id)).scalars()
    return [*artifacts, *(f"jobs/{job_id}" for job_id in deleted)]


def add_file(session: Session, **values: Any) -> File:
    return session.execute(insert(File).values(**values).returning(File)).scalar_one()


def list_files(
    session: Session, project_id: str, *, after: File | None, limit: int, descending: bool, purpose: str | None
) -> list[File]:
    """A page of a project's files by (created_at, id), one more than `limit` when there are more."""
    query = select(File).where(File.project_id == project_id)
    if purpose is not None:
        query = query.where(File.purpose == purpose)
    query = page_by_date(query, File, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def find_file(session: Session, project_id: str, file_id: str) -> File | None:
    query = select(File).where(File.id == file_id, File.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def find_file_of_version(session: Session, dataset_id: str, version: int) -> File | None:
    """The file that names a version of a dataset, if it came as one."""
    query = select(File).where(File.dataset_id == dataset_id, File.dataset_version == version).limit(1)
    return session.execute(query).scalar_one_or_none()
