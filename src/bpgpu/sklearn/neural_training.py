"""What `NeuralClassifier` and `NeuralRegressor` share: a module built for the data, and trained by `bpgpu.fit`."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from bpgpu import functional, nn, optim
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.backend import rows
from bpgpu.backend.host import to_numpy
from bpgpu.optim import lr_scheduler
from bpgpu.sklearn import inputs, settings, solvers, targets
from bpgpu.sklearn.inputs import place_of
from bpgpu.sklearn.modules import built, check_arguments, seeded, settled
from bpgpu.train import EarlyStopping, fit, predict

Array = Any

TAKEN = (
    *("model", "data", "loss", "objective", "optimizer", "epochs", "batch_size", "shuffle", "seed"),
    *("sample_weight", "class_weight", "validation", "stop", "schedule", "metrics", "callbacks"),
    "device",
)
FREE = tuple(name for name in inspect.signature(fit).parameters if name not in TAKEN)
"""The arguments of `bpgpu.fit` that the estimators have no parameter for."""

WORTH = 300
"""From so many steps on it pays to record the step and replay it."""


class Neural(BaseEstimator):
    """What both estimators share."""

    _numeric_target: bool
    _optimizer: Any
    model_: Any
    history_: dict[str, list[Any]]

    # ---- what an estimator defines

    def _outputs(self, y: Any) -> int:
        """How many outputs a module is asked for."""
        raise NotImplementedError

    def _matched(self, y: Array, shape: tuple[int, ...]) -> Array:
        """The target in the form that goes with a module's answer of this shape.

        *Raises* `ValueError` if the answer is of no use for the target.
        """
        raise NotImplementedError

    def _own_loss(self, y: Array) -> Any:
        """The loss for such a target, if none was given."""
        raise NotImplementedError

    # ---- fitting

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train a module on features `(n, f)`, or `(n, ...)` for images and sequences, and a target.

        *Parameters* `X`: an array of any library or a data frame. `y`: of the library of `X`, or of NumPy.
        `sample_weight`: how much each sample counts, `(n,)`.

        *Raises* `ValueError` for parameters out of range, by name; for NaN, infinity and shapes that do not fit; for a
        loss that is no number.
        """
        return self._fit(X, y, sample_weight)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, once: bool = False, classes: Any = None
    ) -> Any:
        self._check()
        first = not hasattr(self, "model_") or not (self.warm_start or once)
        X, y = inputs.data(self, X, y, reset=first, numeric=self._numeric_target, images=True)
        encoded = self._target(X, y, first, once, classes)
        weight = self._weights(y, inputs.weights(sample_weight, X.shape[0]), once)
        generator = settings.generator(self)
        with seeded(int(generator.randint(2**31 - 1))):
            model = self._model(X, encoded) if first else self.model_
            if first or self._optimizer is None or not once:
                self._optimizer = self._made_optimizer(model)
            self._train(model, X, encoded, weight, generator, first, once)
        return self

    def _check(self) -> None:
        settings.check(
            self,
            *("learning_rate", "epochs", "patience", "validation_fraction"),
            *("shuffle", "early_stopping", "warm_start"),
        )
        settings.common(self)
        for name in ("optimizer_params", "fit_params"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, dict):
                raise settings.wrong(self, name, "a dict of arguments, or None", value)
        unknown = [n for n in self.fit_params or () if n not in FREE]
        if unknown:
            raise settings.wrong(
                self,
                "fit_params",
                f"a dict with arguments of bpgpu.fit: {', '.join(FREE)}",
                unknown,
            )

    def _model(self, X: Any, y: Any) -> Any:
        """The module before training, where it is trained."""
        place = place_of(X) if self.device is None else inputs.place_named(self.device)
        self._fitted_at = str(place_of(X))
        self.n_outputs_ = self._outputs(y)
        who = type(self).__name__
        model = built(
            who, self.module, self.module_params, int(np.prod(X.shape[1:])), self.n_outputs_
        )
        given = isinstance(self.module, nn.Module)  # it keeps its dtype
        return settled(model, place, None if given else _name(X.dtype))

    def _made_optimizer(self, model: Any) -> Any:
        wish, options = self.optimizer, self.optimizer_params or {}
        if isinstance(wish, str):
            known = {**solvers.NAMES, "lbfgs": optim.LBFGS}
            if wish.lower() not in known:
                raise settings.wrong(
                    self,
                    "optimizer",
                    f"one of {', '.join(map(repr, known))}, a class of bpgpu.optim, or a function of the model",
                    wish,
                )
            wish = known[wish.lower()]
        if isinstance(wish, optim.Optimizer | optim.LBFGS) or not callable(wish):
            raise settings.wrong(
                self,
                "optimizer",
                "a name such as 'adamw', a class such as bpgpu.optim.AdamW, or a function that takes the model and "
                "makes an optimizer, since each fit trains a new model",
                wish,
            )
        check_arguments(f"{type(self).__name__}: optimizer_params", wish, options)
        return wish(
            model, **({"lr": self.learning_rate} if inspect.isclass(wish) else {}) | options
        )

    def _train(
        self,
        model: Any,
        X: Any,
        y: Any,
        weight: Any,
        generator: Any,
        first: bool,
        once: bool,
    ) -> None:
        x = self._brought(model, X)
        place = place_of(x)
        answer = self._answer(model, x[:1, ...])
        y = place.put(y, "int64" if len(y.shape) == 1 else _name(x.dtype))
        y = self._matched(y, tuple(answer.shape))
        weight = None if weight is None else place.put(weight, _name(x.dtype))
        stop = list(self.stop) if isinstance(self.stop, (list, tuple)) else [self.stop]
        stop = [rule for rule in stop if rule is not None]
        held_out = None
        if self.early_stopping and not once:
            x, y, weight, held_out = self._split(x, y, weight, generator)
            stop.append(EarlyStopping(patience=self.patience))
        n = int(x.shape[0])
        batch = min(200, n) if self.batch_size == "auto" else min(int(self.batch_size), n)
        epochs = 1 if once else self.epochs
        schedule = self._made_schedule()
        options: dict[str, Any] = {
            "device": None,
            "progress": "auto" if self.verbose else False,
            "compile": "auto" if epochs * -(-n // batch) >= WORTH else False,
            "metrics": self.metrics,
            "callbacks": self.callbacks or (),
            **(self.fit_params or {}),
        }
        result = fit(
            model,
            (x, y),
            loss=self._chosen_loss(y),
            optimizer=self._optimizer,
            epochs=epochs,
            batch_size=batch,
            shuffle=self.shuffle,
            seed=int(generator.randint(2**31 - 1)),
            sample_weight=weight,
            validation=held_out,
            stop=stop,
            schedule=schedule,
            **options,
        )
        self.model_ = model
        before = {} if first else self.history_
        self.history_ = {k: [*before.get(k, ()), *v] for k, v in result.history.items()}
        self.n_iter_, self.stopped_by_ = max(1, result.epochs), result.stopped_by
        self.loss_ = (self.history_.get("loss") or [math.nan])[-1]  # none after an early Ctrl-C

    def _chosen_loss(self, y: Any) -> Any:
        if self.loss is None:
            return self._own_loss(y)
        if not isinstance(self.loss, str):
            return self.loss
        found = getattr(functional, self.loss, None)
        if not callable(found):
            raise settings.wrong(
                self,
                "loss",
                "the name of a loss of bpgpu.functional such as 'cross_entropy', or a function",
                self.loss,
            )
        return found

    def _made_schedule(self) -> Any:
        """The schedule of the learning rate: `(a class or function of the optimizer, "step")`, or that function."""
        wish, every = (
            self.schedule if isinstance(self.schedule, tuple) else (self.schedule, "epoch")
        )
        if wish is None:
            return None
        if isinstance(wish, lr_scheduler.LRScheduler) or not callable(wish):
            raise settings.wrong(
                self,
                "schedule",
                "a function that takes the optimizer and makes a schedule, since each fit has an optimizer of its own",
                wish,
            )
        return wish(self._optimizer), every

    def _split(self, x: Any, y: Any, weight: Any, generator: Any) -> tuple[Any, Any, Any, Any]:
        """What is trained on, and what is held out; of labels, each class in its proportion."""
        labels = None
        if not self._numeric_target and (len(y.shape) == 1 or y.shape[1] == 1):
            labels = to_numpy(y).reshape(-1)
        parts = targets.split(int(x.shape[0]), self.validation_fraction, generator, labels)
        train, rest = (rows.indices_like(index, y) for index in parts)
        kept = None if weight is None else rows.take(weight, train)
        held_out = rows.take(x, rest), rows.take(y, rest)
        return rows.take(x, train), rows.take(y, train), kept, held_out

    # ---- predicting

    def _brought(self, model: Any, X: Any) -> Array:
        """Features where the model is, in its dtype."""
        like = next((p for p in model.parameters().values() if is_floating(p)), None)
        if like is None:
            return X
        return place_of(like).put(X, _name(like.dtype))

    def _answer(self, model: Any, x: Array) -> Array:
        """What the module says, `(n, k)` or `(n,)`."""
        found = predict(model, x, batch_size=1024)
        if len(getattr(found, "shape", ())) not in (1, 2) or found.shape[0] != x.shape[0]:
            got = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise ValueError(
                f"{type(self).__name__}: the module is to give (n, k) or (n,) for n samples, got {got} for "
                f"{tuple(x.shape)}"
            )
        return found

    def _last_values(self, X: Any, method: str) -> Array:
        check_is_fitted(self)
        inputs.check_same_place(self, X, self._fitted_at, method)
        X = inputs.features(self, X, images=True)
        found = self._answer(self.model_, self._brought(self.model_, X))
        return found[:, None] if len(found.shape) == 1 else found

    def _answers(self, X: Any, method: str) -> Array:
        return self._last_values(X, method)

    # ---- parameters of the module and the optimizer, as `module__width`

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with `deep` those of the module and the optimizer too, as `module__width`."""
        found: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for part in ("module", "optimizer", "fit"):
                inner = found[f"{part}_params"]
                if isinstance(inner, dict):
                    found |= {f"{part}__{name}": value for name, value in inner.items()}
        return found

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name; `module__width=64` sets an entry of `module_params`."""
        plain = {k: v for k, v in params.items() if "__" not in k}
        super().set_params(**plain)
        for name, value in params.items():
            part, _, inner = name.partition("__")
            if not inner:
                continue
            if part not in ("module", "optimizer", "fit"):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. Valid parameters are: "
                    f"{sorted(super().get_params(deep=False))}, and module__..., optimizer__..., fit__..."
                )
            before = getattr(self, f"{part}_params")
            setattr(self, f"{part}_params", {**(before or {}), inner: value})
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]
