"""The loop: one iteration, and the state it takes to go on after it. Time is owned here and nowhere else."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lib.config import Config
from lib.device import autocast, pick_precision, place, place_network
from lib.errors import SemisegError
from lib.methods.base import Method, Term, total
from lib.studies.patches import Patches
from lib.training.distribution import averaged, parallel, rank
from lib.training.schedules import one_cycle
from lib.training.tracking import EVERY

log = logging.getLogger(__name__)

LOST = 20  # steps in a row without a finite gradient after which a training ends


class Loop:
    """A method, its optimiser and its stream of patches.

    ``state()`` holds exactly what is needed to go on; everything else is a function of settings, studies and step.

    Args:
        steps: iterations in all; the schedules are fitted to it.
    """

    def __init__(self, method: Method, patches: Patches, config: Config, steps: int, device: torch.device) -> None:
        self.config, self.patches, self.steps, self.device = config, patches, steps, device
        self.precision = pick_precision(config.precision, device)
        self.method = place_network(method, device)
        self.method.begin()  # before the average; a checkpoint is loaded over it
        self.parallel = parallel(self.method, device)
        self.learning = [weight for weight in self.method.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learning, config.learning_rate, weight_decay=config.weight_decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.average = (
            AveragedModel(self.method, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        self.stream: Iterator[dict[str, Any]] | None = None
        self.uses: Counter[str] = Counter()  # patches taken from each study
        self.skipped: dict[str, str] = {}  # unlabelled studies that turned out unreadable, with the reason
        self.terms: Counter[str] = Counter()  # all so far, and the skipped ones among them
        self.lost = 0
        self.waited = 0.0  # seconds without a patch to compute on

    @property
    def smoothed(self) -> Method:
        """The method with the averaged weights: what is validated and published."""
        return cast(Method, self.average.module) if self.average is not None else self.method

    def engine(self) -> Engine:
        """An Ignite engine over the remaining steps; its ``state.iteration`` is the number of steps done."""
        engine = Engine(self.step)
        engine.state_dict_user_keys.append("total")
        engine.state.total = self.steps  # type: ignore[attr-defined]
        return engine

    def step(self, engine: Engine, _: Any = None) -> dict[str, float]:
        """One iteration.

        Returns:
            The value of each term, of their weighted sum (``loss``), ``learning_rate``, ``skipped/<term>`` = 1 where
            there was nothing to learn from, and ``monitor/<name>`` (with several processes every 10th time only).
        """
        step = engine.state.iteration - 1  # Ignite counts before it calls
        batch = self._next(step)
        # what networks and methods draw is a function of the step, as the batch is (whose stream draws too)
        torch.manual_seed(int(np.random.SeedSequence((self.config.seed, step, rank())).generate_state(1)[0]))
        share = one_cycle(step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * share
        self.method.train()
        self.method.monitors = {}
        with autocast(self.device, self.precision):
            terms = self.parallel(batch, step / self.steps)
        loss = total(terms)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self._apply_gradients()
        if self.average is not None:
            self.average.update_parameters(self.method)
        self.method.after_step(step)
        values = {name: float(term.value.detach()) for name, term in terms.items()}
        skipped = {f"skipped/{name}": 1.0 for name, term in terms.items() if not term.n_valid}
        rest = {"loss": float(loss.detach()), "learning_rate": self.config.learning_rate * share}
        return values | skipped | rest | self._monitors(terms, engine.state.iteration)

    def close(self) -> None:
        """End the processes that prepare patches."""
        self.stream = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint saves, each with ``state_dict`` and ``load_state_dict``."""
        parts = {"method": self.method, "optimizer": self.optimizer, "scaler": self.scaler, "loop": self}
        return parts | ({"average": self.average} if self.average is not None else {})

    def state_dict(self) -> dict[str, Any]:
        """The loop's own part: what it has counted so far."""
        return {"uses": dict(self.uses), "skipped": self.skipped, "terms": dict(self.terms), "lost": self.lost}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.uses, self.skipped, self.lost = Counter(state["uses"]), dict(state["skipped"]), state["lost"]
        self.terms = Counter(state["terms"])

    def _monitors(self, terms: Mapping[str, Term], number: int) -> dict[str, float]:
        """What the method saw, and the share of terms skipped so far; the mean over the processes."""
        self.terms.update(all=len(terms), skipped=sum(not term.n_valid for term in terms.values()))
        seen = self.method.monitors | {"skipped": self.terms["skipped"] / self.terms["all"]}
        means = averaged(seen, self.device) if idist.get_world_size() == 1 or number % EVERY == 0 else {}
        return {f"monitor/{name}": value for name, value in means.items()}

    def _next(self, step: int) -> dict[str, Any]:
        if self.stream is None:
            self.stream = self.patches.stream(step, self.steps, self.config.workers)
        start = time.perf_counter()
        batch = next(self.stream)
        self.waited += time.perf_counter() - start
        self.uses.update(batch.get("ids", ()))
        self.uses.update(batch.get("unlabelled_ids", ()))
        for study, reason in batch.get("skipped", {}).items():
            if study not in self.skipped:
                log.warning("Skipped. %s", reason)
                self.skipped[study] = reason
        axes = batch["image" if "image" in batch else "weak"].ndim - 2
        return {
            key: place(value, self.device, axes) if torch.is_tensor(value) else value for key, value in batch.items()
        }

    def _apply_gradients(self) -> None:
        """Clip and step; a gradient that is not finite is left out, and too many in a row end the training."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.learning, limit)
        finite = bool(torch.isfinite(norm))
        self.lost = 0 if finite else self.lost + 1
        if self.lost >= LOST:
            raise SemisegError(
                f"The loss was no finite number for {LOST} iterations; lower learning_rate or set precision fp32"
            )
        if finite or self.scaler.is_enabled():  # the scaler leaves such a step out by itself, and learns from it
            self.scaler.step(self.optimizer)
        else:
            log.warning("An iteration without a finite gradient was left out")
        self.scaler.update()
