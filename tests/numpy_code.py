"""NumPy code as text: expressions that are run by NumPy, on traced arrays, and by JAX for the reference."""

import re

import numpy as np

R = np.random.default_rng(5)
S = R.normal(size=(4, 4))
ARRAYS = {
    "x": R.normal(size=(3, 4)),
    "y": R.normal(size=(3, 4)),
    "p": np.abs(R.normal(size=(3, 4))) + 0.3,
    "u": R.uniform(-0.8, 0.8, size=(3, 4)),
    "v": R.normal(size=(5,)),
    "w": R.normal(size=(3,)),
    "m": S + 4 * np.eye(4),
    "h": S @ S.T + np.eye(4),
    "c": R.normal(size=(2, 3, 4)),
    "s": np.asarray(0.7),
    "z": R.normal(size=(4,)) + 1j * R.normal(size=(4,)),
    "g": np.sort(R.uniform(0.0, 3.0, size=(6,))),
    "nan": np.asarray([[1.0, np.nan, 3.0], [-2.0, 0.5, np.nan]]),
}
"""The arrays of the expressions below, by name."""

EXPRESSIONS = """
np.sin(x); np.cos(x); np.tan(u); np.arcsin(u); np.arccos(u); np.arctan(x); np.arctan2(x, y)
np.sinh(x); np.cosh(x); np.tanh(x); np.arcsinh(x); np.arccosh(1 + p); np.arctanh(u)
np.exp(x); np.exp2(x); np.expm1(x); np.log(p); np.log2(p); np.log10(p); np.log1p(p)
np.logaddexp(x, y); np.logaddexp2(x, y); np.sqrt(p); np.cbrt(x); np.square(x); np.reciprocal(p)
np.absolute(x); np.abs(z); np.fabs(x); np.negative(x); np.positive(x); np.sign(x) * x
np.conjugate(z); np.conj(z) * z; np.real(z); np.imag(z); np.angle(z); np.angle(z, deg=True); np.real(x)
np.imag(x) + x; np.add(x, y); np.add(x, 2.0); np.subtract(2.0, x); np.multiply(x, w[:, None])
np.divide(x, p); np.true_divide(1.0, p); np.power(p, y); np.power(x, 3); np.float_power(p, 2.5)
np.remainder(x, p); np.mod(x, 0.7); np.fmod(x, p); np.divmod(x, p)[1]; np.modf(3 * x)[0]
np.hypot(x, y); np.copysign(x, y); np.maximum(x, y); np.minimum(x, 0.1); np.fmax(x, y); np.fmin(x, y)
np.heaviside(x, 0.5) * x; np.ldexp(x, np.asarray([1, 2, 0, -1])); np.degrees(x); np.radians(x)
np.deg2rad(x); np.rad2deg(x); np.sinc(x); np.sinc(np.asarray([0.0, 1.0, 0.5]) * s)
np.floor(x) * x; np.ceil(x) * x; np.trunc(x) * x; np.fix(x) * x; np.rint(x) * x; np.round(x, 1) * x
np.around(x) * x; np.clip(x, -0.5, 0.5); np.clip(x, None, y)
np.clip(np.asarray([[-3.0, 0.1, 5.0, 0.0]]), x, x + p); np.clip(x, min=-0.3)
np.nan_to_num(nan) * 2; np.nan_to_num(nan, nan=7.0); np.nan_to_num(x)
np.where(x > 0, x, y); np.where(x > 0, x, 0.0); np.where(np.asarray([1, 0, 2, 0]), x, y)
np.select([x > 0.5, x > -0.5], [x * 2, y], 0.0); np.floor_divide(x, p) * x
np.matmul(x, m); np.vecdot(x, y); np.matvec(m, z); np.vecmat(z, m); x @ m; m @ z; w @ x
np.dot(x, m); np.dot(w, x); np.dot(v, v); np.dot(x, s); np.dot(2.0, x); np.dot(c, m); np.dot(x.T, c)
np.inner(x, y); np.inner(v, v); np.inner(c, m); np.inner(x, 2.0); np.outer(v, w); np.outer(x, w)
np.vdot(v, v); np.vdot(z, z * z); np.kron(x, w); np.kron(w, v); np.kron(x, m); np.tensordot(c, m, axes=1)
np.tensordot(c, c, axes=([0, 1], [0, 1])); np.tensordot(x, y); np.cross(w, x[:, 0]); np.cross(x, y, axis=0)
np.trace(m); np.trace(c, 1, 1, 2); np.diagonal(m); np.diagonal(c, 0, 0, 2)
np.sum(x); np.sum(x, 0); np.sum(x, axis=1, keepdims=True); np.sum(c, axis=(0, 2)); np.sum(x, initial=2.0)
np.sum(x, where=x > 0); np.prod(x); np.prod(x, axis=1); np.prod(x, where=x > 0, initial=2.0)
np.max(x); np.max(x, 1); np.amax(x, axis=0); np.max(x, initial=0.0); np.max(x, where=x < 0, initial=-9.0)
np.min(x, axis=1); np.amin(x); np.min(x, keepdims=True); np.ptp(x); np.ptp(x, axis=1)
np.mean(x); np.mean(x, 0); np.mean(c, axis=(0, 1)); np.mean(x, where=x > -0.5); np.var(x); np.var(x, axis=1)
np.var(x, axis=0, ddof=1); np.var(z); np.std(x); np.std(x, axis=0, ddof=1, keepdims=True); np.std(z)
np.average(x); np.average(x, axis=1); np.average(x, weights=p); np.average(x, axis=0, weights=p[:, 0])
np.median(x); np.median(x, axis=0); np.median(x, axis=1, keepdims=True); np.median(v)
np.quantile(x, 0.3); np.quantile(x, [0.1, 0.9], axis=1); np.quantile(c, 0.25, axis=(0, 2))
np.percentile(x, 40); np.percentile(x, [25, 50], axis=0, keepdims=True)
np.nansum(nan); np.nansum(nan, axis=0); np.nanprod(nan, axis=1); np.nanmean(nan, axis=0); np.nanmax(nan)
np.nanmin(nan, axis=1); np.nanvar(nan, axis=1); np.nanstd(nan); np.nanvar(nan, ddof=1)
np.nancumsum(nan, axis=1); np.nancumprod(nan)
np.cumsum(x); np.cumsum(x, axis=1); np.cumprod(x); np.cumprod(x, axis=0); np.diff(x); np.diff(x, 2, axis=1)
np.diff(x, axis=0, prepend=1.0, append=y[:1]); np.ediff1d(v); np.ediff1d(x, to_begin=1.0, to_end=[2.0, 3.0])
np.cumulative_sum(v); np.cumulative_prod(v); np.sort(x); np.sort(x, axis=None); np.sort(x, 0)
np.cov(x); np.cov(x, rowvar=False); np.cov(v, v * v); np.cov(x, bias=True); np.corrcoef(x); np.corrcoef(v, v * v)
np.reshape(x, (2, 6)); np.reshape(x, -1); np.reshape(x, (4, 3), order="F"); np.ravel(x); np.ravel(x, order="F")
np.transpose(x); np.transpose(c, (1, 2, 0)); np.permute_dims(c, (2, 0, 1)); np.swapaxes(c, 0, 2)
np.moveaxis(c, 0, -1); np.rollaxis(c, 2); np.matrix_transpose(c); np.squeeze(x[None, :, None]); np.squeeze(c[:1], 0)
np.expand_dims(x, 0); np.expand_dims(x, (0, -1)); np.flip(x); np.flip(x, 0); np.fliplr(x); np.flipud(x)
np.rot90(x); np.rot90(x, 2); np.roll(x, 2); np.roll(x, (1, 2), (0, 1)); np.repeat(x, 2); np.repeat(x, [1, 0, 2], axis=0)
np.tile(x, 2); np.tile(x, (2, 1)); np.broadcast_to(w[:, None], (3, 4)); np.broadcast_arrays(x, w[:, None])[1]
np.meshgrid(v, w)[0]; np.meshgrid(v, w, indexing="ij")[1]; np.tril(m); np.triu(m, 1); np.copy(x); np.astype(x, float)
np.take(v, [0, 0, 3]); np.take(x, [1, -1], axis=1); np.take(x, [[0, 1], [2, 2]], axis=0); np.take(x, 5)
np.take_along_axis(x, np.argsort(x, axis=1), axis=1); np.take_along_axis(x, np.asarray([0, 5]), axis=None)
np.concatenate([x, y]); np.concatenate((x, y, x), axis=1); np.concatenate([x, v], axis=None)
np.concat([x, y]); np.stack([x, y]); np.stack([x, y], axis=-1); np.vstack([x, y]); np.vstack([v, v]); np.hstack([x, y])
np.hstack([v, w]); np.dstack([x, y]); np.dstack([v, v]); np.column_stack([w, x]); np.block([[x, y], [y, x]])
np.block([x, y]); np.append(x, v); np.append(x, y, axis=0); np.append(v, 3.0); np.atleast_1d(s); np.atleast_2d(v)
np.atleast_3d(x); np.atleast_3d(v); np.split(v, [2, 3])[0]; np.split(x, 2, axis=1)[1]; np.array_split(v, 3)[0]
np.array_split(x, [1, 9, 2])[1]; np.vsplit(x, 3)[2]; np.hsplit(x, 2)[0]; np.hsplit(v, [1])[1]; np.dsplit(c, 2)[1]
np.unstack(x)[1]; np.unstack(x, axis=1)[0]
np.zeros_like(x) + x; np.ones_like(x) * x; np.full_like(x, 2.0) * x; np.full_like(x, s); np.full_like(x, s, shape=(2,))
np.diag(v); np.diag(m); np.diag(v, 1); np.diag(m, -1); np.diagflat(x); np.delete(x, 1, axis=0); np.delete(v, [0, 2])
np.compress([True, False, True], x, axis=0); np.extract(x > 0, x); np.resize(x, (5, 3))
np.pad(x, 1); np.pad(x, ((1, 0), (0, 2))); np.pad(v, 2, constant_values=3.0); np.pad(x, (1, 2), mode="edge")
np.pad(v, 3, mode="reflect"); np.pad(v, 7, mode="reflect"); np.pad(x, 2, mode="symmetric"); np.pad(v, 8, mode="wrap")
np.linspace(s, 2.0, 5); np.linspace(0.0, s, 4, endpoint=False); np.linspace(w, 2 * w, 3)
np.logspace(s, 1.5, 4); np.geomspace(s, 3.0, 5); np.trapezoid(v); np.trapezoid(x, dx=0.5, axis=0)
np.trapezoid(g, np.cumsum(g)); np.trapezoid(x, w, axis=0); np.gradient(v)
np.gradient(x, 0.5, axis=1); np.gradient(x)[0]; np.gradient(v, np.cumsum(g)[:5])
np.interp(v, np.sort(w), w); np.interp(x, g, g * g); np.interp(x, g, np.sin(g), left=1.0, right=2.0)
np.interp(x, xp=g, fp=g * g)
np.convolve(v, w); np.convolve(w, v); np.convolve(v, w, "same"); np.convolve(v, w, "valid")
np.convolve(v, v[:2], "same")
np.correlate(v, w); np.correlate(v, w, "full"); np.polyval(w, x); np.vander(v, 3); np.vander(w)
np.einsum("ij,jk->ik", x, m); np.einsum("ij,ij->", x, y); np.einsum("ij->ji", x); np.einsum("ii->i", m)
np.einsum("ii", m); np.einsum("ij,kj", x, y); np.einsum("...ij,jk->...ik", c, m); np.einsum("i,j->ij", v, w)
np.einsum("abc,abd->cd", c, c); np.einsum("ij,jk,kl->il", x, m, h); np.einsum("bij,bik->bjk", c, c, optimize=True)
np.einsum("ij,i->j", x, w); np.einsum("i...->...", c); np.einsum("ijj->i", c[:, :, :3]); np.einsum("ij,j", m, z)
np.linalg.norm(x); np.linalg.norm(x, axis=1); np.linalg.norm(v, 1); np.linalg.norm(v, 3); np.linalg.norm(v, np.inf)
np.linalg.norm(m, "nuc"); np.linalg.norm(m, 2); np.linalg.norm(c, axis=(0, 1)); np.linalg.norm(x, keepdims=True)
np.linalg.norm(m, 1); np.linalg.norm(c, "fro", (1, 2), keepdims=True); np.linalg.vector_norm(x, axis=0)
np.linalg.matrix_norm(c); np.linalg.det(m); np.linalg.inv(m); np.linalg.solve(m, z); np.linalg.solve(m, h)
np.linalg.slogdet(m)[1]; np.linalg.cholesky(h + h.T); np.linalg.eigh(h + h.T)[0]; np.linalg.eigvalsh(h + h.T)
np.linalg.svdvals(x)
np.linalg.eigvalsh(h + h.T, UPLO="U"); np.linalg.svd(x, compute_uv=False); np.linalg.svd(x, full_matrices=False)[1]
np.linalg.pinv(x); np.linalg.matrix_power(m, 3); np.linalg.matrix_power(m, -1); np.linalg.multi_dot([x, m, h])
np.linalg.qr(m)[1] ** 2; np.linalg.qr(m, mode="r") ** 2; np.linalg.cond(m); np.linalg.cond(m, 1); np.linalg.outer(v, w)
np.linalg.cross(w, 2 * w * w); np.linalg.tensordot(c, m, axes=1); np.linalg.vecdot(x, y); np.linalg.matmul(x, m)
np.linalg.trace(c); np.linalg.diagonal(m); np.linalg.matrix_transpose(x); np.real(np.sum(np.linalg.eig(m)[0] ** 3))
np.real(np.sum(np.linalg.eigvals(m) ** 3))
np.abs(np.fft.fft(v)) ** 2; np.real(np.fft.ifft(z)); np.abs(np.fft.rfft(v, 8)) ** 2; np.fft.irfft(z); np.fft.irfft(z, 5)
np.abs(np.fft.fft2(c)) ** 2; np.real(np.fft.ifft2(x)); np.abs(np.fft.fftn(c)) ** 2; np.imag(np.fft.ifftn(c * 1j))
np.abs(np.fft.rfft2(x)) ** 2; np.fft.irfft2(x + 0j); np.abs(np.fft.rfftn(c, norm="ortho")) ** 2; np.fft.irfftn(x + 0j)
np.fft.hfft(z); np.abs(np.fft.ihfft(v)) ** 2; np.fft.fftshift(v); np.fft.ifftshift(x, axes=0)
np.add.reduce(x); np.add.reduce(x, axis=1); np.multiply.reduce(x, axis=None); np.maximum.reduce(x, axis=1)
np.minimum.reduce(x); np.add.accumulate(x, axis=1); np.multiply.accumulate(v); np.multiply.outer(v, w)
np.subtract.outer(x, w); np.power.outer(p, w)
2.0 * x; x / np.float64(2.0); np.float64(3.0) ** x; np.asarray([1.0, 2.0, 3.0, 4.0]) - x; x[0] % 0.3; abs(x)
x.reshape(2, 6); x.reshape((4, 3)); x.reshape(-1); x.T; x.transpose(); c.transpose(1, 0, 2); c.transpose((2, 0, 1))
x.ravel(); x.flatten(); x.sum(); x.sum(0); x.sum(axis=1, keepdims=True); x.mean(); x.mean(axis=0); x.std()
x.var(ddof=1); x.max(); x.min(axis=1); x.prod(); x.cumsum(); x.cumprod(axis=0); x.dot(m); v.dot(v); x.clip(-0.5, 0.5)
x.round(1) * x; x.copy(); x.astype(float)
z.conj() * z; z.conjugate(); z.real; z.imag; x.real; x.squeeze(); x[None].squeeze(0)
x.swapaxes(0, 1); x.repeat(2, axis=0); x.take(np.asarray([0, 2]), axis=1); m.diagonal(); m.trace(); c.mT
"""

