"""The serving path with a model out of our own checkpoint: a small random BERT with MiniLM's tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.artifacts import get_artifacts
from app.inference.model_cache import load_from_store
from app.settings import Settings, get_settings
from realm_core.annotations import Task
from realm_core.channels import PerfectChannel
from realm_core.checkpoint import FineTuned, load_model, save_model
from realm_core.predictor import PredictInput, Prediction, Predictor
from tests.app.inference.conftest import MadeModel, inference_in_thread
from tests.app.inference.small_model import TASKS, save_small_model
from tests.conftest import ProjectKeys

WORDS = ("parcel", "where", "the", "late", "is", "who", "wrote", "a", "book", "of", "green", "trees", "quickly", "home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(autouse=True)
def _in_this_process(client: TestClient) -> Iterator[None]:
    with inference_in_thread(client, load_from_store, get_settings()):
        yield


@pytest.fixture
def model(project: ProjectKeys, folder: Path, make_model: Callable[..., MadeModel]) -> MadeModel:
    return make_model(project, folder)


def score_by_label(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {label["label"]: label["score"] for label in answer}


def expected(prediction: Prediction) -> dict[str, float]:
    return dict(zip(prediction.answers, map(float, prediction.probabilities), strict=True))


def text(source: random.Random) -> str:
    return " ".join(source.choices(WORDS, k=source.choice((1, 3, 8, 20, 50))))


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), odd=st.lists(st.text(min_size=1, max_size=40).filter(str.strip), max_size=10))
def test_two_hundred_clients_get_what_each_would_get_alone(
    client: TestClient, model: MadeModel, folder: Path, seed: int, odd: list[str]
) -> None:
    source = random.Random(seed)
    texts = [text(source) for _ in range(30)] + odd
    requests = [
        [{"prompt": source.choice(texts), "task": source.choice(TASKS).name} for _ in range(source.randint(1, 3))]
        for _ in range(200)
    ]

    def ask(inputs: list[dict[str, str]]) -> list[dict[str, float]]:
        answer = client.post(f"/v1/models/{model.id}/predict", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text
        return [score_by_label(one) for one in answer.json()]

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, requests))
    alone = Predictor.load(folder, threads=1)
    for inputs, answer in zip(requests, answers, strict=True):
        for one, scores in zip(inputs, answer, strict=True):
            (prediction,) = alone.predict([PredictInput(one["prompt"], one["task"])])
            assert scores == pytest.approx(expected(prediction), abs=1e-5)


def test_bfloat16_is_close_takes_half_the_memory_and_is_off_unless_asked(folder: Path) -> None:
    exact, fast = Predictor.load(folder), Predictor.load(folder, precision="bfloat16")
    source = random.Random(1)
    inputs = [PredictInput(text(source), source.choice(TASKS).name) for _ in range(40)]
    for one, other in zip(exact.predict(inputs), fast.predict(inputs), strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=0.02)
    assert fast.n_bytes < 0.6 * exact.n_bytes
    assert Settings().predict_precision == "float32"


def test_hostile_texts_do_not_break_the_model(client: TestClient, model: MadeModel) -> None:
    texts = ["a\0b", "\u202e", "😀" * 30, "x" * 99_999, "word " * 20_000, "\x00", "[CLS] [SEP] [MASK]", "é́"]
    inputs = [{"prompt": one, "task": "mood"} for one in texts]
    body = {"inputs": inputs, "parameters": {"truncation": "right"}}
    answers = client.post(f"/v1/models/{model.id}/predict", json=body).json()
    assert all(sum(score_by_label(one).values()) == pytest.approx(1) for one in answers)
    assert [one[0].get("truncated", False) for one in answers] == [one == "word " * 20_000 for one in texts]
    refused = client.post(f"/v1/models/{model.id}/predict", json={"inputs": inputs}).json()
    assert [one["error"]["code"] for one in refused if "error" in one] == ["prompt_too_long"]


def test_what_the_model_says_about_an_input_or_an_annotator(client: TestClient, model: MadeModel) -> None:
    def ask(**body: Any) -> Any:
        return client.post(f"/v1/models/{model.id}/predict", json=body).json()

    assert ask(inputs="hello")["code"] == "invalid_input"
    assert "task" in ask(inputs="hello")["detail"]
    truth = score_by_label(ask(inputs={"prompt": "hello", "task": "topic"}))
    bob = score_by_label(ask(inputs={"prompt": "hello", "task": "topic"}, annotator="ann_2"))
    assert bob["sports"] == pytest.approx(0.2 * truth["sports"] + 0.8 * truth["arts"], abs=1e-5)
    assert ask(inputs={"prompt": "hello", "task": "topic"}, annotator="eve")["code"] == "unknown_annotator"


def test_a_model_without_annotators_says_so(
    client: TestClient, project: ProjectKeys, folder: Path, make_model: Callable[..., MadeModel], tmp_path: Path
) -> None:
    loaded = load_model(folder)
    supervised = save_model(
        tmp_path / "supervised", FineTuned(loaded.scorer, PerfectChannel(), loaded.tasks, ("ann_1",)), {}
    )
    model = make_model(project, supervised)
    body = {"inputs": {"prompt": "hello", "task": "topic"}, "annotator": "ann_1"}
    answer = client.post(f"/v1/models/{model.id}/predict", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, "This model was fine-tuned without annotators.")


def test_files_that_changed_in_the_store_are_not_served(client: TestClient, model: MadeModel) -> None:
    path = get_settings().data_dir / "artifacts" / model.artifact / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    answer = client.post(f"/v1/models/{model.id}/predict", json={"inputs": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (500, "model_unusable")


def test_what_is_no_whole_model_is_a_problem_with_a_name(
    client: TestClient, project: ProjectKeys, make_model: Callable[..., MadeModel]
) -> None:
    model = make_model(project)  # config.json is {}, and the weights are noise
    for kind, body in (("application/json", '{"inputs": "hello"}'), ("application/x-ndjson", '"hello"\n')):
        url, headers = f"/v1/models/{model.id}/predict", {"Content-Type": kind}
        answer = client.post(url, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (500, "model_unusable")
        assert "not a whole model of this version; train it again" in answer.json()["detail"]


def test_no_copy_of_a_model_stays_on_disk(client: TestClient, model: MadeModel) -> None:
    body = {"inputs": {"prompt": "hello", "task": "topic"}}
    assert client.post(f"/v1/models/{model.id}/predict", json=body).status_code == 200
    assert list((get_settings().data_dir / "cache" / "models").iterdir()) == []
    assert client.delete(f"/v1/models/{model.id}").status_code == 200
    assert get_artifacts().manifest(model.artifact) is None


def test_a_prompt_with_options_of_its_own(
    client: TestClient, project: ProjectKeys, folder: Path, make_model: Callable[..., MadeModel], tmp_path: Path
) -> None:
    loaded = load_model(folder)
    loaded.scorer.restore_answers([Task("choice", ())], loaded.scorer.own_tensors())
    own = FineTuned(loaded.scorer, PerfectChannel(), (Task("choice", ()),), ("ann_a",))
    model = make_model(project, save_model(tmp_path / "own", own, {}))
    inputs = [{"prompt": "green trees", "options": ["home", "a book"]}, {"prompt": "green trees"}]
    choice, fault = client.post(f"/v1/models/{model.id}/predict", json={"inputs": inputs}).json()
    assert score_by_label(choice).keys() == {"home", "a book"}
    assert sum(score_by_label(choice).values()) == pytest.approx(1)
    assert "send the prompt's `options`" in fault["error"]["message"]
