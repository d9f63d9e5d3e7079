"""How to call the function of each formula at a random point: CALLS maps the formula's id to a function of (function, point)."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from minidiff.diffusion import prediction, schedules
from minidiff.nets import Condition
from minidiff.training import TrainConfig


def one(number: float) -> Tensor:
    """A batch of one sample with one number."""
    return torch.full((1, 1), float(number), dtype=torch.float64)


def scales(schedule: schedules.Schedule, t: int) -> schedules.Scales:
    return schedule.at(t, like=one(0))


def step_between(f: Callable, p: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_t, given x_s."""
    r, beta = f(scales(p.flow, p.s), scales(p.flow, p.t))
    return r * p.x_s, beta


def bound(f: Callable, p: SimpleNamespace, x_0_pred: float, column: int, variance: str = "beta") -> Tensor:
    """One term of the variational bound for the number x_0, where the denoiser always answers x_0_pred."""
    predict = lambda x_t, t: prediction.from_x_0(p.schedule, x_t, torch.full_like(x_t, x_0_pred), t)  # noqa: E731
    denoise = prediction.Denoiser(p.schedule, predict)
    generator = torch.Generator().manual_seed(0)
    return f(p.schedule, one(p.x_0), denoise, generator, variance=variance, decoder="gaussian")[0, column]


def mixture(f: Callable, p: SimpleNamespace) -> Tensor:
    denoise = f(p.schedule, torch.tensor(p.w), torch.tensor(p.m)[:, None], torch.tensor(p.u))
    return denoise(one(p.x_t), p.t).x_0


def step(f: Callable, p: SimpleNamespace, s: int, *arguments: object, **choices: object) -> Tensor:
    """One step from t to s, where the network answered eps_pred."""
    answer = prediction.from_eps(p.schedule, one(p.x_t), one(p.eps_pred), p.t)
    return f(one(p.x_t), answer, *arguments, scales(p.schedule, p.t), scales(p.schedule, s), **choices)


def multistep(f: Callable, p: SimpleNamespace, *noise: Tensor) -> Tensor:
    """One step of DPM-Solver++ from t to s, where the network answered x_0_pred at t, and x_0_last at t + 1."""
    answer, before = (prediction.Prediction(one(x_0), one(0)) for x_0 in (p.x_0_pred, p.x_0_last))
    now, next, last = (scales(p.schedule, t) for t in (p.t, p.s, p.t + 1))
    return f(one(p.x_t), answer, now, next, *noise, (last, before))


def plms(f: Callable, p: SimpleNamespace) -> Tensor:
    answers = [one(eps) for eps in (p.eps_pred, p.eps_1, p.eps_2, p.eps_3)]
    return f(one(p.x_t), answers, scales(p.schedule, p.t), scales(p.schedule, p.s))


def constant(p: SimpleNamespace, eps: float) -> prediction.Denoiser:
    """A denoiser that always predicts this noise."""
    return prediction.as_denoiser(lambda x_t, t: torch.full_like(x_t, eps), p.schedule, "eps")


def classifier_free(f: Callable, p: SimpleNamespace) -> Tensor:
    """Guidance of a denoiser that predicts its condition's vector as the noise."""
    predict = lambda x_t, t, condition: prediction.from_eps(p.schedule, x_t, condition.vector, t)  # noqa: E731
    cond, null = Condition(vector=one(p.eps_cond)), Condition(vector=one(p.eps_null))
    return f(prediction.Denoiser(p.schedule, predict), cond, null, p.scale)(one(p.x_t), p.t).eps


def info_nce(f: Callable, p: SimpleNamespace) -> Tensor:
    return f(torch.tensor(p.S), torch.eye(p.n, dtype=torch.float64), 1, p.meaning)


def linear_attention(f: Callable, p: SimpleNamespace) -> Tensor:
    return f(torch.tensor(p.q)[None], torch.tensor(p.k), torch.tensor(p.value)[:, None])


