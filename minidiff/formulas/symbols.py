"""The sympy symbols of all formulas. Each is called as in the code; `formula.LATEX` holds the letters in which they are printed.

Every public name of this module is part of the notation, so each part of the book imports all of them with `*`.
"""

import sympy as sp


def _positive(names: str) -> tuple[sp.Symbol, ...]:
    return sp.symbols(names, positive=True)


def _real(names: str) -> tuple[sp.Symbol, ...]:
    return sp.symbols(names, real=True)


# schedules
T, t, D = _positive("T t D")
beta_t, beta_1, beta_T, alpha_t, alpha_prev = _positive("beta_t beta_1 beta_T alpha_t alpha_prev")
abar_t, abar_prev, abar_s, abar_1, abar_T = _positive("alpha_bar_t alpha_bar_prev alpha_bar_s alpha_bar_1 alpha_bar_T")
signal_t, signal_s, noise_t, noise_s, kept, added = _positive("signal_t signal_s noise_t noise_s kept added")
karras_sigma_t, karras_sigma_s = _positive("karras_sigma_t karras_sigma_s")
offset, tau, shift, sigma_min, sigma_max = _positive("offset tau shift sigma_min sigma_max")
start, end = _real("start end")

# Gaussians
x, y, a, b, mean, mean_1, mean_2 = _real("x y a b mean mean_1 mean_2")
sigma, sigma_1, sigma_2, noise_sigma, variance = _positive("sigma sigma_1 sigma_2 noise_sigma variance")

# samples and predictions
x_0, x_t, x_s, x_prev, x_prev2, eps, z = _real("x_0 x_t x_s x_prev x_prev2 eps z")
x_0_pred, eps_pred, v_pred, u_pred = _real("x_0_pred eps_pred v_pred u_pred")

# losses and training
gamma, steps, warmup, decay = _positive("gamma steps warmup decay")
average, current = _real("average current")

# samplers
eta, step, last_step = _positive("eta step last_step")
x_0_last, eps_1, eps_2, eps_3, eps_s = _real("x_0_last eps_1 eps_2 eps_3 eps_s")

# guidance
eps_null, eps_cond, eps_worse, scale, gradient = _real("eps_null eps_cond eps_worse scale gradient")

# sums over arrays
c, d, h, i, j, n, s = sp.symbols("c d h i j n s", integer=True, positive=True)
beta, q, k, value, w, m, u, points, L, similarity, target = map(
    sp.IndexedBase, ("beta", "q", "k", "value", "w", "m", "u", "p", "L", "S", "P")
)


def sum_over(index: sp.Symbol, count: sp.Symbol, term: sp.Expr) -> sp.Sum:
    """The sum of the term over index = 0 … count - 1."""
    last = count - 1
    with sp.evaluate(True):  # without evaluation, sympy multiplies each term by 1
        return sp.Sum(term, (index, 0, last))
