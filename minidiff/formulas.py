r"""Every formula that the project teaches, once: as a sympy expression, beside the function that computes it.

The LaTeX that notebooks print is generated from the expression; a test lambdifies the expression and holds it against the function at
random points; another sees to it that each id is derived in a notebook cell tagged `formula:ID`, and that nothing else is tagged.
"""

from collections.abc import Callable
from types import SimpleNamespace

import sympy as sp
import torch
from torch import Tensor

from minidiff import guidance, samplers, training
from minidiff.diffusion import forward, gaussians, losses, oracles, posterior, prediction, schedules
from minidiff.expressions import Formula
from minidiff.extensions import alternatives
from minidiff.nets import Condition, attention, embeddings
from minidiff.text import contrastive, encoder
from minidiff.training import averaging


def _symbols(names: str) -> tuple[sp.Symbol, ...]:
    return sp.symbols(names, positive=True)


beta_t, alpha_t, alpha_prev, abar_t, abar_prev, abar_s, abar_1, abar_T = _symbols(
    "beta_t alpha_t alpha_prev alpha_bar_t alpha_bar_prev alpha_bar_s alpha_bar_1 alpha_bar_T"
)
x, y, x_0, x_t, x_s, x_prev, x_prev2 = sp.symbols("x y x_0 x_t x_s x_prev x_prev2", real=True)
eps, eps_pred, x_0_pred, v_pred, z, a, b = sp.symbols("eps eps_pred x_0_pred v_pred z a b", real=True)
mean, mean_1, mean_2, start, end, average, current = sp.symbols(
    "mean mean_1 mean_2 start end average current", real=True
)
eps_null, eps_cond, eps_worse, scale, gradient = sp.symbols("eps_null eps_cond eps_worse scale gradient", real=True)
sigma, sigma_1, sigma_2, noise_sigma, variance, tau, eta, gamma = _symbols(
    "sigma sigma_1 sigma_2 noise_sigma variance tau eta gamma"
)
beta_1, beta_T, offset, t, T, D, steps, warmup, decay = _symbols("beta_1 beta_T offset t T D steps warmup decay")
eps_1, eps_2, eps_3, eps_s, x_0_last = sp.symbols("eps_1 eps_2 eps_3 eps_s x_0_last", real=True)
step, last_step, karras_sigma_t, karras_sigma_s = _symbols("step last_step karras_sigma_t karras_sigma_s")
signal_t, signal_s, noise_t, noise_s, kept, added = _symbols("signal_t signal_s noise_t noise_s kept added")
shift, sigma_min, sigma_max = _symbols("shift sigma_min sigma_max")
u_pred = sp.Symbol("u_pred", real=True)
d, n, i, j, c, h, s = sp.symbols("d n i j c h s", integer=True, positive=True)
beta, q, k, value, w, m, u, points, L, fit, target = map(
    sp.IndexedBase, ("beta", "q", "k", "value", "w", "m", "u", "p", "L", "S", "P")
)
DDPM, VDM = "Ho et al. 2020", "Kingma et al. 2021"


def _one(number: float) -> Tensor:
    return torch.full((1, 1), float(number), dtype=torch.float64)


def _sum(term: sp.Expr, index: sp.Symbol, count: sp.Symbol) -> sp.Sum:
    last = count - 1
    with sp.evaluate(True):  # else sympy multiplies each term by 1
        return sp.Sum(term, (index, 0, last))


def _abar_cosine(at: sp.Expr) -> sp.Expr:
    return sp.cos(sp.pi / 2 * ((at / T + offset) / (1 + offset))) ** 2


def _logistic(at: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-(at / tau)))


def _softmax(scores: Callable[[sp.Expr], sp.Expr], at: sp.Expr) -> sp.Expr:
    return sp.exp(scores(at)) / _sum(sp.exp(scores(i)), i, n)


def _fit(key: sp.Expr) -> sp.Expr:
    return _sum(q[c] * k[key, c], c, d) / sp.sqrt(d)


