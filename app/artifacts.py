"""Models and checkpoints in the artifact store: any fsspec file system, a local folder or S3.

A stored folder is its files plus manifest.json, written last, so that a folder without a manifest was never finished.
Names come from the program, never from a user.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec

from app.settings import get_settings

Manifest = dict[str, dict[str, Any]]  # file name -> {"sha256": hex, "bytes": n}
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class ArtifactDamaged(Exception):
    """A stored file is missing or differs from its manifest."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArtifactStore:
    """Folders of files under one URL."""

    def __init__(self, url: str) -> None:
        self._is_local = url.startswith("file:")
        # No cache of listings: other processes store and delete too.
        options = {"auto_mkdir": True} if self._is_local else {"use_listings_cache": False}
        self._fs, self._root = fsspec.core.url_to_fs(url, **options)

    def _path(self, *names: str) -> str:
        parts = [part for name in names for part in name.split("/")]
        if not all(_NAME.fullmatch(part) for part in parts):
            raise ValueError(f"not an artifact name: {names!r}")
        return "/".join([self._root.rstrip("/"), *parts])

    def put_folder(self, prefix: str, folder: Path) -> Manifest:
        """Store the files of `folder` (flat) under `prefix`; the manifest goes last and makes it whole."""
        manifest: Manifest = {}
        for path in sorted(folder.iterdir()):
            if path.name == MANIFEST:
                continue
            manifest[path.name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            self._put(path.read_bytes() if path.stat().st_size < 1 << 20 else path, self._path(prefix, path.name))
        self._put(json.dumps(manifest, indent=1).encode(), self._path(prefix, MANIFEST))
        return manifest

    def _put(self, source: Path | bytes, target: str) -> None:
        """Write through a temporary name where the file system can rename; objects of a store appear whole anyway."""
        name = f"{target}.{os.getpid()}.part" if self._is_local else target
        if isinstance(source, bytes):
            self._fs.pipe_file(name, source)
        else:
            self._fs.put_file(str(source), name)
        if self._is_local:
            with open(name, "rb") as written:
                os.fsync(written.fileno())
            os.replace(name, target)

    def manifest(self, prefix: str) -> Manifest | None:
        """The manifest of a stored folder, or None when there is no whole folder."""
        try:
            return dict(json.loads(self._fs.cat_file(self._path(prefix, MANIFEST))))
        except FileNotFoundError:
            return None

    def fetch_folder(self, prefix: str, folder: Path) -> Path:
        """Copy a stored folder to `folder`, checked against its manifest. Raises ArtifactDamaged."""
        manifest = self.manifest(prefix)
        if manifest is None:
            raise ArtifactDamaged(f"{prefix}: no manifest")
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, facts in manifest.items():
            if not _NAME.fullmatch(name):
                raise ArtifactDamaged(f"{prefix}: the manifest names {name!r}, which is no file of the folder")
            target = partial / name
            try:
                self._fs.get_file(self._path(prefix, name), str(target))
            except FileNotFoundError as error:
                raise ArtifactDamaged(f"{prefix}/{name} is missing") from error
            if sha256_of(target) != facts["sha256"]:
                raise ArtifactDamaged(f"{prefix}/{name} differs from its manifest")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        return folder

    def names(self, prefix: str) -> list[str]:
        """The folders and files directly under `prefix`."""
        try:
            return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self._path(prefix), detail=False))
        except FileNotFoundError:
            return []

    def open(self, prefix: str, name: str) -> Any:
        """A stored file, opened for reading bytes."""
        return self._fs.open(self._path(prefix, name), "rb")

    def delete(self, prefix: str) -> None:
        """Remove a stored folder; one that is not there is fine."""
        path = self._path(prefix)
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


@lru_cache
def get_artifacts() -> ArtifactStore:
    return ArtifactStore(get_settings().artifacts)
