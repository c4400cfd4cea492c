"""How weights are found: scikit-learn's stochastic solvers, any optimizer of bpgpu, and L-BFGS of SciPy."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from bpgpu import optim
from bpgpu.backend.host import to_numpy
from bpgpu.kernels import find
from bpgpu.optim.arrays import bias_correction, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.sklearn.inputs import place_of
from bpgpu.sklearn.network import Network, copied

Array = Any


class Momentum(optim.Optimizer):
    """Gradient descent with a velocity, which holds the learning rate of its time, as scikit-learn's solver "sgd".

    `v <- momentum v - lr g`, then `p <- p + v`, or with Nesterov's momentum `p <- p + momentum v - lr g`.
    """

    def __init__(self, params: Any, lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(params, None, lr=lr, momentum=momentum, nesterov=nesterov)

    def check_options(self, check: Options) -> None:
        check("momentum", low=0, high=1)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {"velocity": xp.zeros_like(p)}

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        v, step = s["velocity"], h["lr"] * g
        v *= h["momentum"]
        v -= step
        if h["nesterov"]:
            p += h["momentum"] * v
            p -= step
        else:
            p += v
        return p, {"velocity": v}


class Adam(optim.Optimizer):
    """Adam as scikit-learn's solver "adam" has it: `eps` is added before the correction for the start at zero.

    `m <- beta1 m + (1 - beta1) g`, `v <- beta2 v + (1 - beta2) g^2`, and then
    `p <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)`.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, None, lr=lr, betas=betas, eps=eps)

    def check_options(self, check: Options) -> None:
        check("eps", low=0)
        check.pair("betas", low=0, below=1)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {"step": scalar(xp, p, 0), "m": xp.zeros_like(p), "v": xp.zeros_like(p)}

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        (beta1, beta2), t, m, v = h["betas"], s["step"] + 1, s["m"], s["v"]
        rate = h["lr"] * bias_correction(xp, beta2, t) ** 0.5 / bias_correction(xp, beta1, t)
        operands = (p, g, m, v, rate, 1.0, h["eps"], beta1, beta2)
        if (run := find("adam", xp, *operands)) is not None:
            p, m, v = run(*operands)
            return p, {"step": t, "m": m, "v": v}
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        p -= rate * m / (xp.sqrt(v) + h["eps"])
        return p, {"step": t, "m": m, "v": v}


NAMES: dict[str, Any] = {
    name.lower(): found
    for name, found in vars(optim).items()
    if inspect.isclass(found)
    and issubclass(found, optim.Optimizer)
    and found not in (optim.Optimizer, optim.LBFGS)
}
"""The optimizers of bpgpu by name."""


def is_stochastic(solver: Any) -> bool:
    """True for a solver that goes through the data batch by batch."""
    return not (isinstance(solver, str) and solver == "lbfgs")


def check(who: str, solver: Any) -> None:
    """Raise `ValueError` for what is no solver."""
    if isinstance(solver, str):
        known = ["lbfgs", *NAMES]
        if solver.lower() not in known:
            raise ValueError(
                f"{who}: solver: expected one of {', '.join(map(repr, known))}, a class of bpgpu.optim or a function "
                f"that makes an optimizer, got {solver!r}"
            )
    elif solver is optim.LBFGS or isinstance(solver, optim.Optimizer) or not callable(solver):
        raise ValueError(
            f"{who}: solver: expected a name, a class of bpgpu.optim such as bpgpu.optim.AdamW, or a function that "
            f"takes the parameters and makes an optimizer, got {solver!r:.80}; L-BFGS is solver='lbfgs'"
        )


