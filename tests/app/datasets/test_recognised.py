"""An upload says which tool's export it was taken for."""

from __future__ import annotations

import json

from fastapi.testclient import TestClient

CROWD_KIT = b"task,worker,label\nt1,w1,cat\nt1,w2,dog\n"
ARGILLA = [
    {
        "id": "r1",
        "fields": {"text": "Great!"},
        "responses": {"label": [{"value": "pos", "user_id": "u-1"}, {"value": "neg", "user_id": "u-2"}]},
    }
]


def test_the_answer_to_an_upload_says_what_was_recognised(client: TestClient) -> None:
    answer = client.post("/v1/datasets", content=CROWD_KIT, headers={"Content-Type": "text/csv"}).json()
    assert answer["recognised"] == "Read as a table of Crowd-Kit: worker is the annotator, task the item_id."
    assert (answer["counts"]["labels"], answer["has_text"]) == (2, False)
    url = f"/v1/datasets/{answer['id']}/annotations"
    more = client.post(url, content=CROWD_KIT.replace(b"t1", b"t2"), headers={"Content-Type": "text/csv"}).json()
    assert (more["recognised"], more["counts"]["labels"]) == (answer["recognised"], 4)
    plain = client.post("/v1/datasets", json=[{"prompt": "hot", "annotator": "ann", "label": "up"}]).json()
    assert plain["recognised"] is None


def test_a_bare_list_of_a_tools_records(client: TestClient) -> None:
    answer = client.post("/v1/datasets", json=ARGILLA).json()
    assert "Argilla" in answer["recognised"]
    assert [task["name"] for task in answer["tasks"]] == ["label"]
    file = client.post(
        "/v1/files", files={"file": ("a.json", json.dumps(ARGILLA))}, data={"purpose": "fine-tune"}
    ).json()
    assert "Argilla" in file["status_details"]
