"""Part I, notebooks 01 to 08: Gaussians, the forward process, schedules, posterior, objective, predictions, U-Net and training."""
# ruff: noqa: F403, F405  (the symbols are imported with *)

from collections.abc import Callable

import sympy as sp

from minidiff import samplers, training
from minidiff.diffusion import forward, gaussians, losses, oracles, posterior, prediction, schedules
from minidiff.extensions import alternatives
from minidiff.formulas.formula import Formula
from minidiff.formulas.symbols import *
from minidiff.nets import attention, embeddings
from minidiff.training import ema

DDPM, VDM = "Ho et al. 2020", "Kingma et al. 2021"


def _cosine(at: sp.Expr) -> sp.Expr:
    return sp.cos(sp.pi / 2 * ((at / T + offset) / (1 + offset))) ** 2


def _logistic(at: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-(at / tau)))


def _softmax(logits: Callable[[sp.Expr], sp.Expr], at: sp.Expr) -> sp.Expr:
    return sp.exp(logits(at)) / sum_over(i, n, sp.exp(logits(i)))


def _attention_logits(key: sp.Expr) -> sp.Expr:
    return sum_over(c, d, q[c] * k[key, c]) / sp.sqrt(d)


def _component_variance(at: sp.Expr) -> sp.Expr:
    """The variance of x_t in one component of a mixture."""
    return 1 - abar_t + abar_t * u[at]


def _component_logits(at: sp.Expr) -> sp.Expr:
    variance = _component_variance(at)
    return sp.log(w[at]) - sp.log(variance) / 2 - (x_t - sp.sqrt(abar_t) * m[at]) ** 2 / (2 * variance)


def _component_mean(at: sp.Expr) -> sp.Expr:
    """The mean of x_0, given x_t, in one component of a mixture."""
    return m[at] + sp.sqrt(abar_t) * u[at] / _component_variance(at) * (x_t - sp.sqrt(abar_t) * m[at])


def _point_logits(at: sp.Expr) -> sp.Expr:
    return -((x_t - sp.sqrt(abar_t) * points[at]) ** 2 / (2 * (1 - abar_t)))


