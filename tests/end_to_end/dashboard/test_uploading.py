"""A file that is chosen or dropped: looked at, uploaded, trained on; bad rows are shown."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.end_to_end.browsing import Visit, needs_chromium
from tests.end_to_end.dashboard.site import UPLOADED, choose_file

pytestmark = needs_chromium


def test_a_file_is_looked_at_uploaded_and_trained_on(visit: Visit) -> None:
    page = visit.open("/datasets/new")
    choose_file(page, UPLOADED)
    expect(page.get_by_label("annotator who gave the label")).to_have_value("who")
    expect(page.get_by_label("label what they said")).to_have_value("answer")
    expect(page.get_by_text("“who” is a usual name for it.")).to_be_visible()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("kept")
    expect(page.get_by_text("By 3 annotators on 30 prompts")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download as CSV").first.click()
    assert started.value.suggested_filename == "labels-per-prompt.csv"
    page.get_by_label("Name of the job").fill("first-try")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="Waiting for a worker")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("first-try")


def test_a_dropped_file_is_taken_and_its_bad_rows_are_shown(visit: Visit) -> None:
    page = visit.open("/datasets/new")
    page.evaluate(
        """text => {
            const dragged = new DataTransfer();
            dragged.items.add(new File([text], "kept.csv", { type: "text/csv" }));
            const drop = new DragEvent("drop", { dataTransfer: dragged, bubbles: true });
            document.getElementById("drop").dispatchEvent(drop);
        }""",
        UPLOADED + ",yes,Nobody?\n",
    )
    expect(page.get_by_text("The columns below were guessed")).to_be_visible()
    page.get_by_text("Answers and bad rows").click()
    page.get_by_label("is left out and listed").check()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("1 rows were left out.")).to_be_visible()
    expect(page.locator("#faults tbody tr")).to_contain_text("92annotator")
    page.get_by_role("link", name="Look at the 90 labels that were kept").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("kept")
