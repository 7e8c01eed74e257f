"""Curves of a training: TensorBoard always, MLflow where the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ignite.contrib.handlers import MLflowLogger, TensorboardLogger
from ignite.contrib.handlers.base_logger import BaseLogger
from ignite.engine import Engine, Events

from lib.config import Config

EVERY = 10  # iterations between two points of a curve


def attach_curves(engine: Engine, run: Path, config: Config) -> Callable[[dict[str, float], int], None]:
    """Log the output of each step; returns what logs values of other origin (``validation/dice``) at a step.

    MLflow writes to an SQLite file in the project, because its newer releases refuse plain folders.
    """
    loggers: list[BaseLogger] = [TensorboardLogger(log_dir=str(run / "events"))]
    if config.tracking == "mlflow":
        store = run.parent.parent / "mlflow.sqlite"
        tracker = MLflowLogger(tracking_uri=f"sqlite:///{store}")
        tracker.log_params({key: str(value)[:250] for key, value in config.to_dict().items()})
        loggers.append(tracker)
    for logger in loggers:
        logger.attach_output_handler(
            engine, Events.ITERATION_COMPLETED(every=EVERY), tag="training", output_transform=dict
        )

    @engine.on(Events.COMPLETED)
    def close() -> None:
        for logger in loggers:
            logger.close()

    def log_values(values: dict[str, float], step: int) -> None:
        for logger in loggers:
            if isinstance(logger, MLflowLogger):
                logger.log_metrics(values, step=step)
            elif isinstance(logger, TensorboardLogger):
                for name, value in values.items():
                    logger.writer.add_scalar(name, value, step)

    return log_values
