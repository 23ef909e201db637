"""The page of one annotator."""

from __future__ import annotations

import html
import re

from tests.app.dashboard.browser import Browser, annotator_page, text_of
from tests.finished_jobs import SCRIPT_NAME, FinishedJob, crowd_rows


def test_an_annotator_has_a_page_that_says_what_is_wrong(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    _, page = annotator_page(browser, job, "swap sam")
    text = text_of(page)
    assert re.search(r"Swaps answers Gives “(business|science)” where “(business|science)” is probably right", text)
    assert re.search(r"95 % interval, from 1\d\d labels; guessing gives 33", text)
    assert re.search(r"science \d+ \d+\s% \d+\s%", text)  # labels, their share, everybody's
    assert f'href="/jobs/{job.id}#annotators"' in page
    assert "Over time" not in text  # nobody knows when


def test_a_cell_of_the_confusion_leads_to_its_prompts(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    path, page = annotator_page(browser, job, "swap sam")
    cells = [html.unescape(address) for address in re.findall(rf'href="({path}\?[^"]*)#labels"', page)]
    assert len([cell for cell in cells if "after" not in cell]) == 9
    (cell,) = (one for one in cells if "label=science&probable_label=business" in one)
    text = text_of(browser.open(cell))
    assert "Said science where business is most probable" in text
    assert "Headline" in text
    assert "From the most damaging of all" in text


def test_the_labels_of_an_annotator_are_paged(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    address, page = annotator_page(browser, job, "chen")
    n = 0
    while address:
        page = browser.open(address)
        n += page.count('data-label="That they are right"')
        following = re.search(r'<a class="button" href="([^"#]+)#labels">Next 20</a>', page)
        address = html.unescape(following[1]) if following else ""
    assert n == sum(row["annotator"] == "chen wei" for row in crowd_rows())


def test_an_annotators_page_keeps_hostile_text_as_text_and_says_when_there_is_none(
    finished: tuple[Browser, FinishedJob],
) -> None:
    browser, job = finished
    path, page = annotator_page(browser, job, "<script>")
    assert "<script>alert" not in page
    assert html.unescape(page).count(SCRIPT_NAME) == 2  # title and heading
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert address.startswith(("/", "#", "data:,")), address
    assert "There is no annotator" in text_of(browser.open(f"/jobs/{job.id}/annotators/ann_999999999", 404))
    assert "has no answer" in text_of(browser.open(path, 422, task="default", label="cooking"))
