"""`NeuralClassifier` and `NeuralRegressor`: any `bpgpu.nn.Module` as an estimator, trained by `bpgpu.fit`."""

from __future__ import annotations

from typing import Any

from bpgpu import functional
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.backend.libraries import namespace_of
from bpgpu.sklearn.neural_training import Neural
from bpgpu.sklearn.roles import Classifier, Regressor

Array = Any


class NeuralClassifier(Classifier, Neural):
    """A `bpgpu.nn.Module` that tells classes apart.

    The module gives logits: `(n, classes)`, of two classes also `(n, 1)` or `(n,)`; of several labels one for each.

    *Parameters*

    - `module`: a Module, of which each fit trains a copy; a function or class that builds one; or `None`, for one
      hidden layer of 100. A function is given the numbers of features and of outputs where it has arguments
      `n_features` and `n_outputs` (or `in_features`, `out_features`, `n_classes`), or two arguments without a default.
    - `module_params`: further arguments of that function. They are parameters of the estimator too,
      `module__width=64`, for instance in a grid search.
    - `loss`: a function or layer of prediction and target, or the name of one of `bpgpu.functional`; by default the
      cross-entropy. Targets are the numbers of the classes `(n,)`, or 0 and 1 in the shape of the prediction where that
      is one for two classes or one for each label.
    - `optimizer`: a name such as `"adamw"`, a class of `bpgpu.optim`, which gets `lr=learning_rate`, or a function of
      the model that makes one. `optimizer_params`: further arguments (`optimizer__weight_decay`).
    - `learning_rate`, `epochs`; `batch_size`: an integer or `"auto"`, which is `min(200, n)`; `shuffle`.
    - `early_stopping`: hold `validation_fraction` of the samples out, end when the loss there has not improved for
      `patience` epochs, and go back to the best weights.
    - `stop`, `metrics`, `callbacks`: as in `bpgpu.fit`. `schedule`: a function of the optimizer, which makes a
      schedule of `bpgpu.optim.lr_scheduler`, or `(function, "step")`. `fit_params`: any other argument of
      `bpgpu.fit`, such as `{"clip_grad_norm": 1.0}`.
    - `class_weight`: `{class: weight}` or `"balanced"`.
    - `random_state`: of the first weights, the order, dropout and what is held out.
    - `warm_start`: `fit` goes on with the model of the last fit. `verbose`: show the progress.
    - `device`: where is trained: `None`, where the data are; `"auto"`, on a GPU if there is one; or a device of bpgpu.

    *Attributes* `model_`: the module that was trained. `classes_`; `history_`: a list for each loss and metric, with a
    value for each epoch; `loss_`; `n_iter_`: epochs of the last fit; `stopped_by_`: why it ended; `n_outputs_`,
    `n_features_in_`, `feature_names_in_`.

    *Notes* A module that is built for the fit has the dtype of `X`, float32 or float64; one that was given keeps its
    own. Features may have more than two axes, `(n, channels, height, width)`.

    >>> import bpgpu as bp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> def network(n_features, n_outputs, width=32):
    ...     nn = bp.nn
    ...     return nn.Sequential(nn.Linear(n_features, width), nn.GELU(), nn.Linear(width, n_outputs))
    >>> clf = NeuralClassifier(network, module_params={"width": 16}, learning_rate=0.03, random_state=0)
    >>> clf.fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        module: Any = None,
        *,
        module_params: Any = None,
        loss: Any = None,
        optimizer: Any = "adam",
        optimizer_params: Any = None,
        learning_rate: float = 1e-3,
        epochs: int = 100,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        stop: Any = None,
        metrics: Any = (),
        callbacks: Any = None,
        schedule: Any = None,
        fit_params: Any = None,
        class_weight: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
        device: Any = None,
    ) -> None:
        self.module = module
        self.module_params = module_params
        self.loss = loss
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.stop = stop
        self.metrics = metrics
        self.callbacks = callbacks
        self.schedule = schedule
        self.fit_params = fit_params
        self.class_weight = class_weight
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> NeuralClassifier:
        """Go through the data once more, and keep the state of the optimizer for the next call.

        *Parameters* `classes`: all classes that there will be; needed in the first call.
        """
        self._fit(X, y, sample_weight, once=True, classes=classes)
        return self

    def _outputs(self, y: Any) -> int:
        return int(self._labels.classes.shape[0])

    def _matched(self, y: Array, shape: tuple[int, ...]) -> Array:
        """Numbers of classes `(n,)`, or 0 and 1 in the shape of the answer."""
        outputs = shape[1] if len(shape) == 2 else 1
        classes = self._labels.classes.shape[0]
        if outputs != classes and not (outputs == 1 and self._labels.kind == "binary"):
            raise ValueError(
                f"{type(self).__name__}: the module gives {outputs} values for each sample, but there are {classes} "
                f"classes; give its last layer {classes} outputs"
            )
        if self._labels.kind == "multilabel-indicator" or len(y.shape) == 1:
            return y
        return (
            y[:, 0]
            if len(shape) == 1
            else y
            if outputs == 1
            else namespace_of(y).astype(y[:, 0], namespace_of(y).int64)
        )

    def _own_loss(self, y: Array) -> Any:
        one_each = is_floating(y)
        return functional.binary_cross_entropy_with_logits if one_each else functional.cross_entropy


class NeuralRegressor(Regressor, Neural):
    """A `bpgpu.nn.Module` that predicts numbers.

    The module gives `(n, outputs)`, or `(n,)` for one output.

    *Parameters* are those of `NeuralClassifier`, but for `class_weight`; the loss is the mean squared error, if no
    other is given. Targets have the shape of the prediction.

    *Attributes* are those of `NeuralClassifier`, but for `classes_`.

    >>> import numpy as np, bpgpu as bp
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> reg = NeuralRegressor(bp.nn.Linear(1, 1), learning_rate=0.1, epochs=300).fit(X, 3 * X[:, 0] + 1)
    >>> reg.predict([[2.0]]).round(2), reg.stopped_by_
    (array([7.], dtype=float32), 'reached 300 epochs')
    """

    def __init__(
        self,
        module: Any = None,
        *,
        module_params: Any = None,
        loss: Any = None,
        optimizer: Any = "adam",
        optimizer_params: Any = None,
        learning_rate: float = 1e-3,
        epochs: int = 100,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        stop: Any = None,
        metrics: Any = (),
        callbacks: Any = None,
        schedule: Any = None,
        fit_params: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
        device: Any = None,
    ) -> None:
        self.module = module
        self.module_params = module_params
        self.loss = loss
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.stop = stop
        self.metrics = metrics
        self.callbacks = callbacks
        self.schedule = schedule
        self.fit_params = fit_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NeuralRegressor:
        """Go through the data once more, and keep the state of the optimizer for the next call."""
        self._fit(X, y, sample_weight, once=True)
        return self

    def _outputs(self, y: Any) -> int:
        return int(y.shape[1])

    def _matched(self, y: Array, shape: tuple[int, ...]) -> Array:
        outputs = shape[1] if len(shape) == 2 else 1
        if outputs != y.shape[1]:
            raise ValueError(
                f"{type(self).__name__}: the module gives {outputs} values for each sample, but y has {y.shape[1]}; "
                f"give its last layer {y.shape[1]} outputs"
            )
        return y[:, 0] if len(shape) == 1 else y

    def _own_loss(self, y: Array) -> Any:
        return functional.mse_loss