with sp.evaluate(False):  # sympy keeps each expression in the order in which it is written
    _posterior_mean = (
        sp.sqrt(abar_prev) * beta_t / (1 - abar_t) * x_0 + sp.sqrt(alpha_t) * (1 - abar_prev) / (1 - abar_t) * x_t
    )
    _posterior_variance = (1 - abar_prev) / (1 - abar_t) * beta_t
    _snr = abar_t / (1 - abar_t)
    _half_bin = sp.Rational(1, 255)

    # fmt: off
    FORMULAS = [
        # 01: Gaussians
        Formula("gaussians.log_density", r"\log \mathcal N(x; \mu, \sigma^2)",
                -((sp.log(2 * sp.pi * sigma**2) + (x - mean) ** 2 / sigma**2) / 2),
                gaussians.log_density, "Bishop 2006, eq. 1.46", "01"),
        Formula("gaussians.entropy", r"H[\mathcal N(\mu, \sigma^2)]",
                sp.log(2 * sp.pi * sp.E * sigma**2) / 2,
                gaussians.entropy, "Bishop 2006, eq. 1.110", "01"),
        Formula("gaussians.reparameterise", "x",
                mean + sigma * eps,
                gaussians.reparameterise, "Kingma & Welling 2014, sec. 2.4", "01"),
        Formula("gaussians.weighted_sum", r"p(a x_1 + b x_2)",
                (a * mean_1 + b * mean_2, a**2 * sigma_1**2 + b**2 * sigma_2**2),
                gaussians.weighted_sum, "Bishop 2006, eq. 2.115", "01"),
        Formula("gaussians.product", r"\mathcal N_1(x)\,\mathcal N_2(x) / Z",
                ((mean_1 / sigma_1**2 + mean_2 / sigma_2**2) / (1 / sigma_1**2 + 1 / sigma_2**2),
                 1 / (1 / sigma_1**2 + 1 / sigma_2**2)),
                gaussians.product, "Bishop 2006, sec. 2.3.6", "01"),
        Formula("gaussians.condition", r"p(x \mid y)",
                (mean + a * sigma**2 / (a**2 * sigma**2 + noise_sigma**2) * (y - a * mean),
                 sigma**2 * noise_sigma**2 / (a**2 * sigma**2 + noise_sigma**2)),
                gaussians.condition, "Bishop 2006, eq. 2.116", "01"),
        Formula("gaussians.kl", r"D_{KL}(\mathcal N_1 \,\|\, \mathcal N_2)",
                sp.Add(sp.log(sigma_2**2 / sigma_1**2), (sigma_1**2 + (mean_1 - mean_2) ** 2) / sigma_2**2, -1) / 2,
                gaussians.kl, "Kingma & Welling 2014, app. B", "01"),

        # 02: the forward process
        Formula("forward.step", r"q(x_t \mid x_{t-1})",
                (sp.sqrt(alpha_t) * x_prev, beta_t),
                forward.q_step, f"{DDPM}, eq. 2", "02"),
        Formula("forward.two_steps", r"q(x_t \mid x_{t-2})",
                (sp.sqrt(alpha_t * alpha_prev) * x_prev2, 1 - alpha_t * alpha_prev),
                forward.q_transition, f"{DDPM}, eq. 2 twice", "02"),
        Formula("forward.marginal", r"q(x_t \mid x_0)",
                (sp.sqrt(abar_t) * x_0, 1 - abar_t),
                forward.q_marginal, f"{DDPM}, eq. 4", "02"),
        Formula("forward.sample", "x_t",
                sp.sqrt(abar_t) * x_0 + sp.sqrt(1 - abar_t) * eps,
                forward.q_sample, f"{DDPM}, sec. 3.2", "02"),
        Formula("forward.transition", r"q(x_t \mid x_s)",
                (sp.sqrt(abar_t / abar_s) * x_s, 1 - abar_t / abar_s),
                forward.q_transition, f"{VDM}, sec. 3.1", "02"),
        Formula("forward.step_between", r"q(x_t \mid x_s)",
                (signal_t / signal_s * x_s, noise_t**2 - (signal_t / signal_s) ** 2 * noise_s**2),
                forward.step_between, f"{VDM}, sec. 3.1", "02"),
        Formula("schedules.snr", r"\mathrm{SNR}(t)",
                _snr,
                schedules.Schedule.snr.fget, f"{VDM}, eq. 3", "02"),

        # 03: schedules
        Formula("schedules.alphas_cumprod", r"\bar\alpha_t",
                sp.Product(1 - beta[s], (s, 1, t)),
                schedules.from_betas, f"{DDPM}, below eq. 4", "03"),
        Formula("schedules.linear", r"\beta_t",
                beta_1 + (t - 1) / (T - 1) * (beta_T - beta_1),
                schedules.linear, f"{DDPM}, sec. 4", "03"),
        Formula("schedules.scaled_linear", r"\beta_t",
                (sp.sqrt(beta_1) + (t - 1) / (T - 1) * (sp.sqrt(beta_T) - sp.sqrt(beta_1))) ** 2,
                schedules.scaled_linear, "Rombach et al. 2022, configuration", "03"),
        Formula("schedules.cosine", r"\bar\alpha_t",
                _cosine(t) / _cosine(sp.Integer(0)),
                schedules.cosine, "Nichol & Dhariwal 2021, eq. 17", "03"),
        Formula("schedules.sigmoid", r"\bar\alpha_t",
                (_logistic(end) - _logistic(start + t / T * (end - start))) / (_logistic(end) - _logistic(start)),
                schedules.sigmoid, "Jabri et al. 2023; Chen 2023, alg. 1", "03"),
        Formula("schedules.zero_terminal_snr", r"\bar\alpha_t'",
                ((sp.sqrt(abar_t) - sp.sqrt(abar_T)) * sp.sqrt(abar_1) / (sp.sqrt(abar_1) - sp.sqrt(abar_T))) ** 2,
                schedules.NoiseSchedule.zero_terminal_snr, "Lin et al. 2024, alg. 1", "03"),
        Formula("schedules.flow", r"\mathrm{noise}_t = 1 - \mathrm{signal}_t",
                shift * (t / T) / (1 + (shift - 1) * (t / T)),
                schedules.flow, "Liu et al. 2023, eq. 1; Esser et al. 2024, eq. 23", "03"),
        Formula("schedules.variance_exploding", r"\mathrm{noise}_t",
                sigma_min * (sigma_max / sigma_min) ** ((t - 1) / (T - 1)),
                schedules.variance_exploding, "Song et al. 2021 (SDE), app. C", "03"),

        # 04: the posterior
        Formula("posterior.mean_and_variance", r"q(x_{t-1} \mid x_t, x_0)",
                (_posterior_mean, _posterior_variance),
                posterior.q_posterior, f"{DDPM}, eq. 7", "04"),
        Formula("posterior.between", r"q(x_s \mid x_t, x_0)",
                ((signal_s * added * x_0 + kept * noise_s**2 * x_t) / noise_t**2, noise_s**2 / noise_t**2 * added),
                posterior.between, f"{VDM}, app. A.2", "04"),
        Formula("posterior.mean_from_eps", r"\tilde\mu_t",
                (x_t - beta_t / sp.sqrt(1 - abar_t) * eps) / sp.sqrt(alpha_t),
                posterior.mean_from_eps, f"{DDPM}, eq. 11", "04"),

        # 05: the objective
        Formula("losses.prior", r"L_T",
                sp.Add(abar_T * x_0**2, -abar_T, -sp.log(1 - abar_T)) / 2,
                losses.vlb_terms, f"{DDPM}, eq. 5", "05"),
        Formula("losses.vlb_term", r"L_{t-1}",
                (abar_prev / (1 - abar_prev) - _snr) * (x_0 - x_0_pred) ** 2 / 2,
                losses.vlb_terms, f"{VDM}, eq. 14", "05"),
        Formula("losses.vlb_excess", r"L_{t-1}\big|_{\hat x_0 = x_0,\ \sigma_t^2 = \beta_t}",
                sp.Add(sp.log(beta_t / _posterior_variance), _posterior_variance / beta_t, -1) / 2,
                losses.vlb_terms, f"{DDPM}, eq. 5 with σ² = β", "05"),
        Formula("losses.vlb_weight", r"w_t",
                beta_t / (2 * alpha_t * (1 - abar_t)),
                losses.vlb_weight, f"{DDPM}, eq. 12", "05"),
        Formula("losses.decoder_gaussian", r"L_0",
                (sp.log(2 * sp.pi * sigma**2) + (x_0 - mean) ** 2 / sigma**2) / 2,
                losses.gaussian_decoder, f"{DDPM}, eq. 5", "05"),
        Formula("losses.decoder_discrete", r"L_0",
                -sp.log((sp.erf((x_0 + _half_bin - mean) / (sp.sqrt(2) * sigma))
                         - sp.erf((x_0 - _half_bin - mean) / (sp.sqrt(2) * sigma))) / 2),
                losses.discrete_decoder, f"{DDPM}, eq. 13", "05"),
        Formula("losses.bits_per_dimension", r"\mathrm{bits}",
                sum_over(i, n, L[i]) / (D * sp.log(2)),
                losses.bits_per_dimension, f"{DDPM}, sec. 3.3", "05"),
        Formula("losses.simple", r"L_{simple}",
                (eps - eps_pred) ** 2,
                losses.simple, f"{DDPM}, eq. 14", "05"),
        Formula("losses.huber", r"L_{Huber}",
                sp.Piecewise(((eps - eps_pred) ** 2 / 2, sp.Abs(eps - eps_pred) <= 1),
                             (sp.Abs(eps - eps_pred) - sp.Rational(1, 2), True)),
                losses.simple, "Huber 1964", "05"),

        # 06: what to predict
        Formula("prediction.x_0_from_eps", r"\hat x_0",
                (x_t - sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(abar_t),
                prediction.from_eps, f"{DDPM}, eq. 15", "06"),
        Formula("prediction.eps_from_x_0", r"\hat\varepsilon",
                (x_t - sp.sqrt(abar_t) * x_0_pred) / sp.sqrt(1 - abar_t),
                prediction.from_x_0, f"{DDPM}, eq. 4", "06"),
        Formula("prediction.v", r"v_t",
                sp.sqrt(abar_t) * eps - sp.sqrt(1 - abar_t) * x_0,
                prediction.v, "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.x_0_from_v", r"\hat x_0",
                sp.sqrt(abar_t) * x_t - sp.sqrt(1 - abar_t) * v_pred,
                prediction.from_v, "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.eps_from_v", r"\hat\varepsilon",
                sp.sqrt(1 - abar_t) * x_t + sp.sqrt(abar_t) * v_pred,
                prediction.from_v, "Salimans & Ho 2022, app. D", "06"),
        Formula("prediction.u", "u",
                eps - x_0,
                prediction.u, "Liu et al. 2023, eq. 1, with the opposite sign", "06"),
        Formula("prediction.x_0_from_u", r"\hat x_0",
                (x_t - noise_t * u_pred) / (signal_t + noise_t),
                prediction.from_u, "Liu et al. 2023, eq. 1", "06"),
        Formula("prediction.eps_from_u", r"\hat\varepsilon",
                (x_t + signal_t * u_pred) / (signal_t + noise_t),
                prediction.from_u, "Liu et al. 2023, eq. 1", "06"),
        Formula("prediction.score", r"\nabla_{x_t} \log q(x_t)",
                -(eps_pred / sp.sqrt(1 - abar_t)),
                prediction.score, "Vincent 2011; Song et al. 2021", "06"),
        Formula("losses.min_snr", r"w_t",
                sp.Min(_snr, gamma),
                losses.min_snr_weight, "Hang et al. 2023, sec. 3.4", "06"),
        Formula("losses.min_snr_u", r"w_t",
                sp.Min(signal_t**2 / noise_t**2, gamma) * (noise_t**2 / (signal_t + noise_t) ** 2),
                losses.min_snr_weight, "Hang et al. 2023, sec. 3.4, for u", "06"),
        Formula("oracles.gaussian", r"\mathbb E[x_0 \mid x_t]",
                mean + sp.sqrt(abar_t) * variance / (1 - abar_t + abar_t * variance) * (x_t - sp.sqrt(abar_t) * mean),
                oracles.gaussian, "Bishop 2006, eq. 2.116", "06"),
        Formula("oracles.mixture", r"\mathbb E[x_0 \mid x_t]",
                sum_over(j, n, _softmax(_component_logits, j) * _component_mean(j)),
                oracles.mixture, "Bishop 2006, sec. 9.2", "06"),
        Formula("oracles.dataset", r"\mathbb E[x_0 \mid x_t]",
                sum_over(j, n, _softmax(_point_logits, j) * points[j]),
                oracles.dataset, "Karras et al. 2022, eq. 57", "06"),

        # 07: the U-Net
        Formula("embeddings.sinusoidal", r"e_i(t)",
                sp.Piecewise((sp.cos(t / 10000 ** (i / h)), i < h), (sp.sin(t / 10000 ** ((i - h) / h)), True)),
                embeddings.sinusoidal_embedding, "Rombach et al. 2022, configuration", "07"),
        Formula("embeddings.ddpm", r"e_i(t)",
                sp.Piecewise((sp.sin(t / 10000 ** (i / (h - 1))), i < h),
                             (sp.cos(t / 10000 ** ((i - h) / (h - 1))), True)),
                alternatives.ddpm_sinusoidal_embedding, f"{DDPM}, code", "07"),
        Formula("attention.weights", r"A_j",
                _softmax(_attention_logits, j),
                attention.attention_weights, "Vaswani et al. 2017, eq. 1", "07"),
        Formula("attention.linear", r"y",
                sum_over(c, d, sp.exp(q[c]) / sum_over(s, d, sp.exp(q[s]))
                               * sum_over(j, n, _softmax(lambda at: k[at, c], j) * value[j])),
                alternatives.linear_attention, "Shen et al. 2018, sec. 3.2", "07"),

        # 08: training and sampling
        Formula("samplers.ddpm", r"x_{t-1}",
                (x_t - beta_t / sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(alpha_t) + sp.sqrt(_posterior_variance) * z,
                samplers.ddpm_step, f"{DDPM}, alg. 2", "08"),
        Formula("training.learning_rate", r"\eta_i",
                eta * sp.Min(1, i / warmup) * ((1 + sp.cos(sp.pi * ((i - 1) / steps))) / 2),
                training.learning_rate, "Loshchilov & Hutter 2017, eq. 5", "08"),
        Formula("training.ema_decay", r"d_n",
                sp.Min(decay, (1 + n) / (10 + n)),
                ema.ema_decay, "customary", "08"),
        Formula("training.ema", r"\bar\theta",
                decay * average + (1 - decay) * current,
                ema.ema_update, "Polyak & Juditsky 1992", "08"),
    ]
    # fmt: on
