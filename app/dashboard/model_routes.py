"""The pages about models: which there are, and a place to try one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from app.access.authentication import PrincipalDep
from app.dashboard.browser_input import ListQuery
from app.dashboard.model_values import list_values, playground_values
from app.dashboard.playground import Asked, ask
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.database.session import transaction
from app.dependencies import SessionDep
from app.inference.engine import InferenceDep

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/models")
def model_list(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[ListQuery, Query()]
) -> HTMLResponse:
    """The project's fine-tuned models."""
    return page(request, "model/list.html", **list_values(session, principal.project_id, query.after))


@router.get("/models/{model_id}")
def playground(
    request: Request, session: SessionDep, principal: PrincipalDep, pseudonyms: PseudonymsDep, model_id: str
) -> HTMLResponse:
    """One model, and a form to ask it something."""
    values = playground_values(session, principal.project_id, model_id, pseudonyms=pseudonyms)
    return page(request, "model/playground.html", asked=Asked(), answered=None, **values)


@router.post("/models/{model_id}")
async def ask_model(
    request: Request,
    principal: PrincipalDep,
    inference: InferenceDep,
    pseudonyms: PseudonymsDep,
    model_id: str,
    asked: Annotated[Asked, Form()],
) -> HTMLResponse:
    """The same with an answer. The transaction is over before the model is asked."""

    def values() -> dict[str, Any]:
        with transaction() as session:
            return playground_values(session, principal.project_id, model_id, pseudonyms=pseudonyms)

    shown = await run_in_threadpool(values)
    answered = await ask(inference, principal.project_id, shown["model"].id, asked)
    return page(request, "model/playground.html", asked=asked, answered=answered, **shown)
