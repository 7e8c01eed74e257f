"""Curves of a training: TensorBoard always, MLflow where the settings ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ignite.contrib.handlers import TensorboardLogger
from ignite.engine import Engine, Events

from lib.config import Config

EVERY = 10  # iterations between two points of a curve
Values = dict[str, float]


def attach_curves(engine: Engine, run: Path, config: Config) -> Callable[[Values, int], None]:
    """Log the output of each step; returns what logs values of other origin (``validation/dice``) at a step."""
    tensorboard = TensorboardLogger(log_dir=str(run / "events"))
    mlflow = _MLflow(run, config) if config.tracking == "mlflow" else None

    def log_values(values: Values, step: int) -> None:
        for name, value in values.items():
            tensorboard.writer.add_scalar(name, value, step)
        if mlflow:
            mlflow.log(values, step)

    @engine.on(Events.ITERATION_COMPLETED(every=EVERY))
    def log_output() -> None:
        output: Values = engine.state.output  # type: ignore[assignment]
        named = {name if name.startswith("monitor/") else f"training/{name}": value for name, value in output.items()}
        log_values(named, engine.state.iteration)

    @engine.on(Events.COMPLETED)
    def close() -> None:
        tensorboard.close()
        if mlflow:
            mlflow.close()

    return log_values


class _MLflow:
    """One run in the SQLite file of the project, because newer MLflow refuses plain folders.

    Through MLflow's own client: Ignite's handler imports names that MLflow 3 has no more, and leaves a run that
    failed open to whatever the process logs next.
    """

    def __init__(self, run: Path, config: Config) -> None:
        from mlflow import MlflowClient  # seconds, and asked for by few
        from mlflow.entities import Param

        runs = next(folder for folder in run.parents if folder.name == "runs")
        project = runs.parent
        self.client = MlflowClient(f"sqlite:///{project / 'mlflow.sqlite'}")
        found = self.client.get_experiment_by_name("semiseg")
        experiment = (
            found.experiment_id
            if found
            else self.client.create_experiment("semiseg", str(project / "mlflow-artifacts"))
        )
        self.run = self.client.create_run(experiment, run_name=str(run.relative_to(runs))).info.run_id
        settings = [Param(key, str(value)[:250]) for key, value in config.to_dict().items()]
        self.client.log_batch(self.run, params=settings)

    def log(self, values: Values, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        self.client.set_terminated(self.run)
