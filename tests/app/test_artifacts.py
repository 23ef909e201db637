"""The artifact store: folders are whole or not there, and what comes back is what went in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from app.artifacts import MANIFEST, ArtifactDamaged, ArtifactStore
from tests.s3 import s3_server

WEIGHTS = os.urandom(3 << 20)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text('{"k": 1}')
    (folder / "empty.txt").touch()
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("realm") as url:
        yield url


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    """A local folder, and stores whose objects appear whole and cannot be renamed."""
    if request.param == "file":
        yield ArtifactStore((tmp_path / "store with spaces").as_uri())
    elif request.param == "s3":
        yield ArtifactStore(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    else:
        yield ArtifactStore(f"memory://{tmp_path.name}/prefix")
        MemoryFileSystem.store.clear()


def test_a_folder_comes_back_as_it_was(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    manifest = store.put_folder("models/ft-1", source)
    assert set(manifest) == {"model.safetensors", "config.json", "empty.txt"}
    assert manifest["model.safetensors"]["bytes"] == len(WEIGHTS)
    assert store.manifest("models/ft-1") == manifest
    fetched = store.fetch_folder("models/ft-1", tmp_path / "fetched")
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []
    with store.open("models/ft-1", "config.json") as file:
        assert json.load(file) == {"k": 1}


def test_names_and_delete(store: ArtifactStore, source: Path) -> None:
    assert store.names("models") == []
    store.put_folder("models/a", source)
    store.put_folder("models/b", source)
    assert store.names("models") == ["a", "b"]
    assert store.names("models/a") == ["config.json", "empty.txt", MANIFEST, "model.safetensors"]
    store.delete("models/a")
    store.delete("models/a")
    assert store.names("models") == ["b"]
    assert store.manifest("models/a") is None


def test_a_folder_without_a_manifest_was_never_finished(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    store.put_folder("models/a", source)
    store._fs.rm(store._path("models/a", MANIFEST))
    assert store.manifest("models/a") is None
    with pytest.raises(ArtifactDamaged, match="models/a: no manifest"):
        store.fetch_folder("models/a", tmp_path / "fetched")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_found_and_nothing_is_kept(store: ArtifactStore, source: Path, tmp_path: Path, damage: str) -> None:
    store.put_folder("models/a", source)
    weights = store._path("models/a", "model.safetensors")
    if damage == "remove":
        store._fs.rm(weights)
    else:
        store._fs.pipe_file(weights, WEIGHTS[:-1] if damage == "cut" else WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    fetched = tmp_path / "fetched"
    with pytest.raises(ArtifactDamaged, match=r"models/a/model.safetensors (is missing|differs from its manifest)"):
        store.fetch_folder("models/a", fetched)
    assert not fetched.exists()


def test_a_fetch_replaces_what_was_there(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (fetched / "old").touch()
    store.put_folder("models/a", source)
    store.fetch_folder("models/a", fetched)
    assert not (fetched / "old").exists()


def test_what_was_stored_can_be_stored_again(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    store.put_folder("models/a", source)
    (source / "config.json").write_text('{"k": 2}')
    fetched = store.fetch_folder("models/a", tmp_path / "before")
    assert (fetched / "config.json").read_text() == '{"k": 1}'
    store.put_folder("models/a", source)
    assert (store.fetch_folder("models/a", tmp_path / "after") / "config.json").read_text() == '{"k": 2}'


def test_a_manifest_in_the_folder_is_not_taken_over(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    (source / MANIFEST).write_text("{}")
    assert MANIFEST not in store.put_folder("models/a", source)
    assert len(store.manifest("models/a") or {}) == 3


@pytest.mark.parametrize(
    "name", ["..", "../up", "a/../b", "/etc", "a//b", ".hidden", "a b", "", "ü", "-rf", "a\0", "a\n"]
)
def test_names_that_lead_elsewhere(store: ArtifactStore, source: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not an artifact name"):
        store.put_folder(name, source)
    with pytest.raises(ValueError, match="not an artifact name"):
        store.open("models", name)


@pytest.mark.parametrize("name", ["../../../evil", "/etc/passwd", "sub/file", "..", ""])
def test_a_manifest_that_names_files_elsewhere_is_not_followed(
    store: ArtifactStore, source: Path, tmp_path: Path, name: str
) -> None:
    store.put_folder("models/a", source)
    evil = {name: {"sha256": "", "bytes": 0}}
    store._fs.pipe_file(store._path("models/a", MANIFEST), json.dumps(evil).encode())
    with pytest.raises(ArtifactDamaged, match="no file of the folder"):
        store.fetch_folder("models/a", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_crash_in_the_middle_leaves_no_half_file(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    store.put_folder("models/a", source)

    def crash(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", crash)
    (source / "config.json").write_text('{"k": 2}')
    with pytest.raises(OSError, match="No space left"):
        store.put_folder("models/a", source)
    monkeypatch.undo()
    fetched = store.fetch_folder("models/a", tmp_path / "fetched")
    assert (fetched / "config.json").read_text() == '{"k": 1}'


def test_an_s3_url_needs_no_network_until_it_is_used() -> None:
    store = ArtifactStore("s3://bucket/prefix")
    assert store._path("models", "a") == "bucket/prefix/models/a"
    assert store._fs.dircache.use_listings_cache is False  # what another process stores must be seen
