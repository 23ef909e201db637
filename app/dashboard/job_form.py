"""The form that starts a job: sane defaults, and what is left empty is chosen by the service."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from app.dashboard.browser_input import PageForm
from app.errors import Unprocessable
from app.fine_tuning.schemas import JobRequest
from realm_core.config import ChannelName, MethodType

_SETTINGS = ("n_epochs", "channel", "max_length", "learning_rate", "cross_fit_folds", "time_budget_seconds")


class JobForm(PageForm):
    """The fields of the form; those that stand under the advanced options may be empty."""

    version: int
    method: MethodType = "realm"
    model: str | None = None
    suffix: str | None = None
    seed: int | None = None
    n_epochs: float | None = None
    time_budget_minutes: float | None = None
    channel: ChannelName | Literal["auto"] | None = None
    max_length: int | None = None
    learning_rate: float | None = None
    cross_fit_folds: int | None = None

    @property
    def time_budget_seconds(self) -> float | None:
        return None if self.time_budget_minutes is None else 60 * self.time_budget_minutes

    def request(self, dataset_id: str) -> JobRequest:
        """The request of the API that the form stands for. Raises Unprocessable."""
        trains = self.method != "aggregation"
        given = {name: getattr(self, name) for name in _SETTINGS if trains}
        settings = {name: value for name, value in given.items() if value is not None}
        try:
            return JobRequest.model_validate(
                {
                    "dataset": f"{dataset_id}@{self.version}",
                    "model": self.model if trains else None,
                    "method": {"type": self.method, self.method: {"hyperparameters": settings}},
                    "suffix": self.suffix,
                    "seed": self.seed,
                }
            )
        except ValidationError as error:
            fault = error.errors()[0]
            raise Unprocessable(f"{fault['loc'][-1]}: {fault['msg']}", code="invalid_request") from None
