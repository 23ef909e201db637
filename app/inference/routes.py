"""/v1/models: what was fine-tuned, and its answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import PageDep, PageOf, SessionDep
from app.errors import Unprocessable
from app.inference import prediction, service
from app.inference.engine import InferenceDep
from app.inference.request_body import NDJSON, media_type, read_json_body, unless_disconnected
from app.inference.schemas import (
    PREDICT_BODY,
    PREDICT_RESPONSES,
    AliasAnswer,
    Answer,
    DeletedAlias,
    DeletedModel,
    LabelScore,
    LineOptions,
    ModelAnswer,
)

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=ChangeRoute)

Alias = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


# First, since routes are tried in turn, and this one is asked most.
@router.post(
    "/{model_id}/predict",
    response_model=list[Answer] | list[LabelScore],
    openapi_extra=PREDICT_BODY,
    responses=PREDICT_RESPONSES,
)
async def predict(
    model_id: str,
    request: Request,
    principal: PrincipalDep,
    inference: InferenceDep,
    options: Annotated[LineOptions, Query()],
) -> Response:
    """Answer probabilities, most probable first; an input that cannot be answered has its error in its slot.

    A list is answered by a list in the same order; two texts are two inputs, never a pair. A single text that cannot be
    answered is a problem with status 422. As application/x-ndjson, one input per line, there may be any number of them:
    each line is answered by a line, and the parameters stand in the query. Nothing is cut silently: a prompt that is
    too long is refused, or with `truncation: "right"` its labels say `truncated: true`.
    """
    if media_type(request) == NDJSON:
        lines = await prediction.predict_lines(
            inference, principal.project_id, model_id, options.as_predict_options(), request.stream()
        )
        return StreamingResponse(lines, headers={"X-Model-Id": model_id}, media_type=NDJSON)
    if request.query_params:
        raise Unprocessable("With application/json, parameters and annotator go into the body.", code="invalid_request")
    body = await read_json_body(request)
    answer, headers = await unless_disconnected(
        request, prediction.predict(inference, principal.project_id, model_id, body)
    )
    return JSONResponse(answer, headers=headers)


@router.get("")
def list_models(session: SessionDep, principal: PrincipalDep, page: PageDep) -> PageOf[ModelAnswer]:
    """The project's fine-tuned models, newest first: what `predict` answers for. Base models are not among them."""
    rows = service.list_models(session, principal.project_id, page)
    return PageOf[ModelAnswer].of([ModelAnswer.of(row) for row in rows], page.limit)


@router.get("/{model_id}")
def get_model(model_id: str, session: SessionDep, principal: PrincipalDep) -> ModelAnswer:
    """One fine-tuned model."""
    return ModelAnswer.of(service.find_model(session, principal.project_id, model_id))


@router.delete("/{model_id}")
def delete_model(model_id: str, session: SessionDep, principal: PrincipalDep, inference: InferenceDep) -> DeletedModel:
    """Delete a model and its files. Its job and report stay. 409 while an unfinished job continues from it."""
    deleted = service.delete_model(session, principal.project_id, model_id, inference.unload)
    return DeletedModel(id=deleted, deleted=True)


@router.put("/{model_id}/aliases/{alias}")
def set_alias(model_id: str, alias: Alias, session: SessionDep, principal: PrincipalDep) -> AliasAnswer:
    """Let a name stand for this model wherever a model's id does; if it stood for another model, it no longer does."""
    model = service.set_alias(session, principal.project_id, model_id, alias)
    return AliasAnswer(id=alias, model=model.id)


@router.delete("/{model_id}/aliases/{alias}")
def delete_alias(model_id: str, alias: Alias, session: SessionDep, principal: PrincipalDep) -> DeletedAlias:
    """Take a name away from this model."""
    service.delete_alias(session, principal.project_id, model_id, alias)
    return DeletedAlias(id=alias, deleted=True)


@router.get("/{model_id}/content", response_class=Response, responses={200: {"content": {"application/x-tar": {}}}})
def download_model(model_id: str, session: SessionDep, principal: PrincipalDep) -> StreamingResponse:
    """The model's folder as a tar: safetensors, tokenizer, configuration, model card."""
    id_, archive, size = service.model_archive(session, principal.project_id, model_id)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{service.file_name(id_)}.tar"',
    }
    return StreamingResponse(archive, headers=headers, media_type="application/x-tar")
