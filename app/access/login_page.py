"""The login form, the one page that needs no session."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True)


def login_page(request: Request, status: int, problem: str | None = None) -> HTMLResponse:
    """The form, which leads back to the page that was asked for."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    page = _TEMPLATES.get_template("login.html").render(
        problem=problem,
        next=here if request.method == "GET" and request.url.path != "/login" else "/",
        nonce=request.state.csp_nonce,
    )
    return HTMLResponse(page, status)