def _vlb(p: SimpleNamespace, x_0_pred: float, column: int, **choices: str) -> Tensor:
    """One term of the bound for one number x_0, where the denoiser answers x_0_pred whatever it is shown."""
    predict = lambda x_t, t: prediction.from_x_0(p.schedule, x_t, torch.full_like(x_t, x_0_pred), t)  # noqa: E731
    denoise = prediction.Denoiser(p.schedule, predict)
    generator = torch.Generator().manual_seed(0)
    return losses.vlb_terms(p.schedule, _one(p.x_0), denoise, generator, **choices)[0, column]


with sp.evaluate(False):  # sympy must not rearrange what a reader is to recognise
    _posterior_mean = (
        sp.sqrt(abar_prev) * beta_t / (1 - abar_t) * x_0 + sp.sqrt(alpha_t) * (1 - abar_prev) / (1 - abar_t) * x_t
    )
    _posterior_variance = (1 - abar_prev) / (1 - abar_t) * beta_t
    _snr = abar_t / (1 - abar_t)
    _stretch = sp.sqrt(abar_s / abar_t)
    _extrapolated = x_0_pred + step / (2 * last_step) * (x_0_pred - x_0_last)
    _down = karras_sigma_s**2 / karras_sigma_t
    _sigma_t = eta * sp.sqrt((1 - abar_s) / (1 - abar_t)) * sp.sqrt(1 - abar_t / abar_s)

    # fmt: off
    FORMULAS = [
        # 01: Gaussians
        Formula("gaussians.log_density", r"\log \mathcal N(x; \mu, \sigma^2)", -((sp.log(2 * sp.pi * sigma**2) + (x - mean) ** 2 / sigma**2) / 2),
                gaussians.log_density, lambda p: gaussians.log_density(p.x, p.mean, p.sigma**2), "Bishop 2006, eq. 1.46", "01"),
        Formula("gaussians.entropy", r"H[\mathcal N(\mu, \sigma^2)]", sp.log(2 * sp.pi * sp.E * sigma**2) / 2,
                gaussians.entropy, lambda p: gaussians.entropy(p.sigma**2), "Bishop 2006, eq. 1.110", "01"),
        Formula("gaussians.reparameterise", "x", mean + sigma * eps,
                gaussians.reparameterise, lambda p: gaussians.reparameterise(p.mean, p.sigma**2, p.eps), "Kingma & Welling 2014, sec. 2.4", "01"),
        Formula("gaussians.weighted_sum", r"p(a x_1 + b x_2)", (a * mean_1 + b * mean_2, a**2 * sigma_1**2 + b**2 * sigma_2**2),
                gaussians.weighted_sum, lambda p: gaussians.weighted_sum(p.a, p.mean_1, p.sigma_1**2, p.b, p.mean_2, p.sigma_2**2),
                "Bishop 2006, eq. 2.115", "01"),
        Formula("gaussians.product", r"\mathcal N_1(x)\,\mathcal N_2(x) / Z",
                ((mean_1 / sigma_1**2 + mean_2 / sigma_2**2) / (1 / sigma_1**2 + 1 / sigma_2**2), 1 / (1 / sigma_1**2 + 1 / sigma_2**2)),
                gaussians.product, lambda p: gaussians.product(p.mean_1, p.sigma_1**2, p.mean_2, p.sigma_2**2), "Bishop 2006, sec. 2.3.6", "01"),
        Formula("gaussians.condition", r"p(x \mid y)",
                (mean + a * sigma**2 / (a**2 * sigma**2 + noise_sigma**2) * (y - a * mean), sigma**2 * noise_sigma**2 / (a**2 * sigma**2 + noise_sigma**2)),
                gaussians.condition, lambda p: gaussians.condition(p.mean, p.sigma**2, p.a, p.noise_sigma**2, p.y), "Bishop 2006, eq. 2.116", "01"),
        Formula("gaussians.kl", r"D_{KL}(\mathcal N_1 \,\|\, \mathcal N_2)", sp.Add(sp.log(sigma_2**2 / sigma_1**2), (sigma_1**2 + (mean_1 - mean_2) ** 2) / sigma_2**2, -1) / 2,
                gaussians.kl, lambda p: gaussians.kl(p.mean_1, p.sigma_1**2, p.mean_2, p.sigma_2**2), "Kingma & Welling 2014, app. B", "01"),
        # 02: the forward process
        Formula("forward.step", r"q(x_t \mid x_{t-1})", (sp.sqrt(alpha_t) * x_prev, beta_t),
                forward.q_step, lambda p: forward.q_step(p.schedule, _one(p.x_prev), p.t), f"{DDPM}, eq. 2", "02"),
        Formula("forward.two_steps", r"q(x_t \mid x_{t-2})", (sp.sqrt(alpha_t * alpha_prev) * x_prev2, 1 - alpha_t * alpha_prev),
                forward.q_transition, lambda p: forward.q_transition(p.schedule, _one(p.x_prev2), p.t - 2, p.t), f"{DDPM}, eq. 2 twice", "02"),
        Formula("forward.marginal", r"q(x_t \mid x_0)", (sp.sqrt(abar_t) * x_0, 1 - abar_t),
                forward.q_marginal, lambda p: forward.q_marginal(p.schedule, _one(p.x_0), p.t), f"{DDPM}, eq. 4", "02"),
        Formula("forward.sample", "x_t", sp.sqrt(abar_t) * x_0 + sp.sqrt(1 - abar_t) * eps,
                forward.q_sample, lambda p: forward.q_sample(p.schedule, _one(p.x_0), p.t, _one(p.eps)), f"{DDPM}, sec. 3.2", "02"),
        Formula("forward.transition", r"q(x_t \mid x_s)", (sp.sqrt(abar_t / abar_s) * x_s, 1 - abar_t / abar_s),
                forward.q_transition, lambda p: forward.q_transition(p.schedule, _one(p.x_s), p.s, p.t), f"{VDM}, sec. 3.1", "02"),
        Formula("forward.step_between", r"q(x_t \mid x_s)", (signal_t / signal_s * x_s, noise_t**2 - (signal_t / signal_s) ** 2 * noise_s**2),
                forward.step_between, lambda p: _step_between(p), f"{VDM}, sec. 3.1", "02"),
        Formula("schedules.snr", r"\mathrm{SNR}(t)", _snr,
                schedules.Schedule.snr.fget, lambda p: p.schedule.snr[p.t], f"{VDM}, eq. 3", "02"),
        # 03: schedules
        Formula("schedules.alphas_cumprod", r"\bar\alpha_t", sp.Product(1 - beta[s], (s, 1, t)),
                schedules.from_betas, lambda p: schedules.from_betas(p.schedule.betas[1:]).alphas_cumprod[p.t], f"{DDPM}, below eq. 4", "03"),
        Formula("schedules.linear", r"\beta_t", beta_1 + (t - 1) / (T - 1) * (beta_T - beta_1),
                schedules.linear, lambda p: schedules.linear(p.T, p.beta_1, p.beta_T).betas[p.t], f"{DDPM}, sec. 4", "03"),
        Formula("schedules.scaled_linear", r"\beta_t", (sp.sqrt(beta_1) + (t - 1) / (T - 1) * (sp.sqrt(beta_T) - sp.sqrt(beta_1))) ** 2,
                schedules.scaled_linear, lambda p: schedules.scaled_linear(p.T, p.beta_1, p.beta_T).betas[p.t], "Rombach et al. 2022, configuration", "03"),
        Formula("schedules.cosine", r"\bar\alpha_t", _abar_cosine(t) / _abar_cosine(sp.Integer(0)),
                schedules.cosine, lambda p: schedules.cosine(p.T, p.offset).alphas_cumprod[p.t], "Nichol & Dhariwal 2021, eq. 17", "03"),
        Formula("schedules.sigmoid", r"\bar\alpha_t", (_logistic(end) - _logistic(start + t / T * (end - start))) / (_logistic(end) - _logistic(start)),
                schedules.sigmoid, lambda p: schedules.sigmoid(p.T, p.start, p.end, p.tau).alphas_cumprod[p.t], "Jabri et al. 2023; Chen 2023, alg. 1", "03"),
        Formula("schedules.zero_terminal_snr", r"\bar\alpha_t'", ((sp.sqrt(abar_t) - sp.sqrt(abar_T)) * sp.sqrt(abar_1) / (sp.sqrt(abar_1) - sp.sqrt(abar_T))) ** 2,
                schedules.NoiseSchedule.zero_terminal_snr, lambda p: p.schedule.zero_terminal_snr().alphas_cumprod[p.t], "Lin et al. 2024, alg. 1", "03"),
        Formula("schedules.flow", r"\mathrm{noise}_t = 1 - \mathrm{signal}_t", shift * (t / T) / (1 + (shift - 1) * (t / T)),
                schedules.flow, lambda p: schedules.flow(p.T, p.shift).noise[p.t], "Liu et al. 2023, eq. 1; Esser et al. 2024, eq. 23", "03"),
        Formula("schedules.variance_exploding", r"\mathrm{noise}_t", sigma_min * (sigma_max / sigma_min) ** ((t - 1) / (T - 1)),
                schedules.variance_exploding, lambda p: schedules.variance_exploding(p.T, p.sigma_min, p.sigma_max).noise[p.t], "Song et al. 2021 (SDE), app. C", "03"),
        # 04: the posterior
        Formula("posterior.mean_and_variance", r"q(x_{t-1} \mid x_t, x_0)", (_posterior_mean, _posterior_variance),
                posterior.q_posterior, lambda p: posterior.q_posterior(p.schedule, _one(p.x_0), _one(p.x_t), p.t), f"{DDPM}, eq. 7", "04"),
        Formula("posterior.between", r"q(x_s \mid x_t, x_0)", ((signal_s * added * x_0 + kept * noise_s**2 * x_t) / noise_t**2, noise_s**2 / noise_t**2 * added),
                posterior.between, lambda p: posterior.between(_one(p.x_0), _one(p.x_t), _scales(p.flow, p.t), _scales(p.flow, p.s)), f"{VDM}, app. A.2", "04"),
        Formula("posterior.mean_from_eps", r"\tilde\mu_t", (x_t - beta_t / sp.sqrt(1 - abar_t) * eps) / sp.sqrt(alpha_t),
                posterior.mean_from_eps, lambda p: posterior.mean_from_eps(p.schedule, _one(p.x_t), _one(p.eps), p.t), f"{DDPM}, eq. 11", "04"),
        # 05: the objective
        Formula("losses.prior", r"L_T", sp.Add(abar_T * x_0**2, -abar_T, -sp.log(1 - abar_T)) / 2,
                losses.vlb_terms, lambda p: _vlb(p, p.x_0_pred, 0, variance="beta", decoder="gaussian"), f"{DDPM}, eq. 5", "05"),
        Formula("losses.vlb_term", r"L_{t-1}", (abar_prev / (1 - abar_prev) - _snr) * (x_0 - x_0_pred) ** 2 / 2,
                losses.vlb_terms, lambda p: _vlb(p, p.x_0_pred, p.t, variance="posterior", decoder="gaussian"), f"{VDM}, eq. 14", "05"),
        Formula("losses.vlb_excess", r"L_{t-1}\big|_{\hat x_0 = x_0,\ \sigma_t^2 = \beta_t}", sp.Add(sp.log(beta_t / _posterior_variance), _posterior_variance / beta_t, -1) / 2,
                losses.vlb_terms, lambda p: _vlb(p, p.x_0, p.t, variance="beta", decoder="gaussian"), f"{DDPM}, eq. 5 with σ² = β", "05"),
        Formula("losses.vlb_weight", r"w_t", beta_t / (2 * alpha_t * (1 - abar_t)),
                losses.vlb_weight, lambda p: losses.vlb_weight(p.schedule, p.t), f"{DDPM}, eq. 12", "05"),
        Formula("losses.decoder_gaussian", r"L_0", (sp.log(2 * sp.pi * sigma**2) + (x_0 - mean) ** 2 / sigma**2) / 2,
                losses.gaussian_decoder, lambda p: losses.gaussian_decoder(_one(p.x_0), _one(p.mean), _one(p.sigma**2)), f"{DDPM}, eq. 5", "05"),
        Formula("losses.decoder_discrete", r"L_0", -sp.log((sp.erf((x_0 + sp.Rational(1, 255) - mean) / (sp.sqrt(2) * sigma)) - sp.erf((x_0 - sp.Rational(1, 255) - mean) / (sp.sqrt(2) * sigma))) / 2),
                losses.discrete_decoder, lambda p: losses.discrete_decoder(_one(p.x_0), _one(p.mean), _one(p.sigma**2)), f"{DDPM}, eq. 13", "05"),
        Formula("losses.bits_per_dimension", r"\mathrm{bits}", _sum(L[i], i, n) / (D * sp.log(2)),
                losses.bits_per_dimension, lambda p: losses.bits_per_dimension(torch.tensor(p.L)[None], torch.zeros(1, int(p.D), dtype=torch.float64)), f"{DDPM}, sec. 3.3", "05"),
        Formula("losses.simple", r"L_{simple}", (eps - eps_pred) ** 2,
                losses.simple, lambda p: losses.simple(_one(p.eps_pred), _one(p.eps)), f"{DDPM}, eq. 14", "05"),
        Formula("losses.huber", r"L_{Huber}", sp.Piecewise(((eps - eps_pred) ** 2 / 2, sp.Abs(eps - eps_pred) <= 1), (sp.Abs(eps - eps_pred) - sp.Rational(1, 2), True)),
                losses.simple, lambda p: losses.simple(_one(p.eps_pred), _one(p.eps), "huber"), "Huber 1964", "05"),
        # 06: what to predict
        Formula("prediction.x_0_from_eps", r"\hat x_0", (x_t - sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(abar_t),
                prediction.from_eps, lambda p: prediction.from_eps(p.schedule, _one(p.x_t), _one(p.eps_pred), p.t).x_0, f"{DDPM}, eq. 15", "06"),
        Formula("prediction.eps_from_x_0", r"\hat\varepsilon", (x_t - sp.sqrt(abar_t) * x_0_pred) / sp.sqrt(1 - abar_t),
                prediction.from_x_0, lambda p: prediction.from_x_0(p.schedule, _one(p.x_t), _one(p.x_0_pred), p.t).eps, f"{DDPM}, eq. 4", "06"),
        Formula("prediction.v", r"v_t", sp.sqrt(abar_t) * eps - sp.sqrt(1 - abar_t) * x_0,
                prediction.v, lambda p: prediction.v(p.schedule, _one(p.x_0), _one(p.eps), p.t), "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.x_0_from_v", r"\hat x_0", sp.sqrt(abar_t) * x_t - sp.sqrt(1 - abar_t) * v_pred,
                prediction.from_v, lambda p: prediction.from_v(p.schedule, _one(p.x_t), _one(p.v_pred), p.t).x_0, "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.eps_from_v", r"\hat\varepsilon", sp.sqrt(1 - abar_t) * x_t + sp.sqrt(abar_t) * v_pred,
                prediction.from_v, lambda p: prediction.from_v(p.schedule, _one(p.x_t), _one(p.v_pred), p.t).eps, "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.u", "u", eps - x_0,
                prediction.u, lambda p: prediction.u(_one(p.x_0), _one(p.eps)), "Liu et al. 2023, eq. 1, with the opposite sign", "06"),
        Formula("prediction.x_0_from_u", r"\hat x_0", (x_t - noise_t * u_pred) / (signal_t + noise_t),
                prediction.from_u, lambda p: prediction.from_u(p.flow, _one(p.x_t), _one(p.u_pred), p.t).x_0, "Liu et al. 2023, eq. 1", "06"),
        Formula("prediction.eps_from_u", r"\hat\varepsilon", (x_t + signal_t * u_pred) / (signal_t + noise_t),
                prediction.from_u, lambda p: prediction.from_u(p.flow, _one(p.x_t), _one(p.u_pred), p.t).eps, "Liu et al. 2023, eq. 1", "06"),
        Formula("prediction.score", r"\nabla_{x_t} \log q(x_t)", -(eps_pred / sp.sqrt(1 - abar_t)),
                prediction.score, lambda p: prediction.score(p.schedule, _one(p.eps_pred), p.t), "Vincent 2011; Song et al. 2021", "06"),
        Formula("losses.min_snr", r"w_t", sp.Min(_snr, gamma),
                losses.min_snr_weight, lambda p: losses.min_snr_weight(p.schedule, p.t, "x_0", p.gamma), "Hang et al. 2023, sec. 3.4", "06"),
        Formula("losses.min_snr_u", r"w_t", sp.Min(signal_t**2 / noise_t**2, gamma) * (noise_t**2 / (signal_t + noise_t) ** 2),
                losses.min_snr_weight, lambda p: losses.min_snr_weight(p.flow, p.t, "u", p.gamma), "Hang et al. 2023, sec. 3.4, for u", "06"),
        Formula("oracles.gaussian", r"\mathbb E[x_0 \mid x_t]", mean + sp.sqrt(abar_t) * variance / (1 - abar_t + abar_t * variance) * (x_t - sp.sqrt(abar_t) * mean),
                oracles.gaussian, lambda p: oracles.gaussian(p.schedule, _one(p.mean)[0], _one(p.variance))(_one(p.x_t), p.t).x_0, "Bishop 2006, eq. 2.116", "06"),
        Formula("oracles.mixture", r"\mathbb E[x_0 \mid x_t]",
                _sum(_softmax(lambda at: sp.log(w[at]) - sp.log(1 - abar_t + abar_t * u[at]) / 2 - (x_t - sp.sqrt(abar_t) * m[at]) ** 2 / (2 * (1 - abar_t + abar_t * u[at])), j)
                       * (m[j] + sp.sqrt(abar_t) * u[j] / (1 - abar_t + abar_t * u[j]) * (x_t - sp.sqrt(abar_t) * m[j])), j, n),
                oracles.mixture, lambda p: oracles.mixture(p.schedule, torch.tensor(p.w), torch.tensor(p.m)[:, None], torch.tensor(p.u))(_one(p.x_t), p.t).x_0, "Bishop 2006, sec. 9.2", "06"),
        Formula("oracles.dataset", r"\mathbb E[x_0 \mid x_t]", _sum(_softmax(lambda at: -((x_t - sp.sqrt(abar_t) * points[at]) ** 2 / (2 * (1 - abar_t))), j) * points[j], j, n),
                oracles.dataset, lambda p: oracles.dataset(p.schedule, torch.tensor(p.p)[:, None])(_one(p.x_t), p.t).x_0, "Karras et al. 2022, eq. 57", "06"),
        # 07: the U-Net
        Formula("embeddings.sinusoidal", r"e_i(t)", sp.Piecewise((sp.cos(t / 10000 ** (i / h)), i < h), (sp.sin(t / 10000 ** ((i - h) / h)), True)),
                embeddings.sinusoidal_embedding, lambda p: embeddings.sinusoidal_embedding(torch.tensor([p.t]), 2 * p.h)[0, p.i], "Rombach et al. 2022, configuration", "07"),
        Formula("embeddings.ddpm", r"e_i(t)", sp.Piecewise((sp.sin(t / 10000 ** (i / (h - 1))), i < h), (sp.cos(t / 10000 ** ((i - h) / (h - 1))), True)),
                alternatives.ddpm_sinusoidal_embedding, lambda p: alternatives.ddpm_sinusoidal_embedding(torch.tensor([p.t]), 2 * p.h)[0, p.i], f"{DDPM}, code", "07"),
        Formula("attention.weights", r"A_j", _softmax(_fit, j),
                attention.attention_weights, lambda p: attention.attention_weights(torch.tensor(p.q)[None], torch.tensor(p.k))[0, p.j], "Vaswani et al. 2017, eq. 1", "07"),
        Formula("attention.linear", r"y", _sum(sp.exp(q[c]) / _sum(sp.exp(q[s]), s, d) * _sum(_softmax(lambda at: k[at, c], j) * value[j], j, n), c, d),
                alternatives.linear_attention, lambda p: alternatives.linear_attention(torch.tensor(p.q)[None], torch.tensor(p.k), torch.tensor(p.value)[:, None]), "Shen et al. 2018, sec. 3.2", "07"),
        # 08: training and sampling
        Formula("samplers.ddpm", r"x_{t-1}", (x_t - beta_t / sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(alpha_t) + sp.sqrt(_posterior_variance) * z,
                samplers.ddpm_step, lambda p: _step(p, samplers.ddpm_step, p.t - 1, z=_one(p.z)), f"{DDPM}, alg. 2", "08"),
        Formula("training.learning_rate", r"\eta_i", eta * sp.Min(1, i / warmup) * ((1 + sp.cos(sp.pi * ((i - 1) / steps))) / 2),
                training.learning_rate, lambda p: training.learning_rate(training.TrainConfig(steps=p.steps, learning_rate=p.eta, warmup=p.warmup), p.i), "Loshchilov & Hutter 2017, eq. 5", "08"),
        Formula("training.ema_decay", r"d_n", sp.Min(decay, (1 + n) / (10 + n)),
                averaging.ema_decay, lambda p: averaging.ema_decay(p.decay, p.n), "customary", "08"),
        Formula("training.ema", r"\bar\theta", decay * average + (1 - decay) * current,
                averaging.ema_update, lambda p: averaging.ema_update(_one(p.average), _one(p.current), p.decay), "Polyak & Juditsky 1992", "08"),
        # 09: DDIM
        Formula("samplers.ddim", "x_s", sp.Add(sp.sqrt(abar_s) * ((x_t - sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(abar_t)), sp.sqrt(sp.Add(1, -abar_s, -(_sigma_t**2))) * eps_pred, _sigma_t * z),
                samplers.ddim_step, lambda p: _step(p, samplers.ddim_step, p.s, z=_one(p.z), eta=p.eta), "Song et al. 2021 (DDIM), eq. 12 and 16", "09"),
        # 10: multistep samplers
        Formula("samplers.plms", "x_s", _stretch * x_t + (sp.sqrt(1 - abar_s) - _stretch * sp.sqrt(1 - abar_t)) * (sp.Add(55 * eps_pred, -59 * eps_1, 37 * eps_2, -9 * eps_3) / 24),
                samplers.plms_step, lambda p: samplers.plms_step(_one(p.x_t), [_one(e) for e in (p.eps_pred, p.eps_1, p.eps_2, p.eps_3)], _scales(p.schedule, p.t), _scales(p.schedule, p.s)),
                "Liu et al. 2022, eq. 9 and 12", "10"),
        Formula("samplers.dpm_solver_pp", "x_s", sp.sqrt((1 - abar_s) / (1 - abar_t)) * x_t + sp.sqrt(abar_s) * (1 - sp.exp(-step)) * _extrapolated,
                samplers.dpm_solver_pp_step, lambda p: _two_steps(p), "Lu et al. 2022 (DPM-Solver++), alg. 2", "10"),
        Formula("samplers.dpm_solver_pp_sde", "x_s", sp.Add(sp.sqrt((1 - abar_s) / (1 - abar_t)) * sp.exp(-step) * x_t, sp.sqrt(abar_s) * (1 - sp.exp(-2 * step)) * _extrapolated, sp.sqrt(1 - abar_s) * sp.sqrt(1 - sp.exp(-2 * step)) * z),
                samplers.dpm_solver_pp_sde_step, lambda p: _two_steps(p, stochastic=True), "Lu et al. 2022 (DPM-Solver++), app. D", "10"),
        # 11: score, SDE, ODE
        Formula("schedules.karras_sigma", r"\hat\sigma_t", sp.sqrt((1 - abar_t) / abar_t),
                schedules.Schedule.karras_sigmas.fget, lambda p: p.schedule.karras_sigmas[p.t], "Karras et al. 2022, tab. 1", "11"),
        Formula("samplers.euler", "x_s", sp.sqrt(abar_s) * (x_t / sp.sqrt(abar_t) + (karras_sigma_s - karras_sigma_t) * eps_pred),
                samplers.euler_step, lambda p: _step(p, samplers.euler_step, p.s), "Karras et al. 2022, alg. 2", "11"),
        Formula("samplers.euler_ancestral", "x_s", sp.sqrt(abar_s) * sp.Add(x_t / sp.sqrt(abar_t), (_down - karras_sigma_t) * eps_pred, sp.sqrt(karras_sigma_s**2 - _down**2) * z),
                samplers.euler_ancestral_step, lambda p: _step(p, samplers.euler_ancestral_step, p.s, z=_one(p.z)), "Song et al. 2021 (SDE), app. F", "11"),
        Formula("samplers.heun", "x_s", sp.sqrt(abar_s) * (x_t / sp.sqrt(abar_t) + (karras_sigma_s - karras_sigma_t) * ((eps_pred + eps_s) / 2)),
                samplers.heun_step, lambda p: _step(p, samplers.heun_step, p.s, prediction.Prediction(_one(0.0), _one(p.eps_s))), "Karras et al. 2022, alg. 1", "11"),
        # 14: text
        Formula("encoder.quick_gelu", r"\mathrm{quickGELU}(x)", x / (1 + sp.exp(-(sp.Float("1.702") * x))),
                encoder.quick_gelu, lambda p: encoder.quick_gelu(_one(p.x)), "Hendrycks & Gimpel 2016, sec. 2", "14"),
        Formula("contrastive.info_nce", r"L_{NCE}",
                _sum(_sum(target[i, j] * sp.Add(sp.log(_sum(sp.exp(fit[i, s]), s, n)), -fit[i, j], sp.log(_sum(sp.exp(fit[s, i]), s, n)), -fit[j, i]), j, n), i, n) / (2 * n),
                contrastive.info_nce, lambda p: contrastive.info_nce(torch.tensor(p.S), torch.eye(int(p.n), dtype=torch.float64), 1, torch.tensor(p.meaning)), "Radford et al. 2021, fig. 3", "14"),
        # 16: guidance
        Formula("guidance.classifier", r"\hat\varepsilon", eps_pred - scale * sp.sqrt(1 - abar_t) * gradient,
                guidance.classifier, lambda p: guidance.classifier(_answering(p, p.eps_pred), lambda x, t: p.gradient * x.sum(1), p.scale)(_one(p.x_t), p.t).eps, "Dhariwal & Nichol 2021, eq. 14", "16"),
        Formula("guidance.classifier_free", r"\hat\varepsilon", eps_null + scale * (eps_cond - eps_null),
                guidance.classifier_free, lambda p: _guided(p), "Ho & Salimans 2022, eq. 6 with w = s - 1", "16"),
        Formula("guidance.auto", r"\hat\varepsilon", eps_worse + scale * (eps_pred - eps_worse),
                guidance.auto, lambda p: guidance.auto(_answering(p, p.eps_pred), _answering(p, p.eps_worse), p.scale)(_one(p.x_t), p.t).eps, "Karras et al. 2024, sec. 4", "16"),
    ]
    # fmt: on


def _answering(p: SimpleNamespace, eps: float) -> prediction.Denoiser:
    """A denoiser that gives one answer, whatever it is asked."""
    return prediction.as_denoiser(lambda x_t, t: torch.full_like(x_t, eps), p.schedule, "eps")


def _guided(p: SimpleNamespace) -> Tensor:
    """Classifier-free guidance of a denoiser whose condition is its answer."""
    predict = lambda x_t, t, condition: prediction.from_eps(p.schedule, x_t, condition.vector, t)  # noqa: E731
    cond, null = Condition(vector=_one(p.eps_cond)), Condition(vector=_one(p.eps_null))
    guided = guidance.classifier_free(prediction.Denoiser(p.schedule, predict), cond, null, p.scale)
    return guided(_one(p.x_t), p.t).eps


def _two_steps(p: SimpleNamespace, stochastic: bool = False) -> Tensor:
    """One step of DPM-Solver++ from t to s, where the denoiser answers x_0_pred, and answered x_0_last one level higher."""
    x_t, now, next = _one(p.x_t), _scales(p.schedule, p.t), _scales(p.schedule, p.s)
    answer, before = (
        prediction.Prediction(_one(p.x_0_pred), _one(0.0)),
        prediction.Prediction(_one(p.x_0_last), _one(0.0)),
    )
    past = _scales(p.schedule, p.t + 1), before
    if stochastic:
        return samplers.dpm_solver_pp_sde_step(x_t, answer, now, next, _one(p.z), past)
    return samplers.dpm_solver_pp_step(x_t, answer, now, next, past)


def _scales(schedule: schedules.Schedule, t: int) -> schedules.Scales:
    return schedule.at(t, like=_one(0.0))


def _step_between(p: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_t, given x_s."""
    r, beta = forward.step_between(_scales(p.flow, p.s), _scales(p.flow, p.t))
    return r * p.x_s, beta


def _step(p: SimpleNamespace, step: Callable, s: int, *arguments: object, **choices: object) -> Tensor:
    """One step down from t to s, where the denoiser answers eps_pred."""
    answer = prediction.from_eps(p.schedule, _one(p.x_t), _one(p.eps_pred), p.t)
    return step(_one(p.x_t), answer, *arguments, _scales(p.schedule, p.t), _scales(p.schedule, s), **choices)


BY_ID = {formula.id: formula for formula in FORMULAS}