WITHOUT_JAX = {
    "np.array_split(x, [1, 9, 2])[1]": "x[1:]",
    "np.compress([True, False, True], x, axis=0)": "x[np.asarray([0, 2])]",
    "np.delete(v, [0, 2])": "v[np.asarray([1, 3, 4])]",
    "np.divmod(x, p)[1]": "np.remainder(x, p)",
    "np.ediff1d(x, to_begin=1.0, to_end=[2.0, 3.0])": (
        "np.concatenate([np.asarray([1.0]), np.diff(np.ravel(x)), np.asarray([2.0, 3.0])])"
    ),
    "np.fix(x) * x": "np.trunc(x) * x",
    'np.linalg.qr(m, mode="r") ** 2': "np.linalg.qr(m)[1] ** 2",
    "np.nan_to_num(nan) * 2": "np.where(np.isnan(nan), 0.0, nan) * 2",
    "np.percentile(x, [25, 50], axis=0, keepdims=True)": (
        "np.percentile(x, np.asarray([25, 50]), axis=0, keepdims=True)"
    ),
    "np.power.outer(p, w)": "p[:, :, None] ** w",
    "np.quantile(x, [0.1, 0.9], axis=1)": "np.quantile(x, np.asarray([0.1, 0.9]), axis=1)",
    "np.real(np.sum(np.linalg.eig(m)[0] ** 3))": "np.trace(m @ m @ m)",
    "np.real(np.sum(np.linalg.eigvals(m) ** 3))": "np.trace(m @ m @ m)",
    "np.repeat(x, [1, 0, 2], axis=0)": "x[np.asarray([0, 2, 2])]",
    "np.rollaxis(c, 2)": "np.moveaxis(c, 2, 0)",
    "np.take(v, [0, 0, 3])": "v[np.asarray([0, 0, 3])]",
    "np.take(x, [1, -1], axis=1)": "x[:, np.asarray([1, -1])]",
    "np.take(x, [[0, 1], [2, 2]], axis=0)": "x[np.asarray([[0, 1], [2, 2]])]",
}
"""Another form for JAX where it lacks the function or differs."""


def expressions():
    return [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";")]


def function_of(expression):
    """The expression as `f(xp, *arrays)`, where `np` is NumPy, or JAX's NumPy for the reference, and its arrays."""
    names = [n for n in ARRAYS if re.search(rf"(?<![\w.\"]){n}(?![\w\"(])", expression)]

    def f(xp, *values):
        if "jax" in xp.__name__:
            import jax.numpy as module

            text = WITHOUT_JAX.get(expression, expression)
        else:
            module, text = np, expression
        return eval(text, {"np": module}, dict(zip(names, values, strict=True)))

    return f, [ARRAYS[n] for n in names]