def optimizer_of(settings: Any, params: dict[str, list[Array]]) -> Any:
    """The optimizer that an estimator asks for."""
    solver, lr = settings.solver, float(settings.learning_rate_init)
    if solver == "sgd":
        return Momentum(params, lr, float(settings.momentum), bool(settings.nesterovs_momentum))
    if solver == "adam":
        betas = (float(settings.beta_1), float(settings.beta_2))
        return Adam(params, lr, betas, float(settings.epsilon))
    if isinstance(solver, str):
        return NAMES[solver.lower()](params, lr=lr)
    made = solver(params, **({"lr": lr} if isinstance(solver, type) else {}))
    if not isinstance(made, optim.Optimizer):
        raise ValueError(
            f"{type(settings).__name__}: solver: the function returned {made!r:.80}, and no optimizer of bpgpu; "
            "write solver=lambda params: bpgpu.optim.AdamW(params, lr=1e-3)"
        )
    return made


def bound(optimizer: Any, settings: Any, params: dict[str, list[Array]]) -> Any:
    """An optimizer that was used before, for the arrays of now: they may have been set, or unpickled."""
    if all(a is b for k in params for a, b in zip(optimizer.params[k], params[k], strict=True)):
        return optimizer
    made = optimizer_of(settings, params)
    made.load_state_dict(optimizer.state_dict())
    return made


class Schedule:
    """The learning rate after each epoch, as scikit-learn has it; its "adam" keeps its own."""

    def __init__(self, settings: Any, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.kind = "constant" if settings.solver == "adam" else settings.learning_rate
        self.first, self.power = float(settings.learning_rate_init), float(settings.power_t)

    def after_epoch(self, samples: int) -> None:
        """`samples`: how many were used since the first epoch."""
        if self.kind == "invscaling":
            self.optimizer.lr = self.first / (samples + 1) ** self.power

    def stuck(self) -> str | None:
        """Called when nothing improves: why to end, or `None` if the rate was lowered instead."""
        if self.kind != "adaptive":
            return "Stopping."
        if self.optimizer.lr <= 1e-6:
            return "Learning rate too small. Stopping."
        self.optimizer.lr /= 5.0
        return None


def lbfgs(
    network: Network, objective: Callable[[], tuple[Array, Any]], settings: Any
) -> tuple[int, float]:
    """Move the weights of a network to a minimum of the objective; how many iterations it took, and the loss there.

    SciPy's L-BFGS-B works on one vector of float64 numbers on the host; loss and gradient are computed where the
    weights are.
    """
    arrays = [*network.params["coefs"], *network.params["intercepts"]]
    shapes = [tuple(a.shape) for a in arrays]
    ends = [0, *itertools.accumulate(map(math.prod, shapes))]
    place = place_of(arrays[0])
    xp, dtype = place.xp, str(arrays[0].dtype).rpartition(".")[2]
    layers = len(network.params["coefs"])
    paths = [f"{kind}.{i}" for kind in ("coefs", "intercepts") for i in range(layers)]

    def fill(x: Any) -> None:
        flat = place.put(x, dtype)
        parts = [
            xp.reshape(flat[start:end], shape)
            for (start, end), shape in zip(itertools.pairwise(ends), shapes, strict=True)
        ]
        network.params = {"coefs": parts[:layers], "intercepts": parts[layers:]}

    def vector(parts: list[Array]) -> Any:
        flat = xp.concat([xp.reshape(p, (-1,)) for p in parts])
        return to_numpy(flat).astype("float64", copy=False)

    def value_and_gradient(x: Any) -> tuple[float, Any]:
        fill(x)
        value, grads = objective()
        return float(value), vector([grads[path] for path in paths])

    options = {
        "maxfun": settings.max_fun,
        "maxiter": settings.max_iter,
        "gtol": settings.tol,
    }
    found = scipy.optimize.minimize(
        value_and_gradient, vector(arrays), method="L-BFGS-B", jac=True, options=options
    )
    fill(found.x)
    network.params = copied(network.params)
    if found.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): {found.message}. "
            f"Increase max_iter (now {settings.max_iter}) or max_fun (now {settings.max_fun}), or scale the features, "
            "for instance with sklearn.preprocessing.StandardScaler",
            ConvergenceWarning,
            stacklevel=5,
        )
    return min(int(found.nit), settings.max_iter), float(found.fun)
