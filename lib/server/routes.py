"""Routes that take the place of MONAI Label's own, where its answer leaves a client without a sentence.

The originals start a training without looking at the request, and answer ``{}`` when there is nothing to label.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Header
from monailabel.config import settings
from monailabel.endpoints import batch_infer
from monailabel.endpoints import train as training
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask

from lib.server.caller import named
from lib.server.params import for_batch, for_training
from lib.server.viewer import asked_by_ohif

router = APIRouter()
user_role = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
annotator_role = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
admin_role = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))


def put_in_place(app: FastAPI, *more: APIRouter) -> None:
    """Have these routes answer instead of the originals of the same path and method: the first that fits does."""
    originals = list(app.router.routes)
    for ours in (router, *more):
        app.include_router(ours, prefix=settings.MONAI_LABEL_API_STR)
    app.router.routes[:] = [*app.router.routes[len(originals) :], *originals]


@router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="The study to label next, and why")
async def next_study(
    strategy: str,
    params: dict | None = None,
    user: User = user_role,
    referer: str = Header("", include_in_schema=False),
) -> dict[str, Any]:
    """Without an ``id`` in the answer there is none left; ``detail`` says so. 3D Slicer then shows its own notice."""
    if asked_by_ohif(referer):
        strategy = served_app().config.strategy  # its list of strategies does nothing: it always asks for "random"
    app, request = served_app(), named({**(params or {}), "strategy": strategy})
    found = app.next_sample(request)
    # the library would also note in the study's info who was offered it, and write the whole index for that
    if found:
        return found | app.datastore().get_image_info(found["id"])
    return {"detail": app.task("strategy", strategy).nothing(request, app.datastore())}


@router.post("/train/{model}", tags=["Train"], summary="Train from the labelled and unlabelled studies")
async def train(
    model: str, params: dict | None = None, run_sync: bool = False, enqueue: bool = False, user: User = admin_role
) -> Any:
    """``params`` are settings as ``--conf`` has them. Refused at once if they or the studies do not allow one."""
    app = served_app()
    task = app.task("training", model)
    asked = for_training(params)
    task.check(asked, app.datastore(), waiting=enqueue)
    idle = not task.running()
    answer = training.run_model(model, asked, run_sync, enqueue)
    if idle and not run_sync:
        task.begin(asked)
    return answer


@router.post("/train/", tags=["Train"], include_in_schema=False)
async def train_all(params: dict[str, dict] | None = None, run_sync: bool = False, user: User = admin_role) -> Any:
    """As OHIF asks: settings by the model's name."""
    answer = {}
    for model in served_app().info()["trainers"]:
        answer[model] = {"result": await train(model, (params or {}).get(model), run_sync, False, user), "detail": None}
    return answer


@router.get("/train/", tags=["Train"], summary="The last training, or the one that an earlier server has left behind")
async def training_status(all: bool = False, check_if_running: bool = False, user: User = user_role) -> Any:
    """``STOPPING`` is one that was asked to end and saves what it has."""
    for task in served_app()._trainers.values():
        task.tasks()
        leftover = task.leftover()
        if leftover:
            return [leftover] if all else leftover
    return training.status(all, check_if_running)


@router.delete("/train/", tags=["Train"], summary="Stop the training")
async def stop_training(user: User = admin_role) -> Any:
    """Also one that an earlier server left behind. Answers at once; the training saves, validates and publishes."""
    return next((stopped for task in served_app()._trainers.values() if (stopped := task.stop())), None)


@router.post("/scoring/{method}", tags=["Scoring"], summary="Run a scoring method")
async def score(method: str, params: dict | None = None, run_sync: bool = False, user: User = annotator_role) -> Any:
    """Waits its turn if another one runs. ``params``, which clients send, say nothing here."""
    served_app().task("scoring method", method)
    return AsyncTask.run("scoring", {"method": method}, {}, force_sync=run_sync, enqueue=True)[0]


@router.post("/batch/infer/{model}", tags=["Infer"], summary="Segment many studies and keep the results as labels")
async def batch(
    model: str, images: BatchInferImageType = BatchInferImageType.IMAGES_ALL, params: dict | None = None,
    run_sync: bool = False, user: User = admin_role,
) -> Any:  # fmt: skip
    """The labels are stored under the tag ``original``, if ``label_tag`` names no other."""
    with served_app().task("model", model).live.use():
        pass  # without a model: refused now, not in the process that would be started
    return batch_infer.run(model, images, for_batch(params), run_sync)


def served_app() -> Any:
    """The app that this server serves."""
    return app_instance()
