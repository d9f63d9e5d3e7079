"""Part II, notebooks 09 to 12: DDIM, multistep samplers, and samplers of the probability-flow ODE and the reverse SDE."""
# ruff: noqa: F403, F405  (the symbols are imported with *)

import sympy as sp

from minidiff import samplers
from minidiff.diffusion import schedules
from minidiff.formulas.formula import Formula
from minidiff.formulas.symbols import *

with sp.evaluate(False):  # sympy keeps each expression in the order in which it is written
    _x_0_hat = (x_t - sp.sqrt(1 - abar_t) * eps_pred) / sp.sqrt(abar_t)
    _sigma_t = eta * sp.sqrt((1 - abar_s) / (1 - abar_t)) * sp.sqrt(1 - abar_t / abar_s)
    _stretch = sp.sqrt(abar_s / abar_t)
    _extrapolated = x_0_pred + step / (2 * last_step) * (x_0_pred - x_0_last)
    _sigma_down = karras_sigma_s**2 / karras_sigma_t

    # fmt: off
    FORMULAS = [
        # 09: DDIM
        Formula("samplers.ddim", "x_s",
                sp.Add(sp.sqrt(abar_s) * _x_0_hat,
                       sp.sqrt(sp.Add(1, -abar_s, -(_sigma_t**2))) * eps_pred,
                       _sigma_t * z),
                samplers.ddim_step, "Song et al. 2021 (DDIM), eq. 12 and 16", "09"),

        # 10: multistep samplers
        Formula("samplers.plms", "x_s",
                _stretch * x_t
                + (sp.sqrt(1 - abar_s) - _stretch * sp.sqrt(1 - abar_t))
                * (sp.Add(55 * eps_pred, -59 * eps_1, 37 * eps_2, -9 * eps_3) / 24),
                samplers.plms_step, "Liu et al. 2022, eq. 9 and 12", "10"),
        Formula("samplers.dpm_solver_pp", "x_s",
                sp.sqrt((1 - abar_s) / (1 - abar_t)) * x_t + sp.sqrt(abar_s) * (1 - sp.exp(-step)) * _extrapolated,
                samplers.dpm_solver_pp_step, "Lu et al. 2022 (DPM-Solver++), alg. 2", "10"),
        Formula("samplers.dpm_solver_pp_sde", "x_s",
                sp.Add(sp.sqrt((1 - abar_s) / (1 - abar_t)) * sp.exp(-step) * x_t,
                       sp.sqrt(abar_s) * (1 - sp.exp(-2 * step)) * _extrapolated,
                       sp.sqrt(1 - abar_s) * sp.sqrt(1 - sp.exp(-2 * step)) * z),
                samplers.dpm_solver_pp_sde_step, "Lu et al. 2022 (DPM-Solver++), app. D", "10"),

        # 11: score, SDE, ODE
        Formula("schedules.karras_sigma", r"\hat\sigma_t",
                sp.sqrt((1 - abar_t) / abar_t),
                schedules.Schedule.karras_sigmas.fget, "Karras et al. 2022, tab. 1", "11"),
        Formula("samplers.euler", "x_s",
                sp.sqrt(abar_s) * (x_t / sp.sqrt(abar_t) + (karras_sigma_s - karras_sigma_t) * eps_pred),
                samplers.euler_step, "Karras et al. 2022, alg. 2", "11"),
        Formula("samplers.euler_ancestral", "x_s",
                sp.sqrt(abar_s) * sp.Add(x_t / sp.sqrt(abar_t),
                                         (_sigma_down - karras_sigma_t) * eps_pred,
                                         sp.sqrt(karras_sigma_s**2 - _sigma_down**2) * z),
                samplers.euler_ancestral_step, "Song et al. 2021 (SDE), app. F", "11"),
        Formula("samplers.heun", "x_s",
                sp.sqrt(abar_s)
                * (x_t / sp.sqrt(abar_t) + (karras_sigma_s - karras_sigma_t) * ((eps_pred + eps_s) / 2)),
                samplers.heun_step, "Karras et al. 2022, alg. 1", "11"),
    ]
    # fmt: on
