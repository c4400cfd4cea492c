"""Functions of SciPy and scikit-learn through which a gradient passes, and some that refuse it.

Each is called as its users call it, on code that knows nothing of bpgpu. The page docs/through_scipy.md is written
from these lists by `ci/through_scipy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.cluster.vq
import scipy.differentiate
import scipy.fft
import scipy.integrate
import scipy.interpolate
import scipy.linalg
import scipy.ndimage
import scipy.optimize.elementwise
import scipy.signal
import scipy.special
import scipy.stats
from scipy.spatial.transform import RigidTransform, Rotation, Slerp
from sklearn import (
    config_context,
    decomposition,
    discriminant_analysis,
    kernel_approximation,
    linear_model,
    metrics,
    model_selection,
    naive_bayes,
    preprocessing,
)
from sklearn.metrics import pairwise
from sklearn.utils import check_array, extmath

import bpgpu as bp

F = Callable[[Any], Any]


class Case(NamedTuple):
    f: F
    x: np.ndarray


R = np.random.default_rng(0)
ROWS = R.uniform(0.2, 0.9, (6, 4))
LINE = R.uniform(0.2, 0.9, 12)
OTHER = R.uniform(0.2, 0.9, 12)
TARGET = R.uniform(0.2, 0.9, 6)
LABELS = [0, 1, 0, 1, 0, 1]
POSITIVE_DEFINITE = ROWS.T @ ROWS + 4 * np.eye(4)

of = bp.array_namespace
special, stats, signal, ndimage = scipy.special, scipy.stats, scipy.signal, scipy.ndimage
Ridge, LDA = linear_model.Ridge, discriminant_analysis.LinearDiscriminantAnalysis


def like(a: Any, values: Any) -> Any:
    """A constant beside `a`: these libraries refuse to mix namespaces."""
    return of(a).asarray(values)


def power(h: Any) -> Any:
    """The squared size of complex numbers, which is real."""
    return of(h).abs(h) ** 2


def each(prefix: str, module: Any, names: str, x: np.ndarray, **settings: Any) -> dict[str, Case]:
    """The same call of several functions."""

    def call(name: str) -> F:
        return lambda a: getattr(module, name)(a, **settings)

    return {f"{prefix}.{name}": Case(call(name), x) for name in names.split()}


def dispatched(cases: dict[str, Case]) -> dict[str, Case]:
    """As scikit-learn wants to be asked for it."""

    def call(f: F) -> F:
        def with_dispatch(a: Any) -> Any:
            with config_context(array_api_dispatch=True):
                return f(a)

        return with_dispatch

    return {name: Case(call(f), x) for name, (f, x) in cases.items()}


def pair(a: Any) -> Any:
    """A second array of the same shape, which depends on the first."""
    return a * a


def turn(a: Any) -> Any:
    return Rotation.from_quat(a[:4])


def motion(a: Any) -> Any:
    return RigidTransform.from_components(a[4:7], turn(a))


def described(a: Any) -> Any:
    d = stats.describe(a)
    return d.mean, d.variance, d.skewness, d.kurtosis


def resampled(a: Any) -> Any:
    def mean(x: Any, axis: int) -> Any:
        return of(x).mean(x, axis=axis)

    return stats.bootstrap((a,), mean, n_resamples=9, rng=0, method="basic").standard_error


def response(a: Any, function: Any) -> Any:
    return power(function(a[:3], a[3:6], worN=like(a, [0.1, 1.0, 2.0]))[1])


def principal(a: Any) -> Any:
    return decomposition.PCA(2, svd_solver="full").fit(a)


def ridge(a: Any) -> Any:
    return Ridge(alpha=0.1, solver="svd").fit(a, like(a, TARGET))


def lda(a: Any) -> Any:
    return LDA(solver="svd").fit(a, like(a, LABELS))


def bayes(a: Any) -> Any:
    return naive_bayes.GaussianNB().fit(a, like(a, LABELS))


STATISTICS = (
    "gmean hmean variation skew kurtosis zscore sem circmean circvar circstd kstat kstatvar iqr "
    "tmean tvar tmin tmax tstd tsem gzscore median_abs_deviation differential_entropy lmoment"
)
KERNELS = (
    "euclidean_distances cosine_similarity cosine_distances rbf_kernel polynomial_kernel "
    "sigmoid_kernel linear_kernel laplacian_kernel chi2_kernel additive_chi2_kernel "
    "paired_euclidean_distances paired_cosine_distances paired_manhattan_distances "
    "manhattan_distances"
)
ERRORS = (
    "mean_squared_error mean_absolute_error mean_squared_log_error root_mean_squared_error "
    "mean_absolute_percentage_error mean_pinball_loss r2_score"
)

SCIPY: dict[str, Case] = {
    **each("special", special, "logsumexp softmax log_softmax", ROWS, axis=1),
    "special.xlogy": Case(lambda a: special.xlogy(a, a + 1), LINE),
    "special.rel_entr": Case(lambda a: special.rel_entr(a, a + 1), LINE),
    **each("stats", stats, STATISTICS, LINE),
    "stats.gstd": Case(lambda a: stats.gstd(a + 1), LINE),
    "stats.pmean": Case(lambda a: stats.pmean(a, 3.0), LINE),
    "stats.moment": Case(lambda a: stats.moment(a, 3), LINE),
    "stats.trim_mean": Case(lambda a: stats.trim_mean(a, 0.1), LINE),
    "stats.zmap": Case(lambda a: stats.zmap(a, pair(a)), LINE),
    "stats.rankdata": Case(lambda a: stats.rankdata(a) * a, LINE),
    "stats.describe": Case(described, LINE),
    "stats.boxcox_llf": Case(lambda a: stats.boxcox_llf(0.5, a), LINE),
    "stats.yeojohnson_llf": Case(lambda a: stats.yeojohnson_llf(0.5, a), LINE),
    "stats.quantile": Case(lambda a: stats.quantile(a, 0.3), LINE),
    "stats.directional_stats": Case(lambda a: stats.directional_stats(a).mean_direction, ROWS),
    "stats.sigmaclip": Case(lambda a: stats.sigmaclip(a).clipped, LINE),
    "stats.bootstrap": Case(resampled, LINE),
    "signal.fftconvolve": Case(lambda a: signal.fftconvolve(a, a), LINE),
    "signal.oaconvolve": Case(lambda a: signal.oaconvolve(a, a[:4]), LINE),
    "signal.convolve(method='fft')": Case(lambda a: signal.convolve(a, a, method="fft"), LINE),
    "signal.correlate(method='fft')": Case(
        lambda a: signal.correlate(a, a[:5], method="fft"), LINE
    ),
    "signal.hilbert": Case(lambda a: of(a).imag(signal.hilbert(a)), LINE),
    "signal.hilbert2": Case(lambda a: of(a).imag(signal.hilbert2(a)), ROWS),
    "signal.envelope": Case(signal.envelope, LINE),
    "signal.resample": Case(lambda a: signal.resample(a, 20), LINE),
    "signal.vectorstrength": Case(lambda a: signal.vectorstrength(a, 0.7)[0], LINE),
    "signal.gauss_spline": Case(lambda a: signal.gauss_spline(a, 3), LINE),
    "signal.freqs": Case(lambda a: response(a, signal.freqs), LINE),
    "signal.freqz": Case(lambda a: response(a, signal.freqz), LINE),
    "signal.lp2hp": Case(lambda a: signal.lp2hp(a[:3], a[3:6]), LINE),
    "signal.lp2lp": Case(lambda a: signal.lp2lp(a[:3], a[3:6], 2.0), LINE),
    "signal.lp2lp_zpk": Case(
        lambda a: of(a).real(signal.lp2lp_zpk(a[:2], a[2:5], 1.0, 2.0)[1]), LINE
    ),
    "signal.bilinear_zpk": Case(
        lambda a: of(a).real(signal.bilinear_zpk(a[:2], a[2:5], 1.0, 2.0)[0]), LINE
    ),
    **{
        name: Case(lambda a, f=f: power(f(a)), x)
        for x, names in ((LINE, "fft ifft rfft hfft ihfft"), (ROWS, "fft2 ifft2 rfft2 fftn rfftn"))
        for name, (f, _) in each("fft", scipy.fft, names, x).items()
    },
    "fft.irfft": Case(lambda a: scipy.fft.irfft(scipy.fft.rfft(a) * 2), LINE),
    "fft.fftshift": Case(lambda a: scipy.fft.fftshift(a) * a, LINE),
    "fft.fht": Case(lambda a: scipy.fft.fht(a, 0.1, 0.5), LINE),
    "integrate.trapezoid": Case(lambda a: scipy.integrate.trapezoid(pair(a)), LINE),
    "integrate.cumulative_trapezoid": Case(
        lambda a: scipy.integrate.cumulative_trapezoid(pair(a)), LINE
    ),
    "integrate.cumulative_simpson": Case(
        lambda a: scipy.integrate.cumulative_simpson(pair(a), dx=0.1), LINE
    ),
    "integrate.tanhsinh": Case(
        lambda a: scipy.integrate.tanhsinh(lambda t: t * t, a * 0, a).integral, LINE
    ),
    "integrate.cubature": Case(
        lambda a: (
            scipy.integrate.cubature(
                lambda t: of(t).sum(t * t, axis=-1), a[:2], a[2:4] + 1
            ).estimate
        ),
        LINE,
    ),
    "differentiate.derivative": Case(
        lambda a: scipy.differentiate.derivative(lambda t: t**3, a).df, LINE
    ),
    "differentiate.jacobian": Case(
        lambda a: scipy.differentiate.jacobian(lambda t: t**3, a[:3]).df, LINE
    ),
    **each("optimize", scipy.optimize, "rosen rosen_der rosen_hess", LINE),
    "optimize.rosen_hess_prod": Case(lambda a: scipy.optimize.rosen_hess_prod(a, pair(a)), LINE),
    "optimize.elementwise.find_root": Case(
        lambda a: (
            scipy.optimize.elementwise.find_root(
                lambda t, c: t * t - c, (a * 0, a * 0 + 2), args=(a,)
            ).x
        ),
        LINE,
    ),
    "linalg.block_diag": Case(lambda a: scipy.linalg.block_diag(a[:2, :], a[2:, :]), ROWS),
    "linalg.fiedler": Case(scipy.linalg.fiedler, LINE),
    "linalg.orthogonal_procrustes": Case(
        lambda a: scipy.linalg.orthogonal_procrustes(a[:, :2], a[:, 2:])[0], ROWS
    ),
    "cluster.vq.whiten": Case(scipy.cluster.vq.whiten, ROWS),
    "spatial.transform.Rotation.apply": Case(
        lambda a: Rotation.from_rotvec(a[:3]).apply(a[3:6]), LINE
    ),
    "spatial.transform.Rotation.from_euler": Case(
        lambda a: Rotation.from_euler("xyz", a[:3]).as_matrix(), LINE
    ),
    "spatial.transform.Rotation.from_matrix": Case(
        lambda a: Rotation.from_matrix(turn(a).as_matrix()).as_quat(), LINE
    ),
    "spatial.transform.Rotation.from_mrp": Case(lambda a: Rotation.from_mrp(a[:3]).as_quat(), LINE),
    "spatial.transform.Rotation.as_rotvec": Case(lambda a: turn(a).as_rotvec(), LINE),
    "spatial.transform.Rotation.as_euler": Case(lambda a: turn(a).as_euler("xyz"), LINE),
    "spatial.transform.Rotation.as_mrp": Case(lambda a: turn(a).as_mrp(), LINE),
    "spatial.transform.Rotation.__mul__": Case(lambda a: (turn(a) * turn(a[4:8])).as_quat(), LINE),
    "spatial.transform.Rotation.__pow__": Case(lambda a: (turn(a) ** 0.3).as_quat(), LINE),
    "spatial.transform.Rotation.inv": Case(lambda a: turn(a).inv().as_quat(), LINE),
    "spatial.transform.Rotation.magnitude": Case(lambda a: turn(a).magnitude(), LINE),
    "spatial.transform.Rotation.mean": Case(lambda a: Rotation.from_quat(a).mean().as_quat(), ROWS),
    "spatial.transform.Rotation.align_vectors": Case(
        lambda a: Rotation.align_vectors(a[:, :3], a[:, :3] * 2 + a[:, 1:])[0].as_quat(), ROWS
    ),
    "spatial.transform.Slerp": Case(
        lambda a: Slerp(like(a, [0.0, 1.0]), Rotation.from_quat(a[:2, :]))(
            like(a, [0.3])
        ).as_quat(),
        ROWS,
    ),
    "spatial.transform.RigidTransform.apply": Case(lambda a: motion(a).apply(a[8:11]), LINE),
    "spatial.transform.RigidTransform.from_exp_coords": Case(
        lambda a: RigidTransform.from_exp_coords(a[:6]).as_matrix(), LINE
    ),
    "spatial.transform.RigidTransform.as_dual_quat": Case(lambda a: motion(a).as_dual_quat(), LINE),
    "spatial.transform.RigidTransform.inv": Case(lambda a: motion(a).inv().as_matrix(), LINE),
    "spatial.transform.RigidTransform.__mul__": Case(
        lambda a: (motion(a) * motion(a[4:])).as_matrix(), LINE
    ),
    "spatial.transform.RigidTransform.__pow__": Case(
        lambda a: (motion(a) ** 0.5).as_matrix(), LINE
    ),
}

SKLEARN: dict[str, Case] = dispatched(
    {
        **{
            name: Case(lambda a, f=f: f(pair(a)), ROWS)
            for name, (f, _) in each("utils.extmath", extmath, "softmax row_norms", ROWS).items()
        },
        **{
            f"metrics.{name}(multioutput='raw_values')": Case(
                lambda a, name=name: getattr(metrics, name)(
                    like(a, OTHER.reshape(6, 2)),
                    of(a).reshape(a, (6, 2)),
                    multioutput="raw_values",
                ),
                LINE,
            )
            for name in ERRORS.split()
        },
        **{
            f"metrics.pairwise.{name}": Case(
                lambda a, name=name: getattr(pairwise, name)(a, pair(a)), ROWS
            )
            for name in KERNELS.split()
        },
        "metrics.pairwise_distances": Case(lambda a: metrics.pairwise_distances(a, pair(a)), ROWS),
        **{
            f"preprocessing.{scaler.__name__}": Case(
                lambda a, scaler=scaler: scaler().fit_transform(a) ** 2, ROWS
            )
            for scaler in (
                preprocessing.MinMaxScaler,
                preprocessing.MaxAbsScaler,
                preprocessing.Normalizer,
                preprocessing.PolynomialFeatures,
            )
        },
        **{
            name: Case(lambda a, f=f: f(a) ** 2, ROWS)
            for name, (f, _) in each(
                "preprocessing", preprocessing, "minmax_scale maxabs_scale normalize", ROWS
            ).items()
        },
        "preprocessing.MinMaxScaler.inverse_transform": Case(
            lambda a: preprocessing.MinMaxScaler().fit(pair(a)).inverse_transform(a), ROWS
        ),
        "preprocessing.KernelCenterer": Case(
            lambda a: preprocessing.KernelCenterer().fit_transform(a @ a.T), ROWS
        ),
        "preprocessing.Binarizer": Case(
            lambda a: preprocessing.Binarizer(threshold=0.5).fit_transform(a) * a, ROWS
        ),
        "linear_model.Ridge.coef_": Case(lambda a: ridge(a).coef_, ROWS),
        "linear_model.Ridge.predict": Case(lambda a: ridge(a).predict(pair(a)), ROWS),
        "linear_model.RidgeCV": Case(
            lambda a: linear_model.RidgeCV(alphas=(0.1, 1.0)).fit(a, like(a, TARGET)).coef_, ROWS
        ),
        "decomposition.PCA.explained_variance_": Case(
            lambda a: principal(a).explained_variance_, ROWS
        ),
        "decomposition.PCA.transform": Case(lambda a: principal(a).transform(a) ** 2, ROWS),
        "decomposition.PCA.inverse_transform": Case(
            lambda a: principal(a).inverse_transform(principal(a).transform(a)), ROWS
        ),
        "decomposition.PCA.score_samples": Case(lambda a: principal(a).score_samples(a), ROWS),
        "discriminant_analysis.LinearDiscriminantAnalysis.decision_function": Case(
            lambda a: lda(a).decision_function(a), ROWS
        ),
        "discriminant_analysis.LinearDiscriminantAnalysis.predict_log_proba": Case(
            lambda a: lda(a).predict_log_proba(a), ROWS
        ),
        "naive_bayes.GaussianNB.predict_joint_log_proba": Case(
            lambda a: bayes(a).predict_joint_log_proba(a), ROWS
        ),
        "naive_bayes.GaussianNB.predict_proba": Case(lambda a: bayes(a).predict_proba(a), ROWS),
        "kernel_approximation.Nystroem": Case(
            lambda a: (
                kernel_approximation.Nystroem(n_components=4, random_state=0).fit_transform(a) ** 2
            ),
            ROWS,
        ),
        "model_selection.train_test_split": Case(
            lambda a: model_selection.train_test_split(a, random_state=0)[0] ** 2, ROWS
        ),
        "utils.check_array": Case(lambda a: check_array(a) ** 2, ROWS),
    }
)

NUMPY_ONLY: dict[str, Case] = {
    **each("scipy.special", special, "erf expit gamma gammaln logit ndtr ndtri psi sinc i0", LINE),
    **each("scipy.linalg", scipy.linalg, "inv det cholesky norm expm pinv", POSITIVE_DEFINITE),
    **each("scipy.ndimage", ndimage, "laplace sum", ROWS),
    "scipy.special.kl_div": Case(lambda a: special.kl_div(a, a + 1), LINE),
    "scipy.ndimage.gaussian_filter": Case(lambda a: ndimage.gaussian_filter(a, 1.0), ROWS),
    "scipy.fft.dct": Case(scipy.fft.dct, LINE),
    "scipy.signal.savgol_filter": Case(lambda a: signal.savgol_filter(a, 5, 2), LINE),
    "scipy.signal.welch": Case(lambda a: signal.welch(a, nperseg=8)[1], LINE),
    "scipy.integrate.simpson": Case(scipy.integrate.simpson, LINE),
    "scipy.interpolate.CubicSpline": Case(
        lambda a: scipy.interpolate.CubicSpline(like(a, np.arange(12.0)), a)(0.5), LINE
    ),
    "scipy.cluster.vq.kmeans": Case(lambda a: scipy.cluster.vq.kmeans(a, a[:2, :], rng=0)[0], ROWS),
    "scipy.stats.ttest_1samp": Case(lambda a: stats.ttest_1samp(a, 0.3).statistic, LINE),
    "scipy.stats.pearsonr": Case(lambda a: stats.pearsonr(a, like(a, OTHER)).statistic, LINE),
    "scipy.stats.norm.logpdf": Case(stats.norm.logpdf, LINE),
}
"""They convert what they are given to NumPy, all of them or only for a p-value."""

PYTHON_FLOATS: dict[str, Case] = dispatched(
    {
        f"sklearn.metrics.{name}": Case(
            lambda a, name=name: getattr(metrics, name)(like(a, OTHER), a), LINE
        )
        for name in f"{ERRORS} mean_poisson_deviance mean_gamma_deviance max_error".split()
    }
)
"""Metrics that return a Python float, by the design of scikit-learn."""
