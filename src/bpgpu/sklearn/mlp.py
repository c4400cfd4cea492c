"""`MLPClassifier` and `MLPRegressor`: scikit-learn's perceptrons, on arrays of any library."""

from __future__ import annotations

from typing import Any

from sklearn.utils.metaestimators import available_if

from bpgpu.backend.libraries import namespace_of
from bpgpu.sklearn import settings, solvers, targets
from bpgpu.sklearn.descent import Sample
from bpgpu.sklearn.losses import BinaryLogLoss, LogLoss, Loss, Poisson, SquaredError
from bpgpu.sklearn.network import Network
from bpgpu.sklearn.perceptron import Perceptron
from bpgpu.sklearn.roles import Classifier, Regressor

Array = Any


def _goes_on(estimator: Any) -> bool:
    """Whether `partial_fit` is there: not with L-BFGS."""
    if not solvers.is_stochastic(estimator.solver):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class MLPClassifier(Classifier, Perceptron):
    """A multi-layer perceptron that tells classes apart.

    It takes the parameters of scikit-learn's `MLPClassifier`, and with the same `random_state` it starts from the same
    weights, sees the same batches and finds the same network, up to rounding. Beyond it: arrays of any library on their
    own device, dropout, activations for each layer, any optimizer, weights of classes.

    The loss is the mean over a batch of the cross-entropy, plus `alpha / (2 n) sum |W|^2` for a batch of `n`.

    *Parameters*

    - `hidden_layer_sizes`: the width of each hidden layer; `()` for none.
    - `activation`: `"relu"`, `"tanh"`, `"logistic"`, `"identity"`, the name of another function of `bpgpu.functional`
      such as `"gelu"`, any function of an array, or a list with one for each hidden layer.
    - `solver`: `"adam"`, `"sgd"` and `"lbfgs"` as in scikit-learn; the name of another optimizer of `bpgpu.optim` such
      as `"adamw"`; its class, which gets `lr=learning_rate_init`; or a function of the parameters that makes one.
    - `alpha`: the weight of the squares of the weights in the loss.
    - `batch_size`: samples in a batch; `"auto"` is `min(200, n)`.
    - `learning_rate`: for all solvers but `"adam"` and `"lbfgs"`: `"constant"`; `"invscaling"`, divided by
      `(t + 1)^power_t` after `t` samples; `"adaptive"`, divided by 5 when nothing improves.
    - `learning_rate_init`, `power_t`: see there.
    - `max_iter`: so many epochs at most, or iterations of L-BFGS. `max_fun`: evaluations of L-BFGS.
    - `shuffle`: a new order in each epoch. `random_state`: a seed or a `numpy.random.RandomState`.
    - `tol`, `n_iter_no_change`: training ends when the loss, or with `early_stopping` the accuracy on what was held
      out, has not improved by `tol` for more than so many epochs. For L-BFGS, `tol` bounds the gradient.
    - `early_stopping`, `validation_fraction`: hold this part of the samples out, and keep the weights that were best
      on it.
    - `verbose`: print a line for each epoch. `warm_start`: `fit` goes on from the weights of the last fit.
    - `momentum`, `nesterovs_momentum`: of `"sgd"`. `beta_1`, `beta_2`, `epsilon`: of `"adam"`.
    - `dropout`: the probability that a value of a hidden layer is left out, or a list with one for each.
    - `class_weight`: `{class: weight}`, or `"balanced"`.
    - `device`: where is trained: `None`, where the data are; `"auto"`, on a GPU if there is one; or a device of bpgpu.

    *Attributes* `classes_`, `coefs_` (of shape (in, out)), `intercepts_`, `loss_`, `loss_curve_`, `best_loss_`,
    `validation_scores_`, `best_validation_score_`, `n_iter_`, `t_`, `n_layers_`, `n_outputs_`, `out_activation_`,
    `n_features_in_`, `feature_names_in_`: as in scikit-learn.

    *Notes* Features in float32 are trained in float32, all others in float64. `predict` answers in the library and on
    the device of its input. Several labels: `y` is an indicator `(n, k)` of 0 and 1.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MLPClassifier(solver="lbfgs", alpha=1e-2, random_state=0).fit(X, y)
    >>> clf.predict(X[::60]), round(clf.score(X, y), 2)
    (array([0, 1, 2]), 0.99)
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        class_weight: Any = None,
        device: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.class_weight = class_weight
        self.device = device

    @available_if(_goes_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Go through the data once more, and keep the state of the solver for the next call.

        *Parameters* `classes`: all classes that there will be; needed in the first call.
        """
        self._fit(X, y, sample_weight, once=True, classes=classes)
        return self

    def _outputs(self, y: Any) -> int:
        return self._labels.outputs

    def _loss(self) -> Loss:
        return LogLoss() if self._labels.kind == "multiclass" else BinaryLogLoss()

    def _validation(self, network: Network, sample: Sample) -> float:
        z = self._computed(network, sample.rows)
        xp = namespace_of(z)
        chosen = self._labels.chosen(xp, z)
        if self._labels.kind == "binary":
            return targets.accuracy(xp, sample.y, xp.astype(z > 0, z.dtype), sample.weight)
        y = sample.y if chosen.dtype == sample.y.dtype else xp.astype(sample.y, chosen.dtype)
        return targets.accuracy(xp, y, chosen, sample.weight)


class MLPRegressor(Regressor, Perceptron):
    """A multi-layer perceptron that predicts numbers.

    It takes the parameters of scikit-learn's `MLPRegressor`, and with the same `random_state` it finds the same
    network, up to rounding. What is beyond it is told under `MLPClassifier`, and so are the parameters.

    The loss is the mean over a batch of half the squared error, plus `alpha / (2 n) sum |W|^2` for a batch of `n`.

    *Parameters*

    - `loss`: `"squared_error"`, or `"poisson"` for targets of at least 0, such as counts: the network then predicts
      the exponential of its last value.
    - All others are those of `MLPClassifier`, but for `class_weight`.

    *Attributes* are those of `MLPClassifier`, but for `classes_`. With several outputs `loss_` is the mean over them of
    the squared error, as in scikit-learn, and the gradient that of their sum.

    *Notes* With `early_stopping` the score is the coefficient of determination, for both losses.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs").fit(X / X.std(axis=0), y)  # linear
    >>> round(reg.score(X / X.std(axis=0), y), 2)
    0.52
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        device: Any = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.device = device

    @available_if(_goes_on)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Go through the data once more, and keep the state of the solver for the next call."""
        self._fit(X, y, sample_weight, once=True)
        return self

    def _check(self) -> list[int]:
        settings.choice(self, "loss", "squared_error", "poisson")
        return super()._check()

    def _target(self, X: Any, y: Any, first: bool, once: bool = False, classes: Any = None) -> Any:
        y = super()._target(X, y, first, once, classes)
        if self.loss == "poisson" and bool(namespace_of(y).any(y < 0)):
            raise ValueError("y: loss='poisson' needs targets of at least 0, got negative ones")
        return y

    def _outputs(self, y: Any) -> int:
        return int(y.shape[1])

    def _loss(self) -> Loss:
        return Poisson() if self.loss == "poisson" else SquaredError()

    def _validation(self, network: Network, sample: Sample) -> float:
        z = self._computed(network, sample.rows)
        xp = namespace_of(z)
        prediction = network.loss.predicted(xp, z)
        if not bool(xp.all(xp.isfinite(prediction))):
            return float("nan")
        return targets.r2(xp, sample.y, prediction, sample.weight)
