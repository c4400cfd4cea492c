"""A damped pendulum, measured with noise: what are its frequency and its friction?

    pip install bpgpu
    python examples/embed_in_research.py

The model is ordinary array code: a Runge-Kutta integration of the equation of motion, for several swings at once. bpgpu
differentiates it as it stands, L-BFGS fits the parameters, and the Hessian gives their standard errors. Runs on CUDA if
CuPy finds a device, else on the CPU. Fails if a parameter is off by more than 1 % or by more than four standard errors.

The equation of motion:  theta'' = -omega^2 sin(theta) - gamma theta'
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import bpgpu as bp

TRUE = {"omega": 3.13, "gamma": 0.25}  # a pendulum of one metre, 1/s; friction, 1/s
START = {"omega": 2.5, "gamma": 0.05}  # the first guess
ANGLES = (0.3, 0.8, 1.3, 1.8, 2.3)  # where it is let go in each swing, radians
NOISE = 0.02  # standard deviation of a measured angle, radians
SECONDS, STEPS = 4.0, 160
ENOUGH, ERRORS = 0.01, 4.0


def acceleration(p: dict[str, Any], angle: Any, speed: Any) -> Any:
    """The equation of motion."""
    xp = bp.array_namespace(p["omega"], angle)
    return -(p["omega"] ** 2) * xp.sin(angle) - p["gamma"] * speed


def simulate(p: dict[str, Any], angle: Any) -> Any:
    """The angle of each swing at each time, by the classical method of Runge and Kutta of order 4."""
    xp = bp.array_namespace(p["omega"], angle)
    dt = SECONDS / STEPS
    speed = xp.zeros_like(angle)
    path = []
    for _ in range(STEPS):
        v1, a1 = speed, acceleration(p, angle, speed)
        v2 = speed + dt / 2 * a1
        a2 = acceleration(p, angle + dt / 2 * v1, v2)
        v3 = speed + dt / 2 * a2
        a3 = acceleration(p, angle + dt / 2 * v2, v3)
        v4 = speed + dt * a3
        a4 = acceleration(p, angle + dt * v3, v4)
        angle = angle + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        speed = speed + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        path.append(angle)
    return xp.stack(path)  # (STEPS, swings)


def misfit(p: dict[str, Any], angle: Any, measured: Any) -> Any:
    """Half the sum of squared residuals over the variance: minus the log-likelihood, but for a constant."""
    xp = bp.array_namespace(p["omega"], angle)
    return xp.sum(((simulate(p, angle) - measured) / NOISE) ** 2) / 2


def standard_errors(p: dict[str, Any], angle: Any, measured: Any) -> dict[str, float]:
    """The square roots of the diagonal of the inverse Hessian at the minimum."""
    names = list(p)
    second = bp.to_numpy(bp.hessian(misfit)(p, angle, measured))
    matrix = np.asarray([[second[row][column] for column in names] for row in names])
    return dict(zip(names, np.sqrt(np.diag(np.linalg.inv(matrix))).tolist(), strict=True))


def main() -> str | None:
    dev = bp.device("auto")
    print(dev.reason)
    angle = dev.asarray(ANGLES, "float64")
    truth = {name: dev.asarray(value, "float64") for name, value in TRUE.items()}
    noise = np.random.default_rng(0).normal(0, NOISE, (STEPS, len(ANGLES)))
    measured = simulate(truth, angle) + dev.asarray(noise)

    p = {name: dev.asarray(value, "float64") for name, value in START.items()}
    bp.check_grads(lambda p: misfit(p, angle, measured), (p,))
    print("the gradient through the integration agrees with difference quotients")

    gradient = bp.value_and_grad(misfit)
    optimizer = bp.optim.LBFGS(p, max_iter=100, line_search_fn="strong_wolfe")
    p = optimizer.step(lambda: gradient(optimizer.params, angle, measured))

    value, errors = float(misfit(p, angle, measured)), standard_errors(p, angle, measured)
    print(
        f"chi-squared for each of {noise.size} angles: {2 * value / noise.size:.3f} (1 is a perfect fit)"
    )
    failures = []
    for name, true in TRUE.items():
        found, error = float(p[name]), errors[name]
        print(f"{name:6} {found:.4f} +- {error:.4f}, true {true:.4f}")
        off = abs(found - true)
        if not (off < ENOUGH * true and off < ERRORS * error):
            failures.append(name)
    length = 9.81 / float(p["omega"]) ** 2
    print(f"so the pendulum is {length:.4f} m long")
    return f"failed: {', '.join(failures)} not recovered within {ENOUGH:.0%}" if failures else None


if __name__ == "__main__":
    sys.exit(main())
