"""Random points at which formulas are compared with their functions."""

import random
from types import SimpleNamespace

import torch

from minidiff.diffusion import schedules

NORMAL = [
    "x", "y", "a", "b", "mean_1", "mean_2", "eps", "z", "x_t", "x_s", "x_prev", "x_prev2", "x_0_pred", "eps_pred",
    "v_pred", "u_pred", "x_0_last", "eps_1", "eps_2", "eps_3", "eps_s", "eps_null", "eps_cond", "eps_worse", "scale",
    "gradient", "average", "current",
]  # fmt: skip
POSITIVE = ["sigma", "sigma_1", "sigma_2", "noise_sigma", "variance", "tau", "gamma"]


def random_point(seed: int) -> SimpleNamespace:
    """A value for each symbol, in float64, and two schedules from which the symbols of schedules are read."""
    draw = random.Random(seed)
    T = draw.randint(6, 12)
    t = draw.randint(3, T - 1)
    s = draw.randint(1, t - 2)
    normal = {name: draw.gauss(0, 1) for name in NORMAL}
    positive = {name: draw.uniform(0.5, 2) for name in POSITIVE}
    # x_0 and mean must not be many sigma apart: the difference of two erf would lose its digits
    near = dict(x_0=draw.uniform(-0.9, 0.9), mean=draw.uniform(-1, 1))
    settings = dict(
        beta_1=draw.uniform(1e-4, 1e-2), beta_T=draw.uniform(0.1, 0.5), offset=draw.uniform(0.001, 0.1),
        start=-draw.uniform(0.5, 3), end=draw.uniform(0.5, 3), shift=draw.uniform(0.5, 3),
        sigma_min=draw.uniform(0.01, 0.06), sigma_max=draw.uniform(5, 25), eta=draw.uniform(0.1, 1),
        steps=draw.randint(20, 30), warmup=draw.randint(1, 10), decay=draw.uniform(0, 1),
    )  # fmt: skip
    schedule = schedules.from_betas([draw.uniform(0.05, 0.3) for _ in range(T)])
    flow = schedules.flow(T, settings["shift"])
    return SimpleNamespace(
        T=T, t=t, s=s, schedule=schedule, flow=flow, **normal, **positive, **near, **settings,
        **_of_schedule(schedule, t, s), **_of_flow(flow, t, s), **_sums(draw),
    )  # fmt: skip


def _of_schedule(schedule: schedules.NoiseSchedule, t: int, s: int) -> dict:
    betas, alphas, abar = schedule.betas.tolist(), schedule.alphas.tolist(), schedule.alphas_cumprod.tolist()
    half_log_snr = (0.5 * schedule.snr.log()).tolist()
    return dict(
        beta=schedule.betas.numpy(), beta_t=betas[t], alpha_t=alphas[t], alpha_prev=alphas[t - 1],
        alpha_bar_t=abar[t], alpha_bar_prev=abar[t - 1], alpha_bar_s=abar[s], alpha_bar_1=abar[1], alpha_bar_T=abar[-1],
        karras_sigma_t=((1 - abar[t]) / abar[t]) ** 0.5, karras_sigma_s=((1 - abar[s]) / abar[s]) ** 0.5,
        step=half_log_snr[s] - half_log_snr[t], last_step=half_log_snr[t] - half_log_snr[t + 1],
    )  # fmt: skip


def _of_flow(flow: schedules.Schedule, t: int, s: int) -> dict:
    signal, noise = flow.signal.tolist(), flow.noise.tolist()
    kept = signal[t] / signal[s]
    return dict(
        signal_t=signal[t], signal_s=signal[s], noise_t=noise[t], noise_s=noise[s],
        kept=kept, added=noise[t] ** 2 - kept**2 * noise[s] ** 2,
    )  # fmt: skip


def _sums(draw: random.Random) -> dict:
    """Arrays and their sizes. `meaning` numbers what each caption says; a row of P spreads 1 over captions that say the same."""
    n, d, h, D = 4, 3, 3, 6
    i = draw.randrange(2 * h)
    generator = torch.Generator().manual_seed(draw.randrange(10**9))
    arrays = {name: torch.randn(n, generator=generator, dtype=torch.float64).numpy() for name in ("m", "p", "value")}
    arrays |= {name: torch.rand(n, generator=generator, dtype=torch.float64).numpy() for name in ("u", "L")}
    meaning = torch.tensor([draw.randrange(n) for _ in range(n)])
    same = (meaning[:, None] == meaning).double()
    return dict(
        n=n, d=d, h=h, D=D, i=i, j=i % h, **arrays,
        w=torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64).numpy(),
        q=torch.randn(d, generator=generator, dtype=torch.float64).numpy(),
        k=torch.randn(n, d, generator=generator, dtype=torch.float64).numpy(),
        S=torch.randn(n, n, generator=generator, dtype=torch.float64).numpy(),
        P=(same / same.sum(1, keepdim=True)).numpy(), meaning=meaning,
    )  # fmt: skip
