"""Says loudly which tests were left out for want of a browser."""

from __future__ import annotations

import pytest

from tests.end_to_end.browsing import CHROMIUM


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "chromium" in str(report.longrepr)]
    if CHROMIUM is None and skipped:
        terminalreporter.section("NO BROWSER", red=True)
        terminalreporter.line(f"{len(skipped)} tests in Chromium were LEFT OUT: there is no chromium.")
        terminalreporter.line("On Debian and Ubuntu: apt-get install chromium")
