"""Models are loaded once and let go by memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.inference.model_cache import ModelCache
from realm_core.predictor import Predictor
from tests.app.inference.stand_in import StandIn, as_predictor


class Store:
    """Loads stand-ins of 40 bytes and counts."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.fault: Exception | None = None

    def load(self, artifact: str) -> Predictor:
        self.loaded.append(artifact)
        assert self.open.wait(10)
        if self.fault is not None:
            raise self.fault
        return as_predictor(StandIn(n_bytes=40))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Store) -> Iterator[ModelCache]:
    cache = ModelCache(store.load, max_bytes=100)
    yield cache
    cache.close()


def test_a_model_is_loaded_once_though_many_ask_at_once(cache: ModelCache, store: Store) -> None:
    store.open.clear()
    with ThreadPoolExecutor(20) as pool:
        futures = list(pool.map(lambda _: cache.get("a", 40), range(20)))
    store.open.set()
    assert len({id(future.result(10)) for future in futures}) == 1
    assert store.loaded == ["a"]


def test_the_least_recently_used_is_let_go(cache: ModelCache, store: Store) -> None:
    for name in ("a", "b", "a", "c"):  # c does not fit beside both; b was used longest ago
        cache.get(name, 40).result(10)
    cache.get("a", 40).result(10)
    assert store.loaded == ["a", "b", "c"]
    cache.get("b", 40).result(10)
    assert store.loaded == ["a", "b", "c", "b"]


def test_room_is_made_before_a_model_is_loaded(cache: ModelCache, store: Store) -> None:
    cache.get("a", 40).result(10)
    cache.get("b", 40).result(10)
    store.open.clear()
    loading = cache.get("c", 90)
    while store.loaded != ["a", "b", "c"]:
        pass
    again = cache.get("a", 40)
    assert not again.done()
    store.open.set()
    assert loading.result(10) is not again.result(10)


def test_a_model_larger_than_the_memory_is_still_served(store: Store) -> None:
    cache = ModelCache(store.load, max_bytes=10)
    first = cache.get("a", 40)
    first.result(10)
    assert cache.get("a", 40) is first
    cache.close()


def test_a_failed_load_reaches_all_who_wait_and_is_tried_again(cache: ModelCache, store: Store) -> None:
    store.open.clear()
    store.fault = OSError("disk gone")
    futures = [cache.get("a", 40) for _ in range(3)]
    store.open.set()
    for future in futures:
        with pytest.raises(OSError, match="disk gone"):
            future.result(10)
    store.fault = None
    cache.get("a", 40).result(10)
    assert store.loaded == ["a", "a"]


def test_a_deleted_model_is_forgotten(cache: ModelCache, store: Store) -> None:
    cache.get("a", 40).result(10)
    cache.drop("a")
    cache.get("a", 40).result(10)
    assert store.loaded == ["a", "a"]