CALLS: dict[str, Callable[[Callable, SimpleNamespace], object]] = {
    # 01: Gaussians
    "gaussians.log_density": lambda f, p: f(p.x, p.mean, p.sigma**2),
    "gaussians.entropy": lambda f, p: f(p.sigma**2),
    "gaussians.reparameterise": lambda f, p: f(p.mean, p.sigma**2, p.eps),
    "gaussians.weighted_sum": lambda f, p: f(p.a, p.mean_1, p.sigma_1**2, p.b, p.mean_2, p.sigma_2**2),
    "gaussians.product": lambda f, p: f(p.mean_1, p.sigma_1**2, p.mean_2, p.sigma_2**2),
    "gaussians.condition": lambda f, p: f(p.mean, p.sigma**2, p.a, p.noise_sigma**2, p.y),
    "gaussians.kl": lambda f, p: f(p.mean_1, p.sigma_1**2, p.mean_2, p.sigma_2**2),
    # 02: the forward process
    "forward.step": lambda f, p: f(p.schedule, one(p.x_prev), p.t),
    "forward.two_steps": lambda f, p: f(p.schedule, one(p.x_prev2), p.t - 2, p.t),
    "forward.marginal": lambda f, p: f(p.schedule, one(p.x_0), p.t),
    "forward.sample": lambda f, p: f(p.schedule, one(p.x_0), p.t, one(p.eps)),
    "forward.transition": lambda f, p: f(p.schedule, one(p.x_s), p.s, p.t),
    "forward.step_between": step_between,
    "schedules.snr": lambda f, p: f(p.schedule)[p.t],
    # 03: schedules
    "schedules.alphas_cumprod": lambda f, p: f(p.schedule.betas[1:]).alphas_cumprod[p.t],
    "schedules.linear": lambda f, p: f(p.T, p.beta_1, p.beta_T).betas[p.t],
    "schedules.scaled_linear": lambda f, p: f(p.T, p.beta_1, p.beta_T).betas[p.t],
    "schedules.cosine": lambda f, p: f(p.T, p.offset).alphas_cumprod[p.t],
    "schedules.sigmoid": lambda f, p: f(p.T, p.start, p.end, p.tau).alphas_cumprod[p.t],
    "schedules.zero_terminal_snr": lambda f, p: f(p.schedule).alphas_cumprod[p.t],
    "schedules.flow": lambda f, p: f(p.T, p.shift).noise[p.t],
    "schedules.variance_exploding": lambda f, p: f(p.T, p.sigma_min, p.sigma_max).noise[p.t],
    # 04: the posterior
    "posterior.mean_and_variance": lambda f, p: f(p.schedule, one(p.x_0), one(p.x_t), p.t),
    "posterior.between": lambda f, p: f(one(p.x_0), one(p.x_t), scales(p.flow, p.t), scales(p.flow, p.s)),
    "posterior.mean_from_eps": lambda f, p: f(p.schedule, one(p.x_t), one(p.eps), p.t),
    # 05: the objective
    "losses.prior": lambda f, p: bound(f, p, p.x_0_pred, column=0),
    "losses.vlb_term": lambda f, p: bound(f, p, p.x_0_pred, column=p.t, variance="posterior"),
    "losses.vlb_excess": lambda f, p: bound(f, p, p.x_0, column=p.t),
    "losses.vlb_weight": lambda f, p: f(p.schedule, p.t),
    "losses.decoder_gaussian": lambda f, p: f(one(p.x_0), one(p.mean), one(p.sigma**2)),
    "losses.decoder_discrete": lambda f, p: f(one(p.x_0), one(p.mean), one(p.sigma**2)),
    "losses.bits_per_dimension": lambda f, p: f(torch.tensor(p.L)[None], torch.zeros(1, p.D, dtype=torch.float64)),
    "losses.simple": lambda f, p: f(one(p.eps_pred), one(p.eps)),
    "losses.huber": lambda f, p: f(one(p.eps_pred), one(p.eps), "huber"),
    # 06: what to predict
    "prediction.x_0_from_eps": lambda f, p: f(p.schedule, one(p.x_t), one(p.eps_pred), p.t).x_0,
    "prediction.eps_from_x_0": lambda f, p: f(p.schedule, one(p.x_t), one(p.x_0_pred), p.t).eps,
    "prediction.v": lambda f, p: f(p.schedule, one(p.x_0), one(p.eps), p.t),
    "prediction.x_0_from_v": lambda f, p: f(p.schedule, one(p.x_t), one(p.v_pred), p.t).x_0,
    "prediction.eps_from_v": lambda f, p: f(p.schedule, one(p.x_t), one(p.v_pred), p.t).eps,
    "prediction.u": lambda f, p: f(one(p.x_0), one(p.eps)),
    "prediction.x_0_from_u": lambda f, p: f(p.flow, one(p.x_t), one(p.u_pred), p.t).x_0,
    "prediction.eps_from_u": lambda f, p: f(p.flow, one(p.x_t), one(p.u_pred), p.t).eps,
    "prediction.score": lambda f, p: f(p.schedule, one(p.eps_pred), p.t),
    "losses.min_snr": lambda f, p: f(p.schedule, p.t, "x_0", p.gamma),
    "losses.min_snr_u": lambda f, p: f(p.flow, p.t, "u", p.gamma),
    "oracles.gaussian": lambda f, p: f(p.schedule, one(p.mean)[0], one(p.variance))(one(p.x_t), p.t).x_0,
    "oracles.mixture": mixture,
    "oracles.dataset": lambda f, p: f(p.schedule, torch.tensor(p.p)[:, None])(one(p.x_t), p.t).x_0,
    # 07: the U-Net
    "embeddings.sinusoidal": lambda f, p: f(torch.tensor([p.t]), 2 * p.h)[0, p.i],
    "embeddings.ddpm": lambda f, p: f(torch.tensor([p.t]), 2 * p.h)[0, p.i],
    "attention.weights": lambda f, p: f(torch.tensor(p.q)[None], torch.tensor(p.k))[0, p.j],
    "attention.linear": linear_attention,
    # 08: training and sampling
    "samplers.ddpm": lambda f, p: step(f, p, p.t - 1, z=one(p.z)),
    "training.learning_rate": lambda f, p: f(TrainConfig(steps=p.steps, learning_rate=p.eta, warmup=p.warmup), p.i),
    "training.ema_decay": lambda f, p: f(p.decay, p.n),
    "training.ema": lambda f, p: f(one(p.average), one(p.current), p.decay),
    # 09: DDIM
    "samplers.ddim": lambda f, p: step(f, p, p.s, z=one(p.z), eta=p.eta),
    # 10: multistep samplers
    "samplers.plms": plms,
    "samplers.dpm_solver_pp": multistep,
    "samplers.dpm_solver_pp_sde": lambda f, p: multistep(f, p, one(p.z)),
    # 11: score, SDE, ODE
    "schedules.karras_sigma": lambda f, p: f(p.schedule)[p.t],
    "samplers.euler": lambda f, p: step(f, p, p.s),
    "samplers.euler_ancestral": lambda f, p: step(f, p, p.s, z=one(p.z)),
    "samplers.heun": lambda f, p: step(f, p, p.s, prediction.Prediction(one(0), one(p.eps_s))),
    # 14: text
    "encoder.quick_gelu": lambda f, p: f(one(p.x)),
    "contrastive.info_nce": info_nce,
    # 16: guidance
    "guidance.classifier": lambda f, p: (
        f(constant(p, p.eps_pred), lambda x, t: p.gradient * x.sum(1), p.scale)(one(p.x_t), p.t).eps
    ),
    "guidance.classifier_free": classifier_free,
    "guidance.auto": lambda f, p: f(constant(p, p.eps_pred), constant(p, p.eps_worse), p.scale)(one(p.x_t), p.t).eps,
}
