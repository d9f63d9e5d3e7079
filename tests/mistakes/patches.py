"""The classic mistakes, as patches: in `file`, `old` (which stands there exactly once) becomes `new`, and `test` must then fail.

Beside them rewritings that change nothing: with those the same tests must still pass.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    name: str
    file: str
    old: str
    new: str
    test: str


FORWARD, POSTERIOR, PREDICTION = (f"minidiff/diffusion/{name}.py" for name in ("forward", "posterior", "prediction"))
SCHEDULES, GAUSSIANS, LOSSES = (f"minidiff/diffusion/{name}.py" for name in ("schedules", "gaussians", "losses"))
EMBEDDINGS = "minidiff/nets/embeddings.py"
DDPM, DDIM = "minidiff/samplers/ddpm.py", "minidiff/samplers/ddim.py"

CLOSED_FORM = "tests/diffusion/test_forward.py::test_all_steps_one_by_one_give_the_closed_form"
CHAIN = "tests/diffusion/test_forward.py::test_a_transition_is_its_steps"
DRAWS = "tests/diffusion/test_forward.py::test_q_sample_has_the_mean_and_variance_of_the_marginal"
PRODUCT = "tests/diffusion/test_schedules.py::test_alphas_cumprod_is_the_product_and_beta_sits_at_its_own_index"
PUBLISHED = "tests/diffusion/test_schedules.py::test_published_values"
COSINE = "tests/diffusion/test_schedules.py::test_cosine_follows_the_cosine_until_the_cap_holds"
GRID = "tests/diffusion/test_posterior.py::test_posterior_is_the_product_of_two_densities_on_a_grid"
BAYES = "tests/diffusion/test_posterior.py::test_posterior_of_any_two_levels_is_conditioning"
EPS_FORM = "tests/diffusion/test_posterior.py::test_the_eps_form_is_the_same_mean"
BOTH_ENDS = "tests/diffusion/test_prediction.py::test_each_parameterisation_tells_both_ends"
ROTATION = "tests/diffusion/test_prediction.py::test_v_and_x_t_are_a_rotation_of_eps_and_x_0"
SCORE = "tests/diffusion/test_prediction.py::test_score_is_the_gradient_of_the_log_density"
SCIPY = "tests/diffusion/test_gaussians.py::test_density_and_entropy_agree_with_scipy"
KL = "tests/diffusion/test_gaussians.py::test_kl_is_its_integral"
LAW = "tests/samplers/test_samplers.py::test_a_sampler_draws_from_its_own_exact_law"
LEVELS = "tests/training/test_objective.py::test_levels_are_uniform_from_1_to_T"
AVERAGE = "tests/training/test_parts.py::test_average_is_the_weighted_sum_of_all_weights_seen"
BUFFERS = "tests/training/test_parts.py::test_buffers_are_copied_from_the_model_not_averaged"
DIGITS = "tests/data/test_digits.py::test_shapes_ranges_and_equal_classes"
SINUSOIDS = "tests/nets/test_embeddings.py::test_stable_diffusion_form_is_cosines_then_sines"
WATCH = "tests/training/test_loop.py::test_training_learns_and_leaves_what_one_needs_to_watch_it"

MISTAKES = [
    Patch("1: two steps merged with √α_t in front of all noise", FORWARD, "* x_s, beta_t.to(x_s)", "* x_s, (alpha_t * beta_t).to(x_s)", CHAIN),
    Patch("2: β up to 0.002", SCHEDULES, "beta_T: Real = 0.02)", "beta_T: Real = 0.002)", PUBLISHED),
    Patch("3: noise added, nothing shrunk", FORWARD, "mean = alpha_t.sqrt().to(x_prev) * x_prev", "mean = x_prev", CLOSED_FORM),
    Patch("4: 1/√(2πσ)", GAUSSIANS, "torch.log(2 * math.pi * variance)", "torch.log(2 * math.pi * variance.sqrt())", SCIPY),
    Patch("5: α_t for ᾱ_t in the closed form", FORWARD, "alpha_bar_t = schedule.at(t, like=x_0).alpha_bar_t\n    mean", "alpha_bar_t = schedule.at(t, like=x_0).alpha_t\n    mean", CLOSED_FORM),
    Patch("5: 1 - ᾱ_t without the root", FORWARD, "(1 - alpha_bar_t).sqrt().to(x_0) * eps", "(1 - alpha_bar_t).to(x_0) * eps", DRAWS),
    Patch("5: ᾱ as the product of β", SCHEDULES, "(1 - betas).cumprod(0)", "betas.cumprod(0)", PRODUCT),
    Patch("5: ᾱ as 1 - Σβ", SCHEDULES, "(1 - betas).cumprod(0)", "1 - betas.cumsum(0)", PRODUCT),
    Patch("6: the two weights swapped", POSTERIOR, "weight_0.to(x_t) * x_0 + weight_t.to(x_t) * x_t", "weight_t.to(x_t) * x_0 + weight_0.to(x_t) * x_t", GRID),
    Patch("6: √ᾱ_t for √α_t", POSTERIOR, "weight_t = alpha_t.sqrt()", "weight_t = alpha_bar_t.sqrt()", GRID),
    Patch("6: √ᾱ_t for √ᾱ_{t-1}", POSTERIOR, "weight_0 = alpha_bar_prev.sqrt()", "weight_0 = alpha_bar_t.sqrt()", GRID),
    Patch("6: β̃ inverted", POSTERIOR, "variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t", "variance = (1 - alpha_bar_t) / (1 - alpha_bar_prev) * beta_t", GRID),
    Patch("6: β_t not divided by the root in the ε form", POSTERIOR, "(beta_t / (1 - alpha_bar_t).sqrt())", "(beta_t / (1 - alpha_bar_t))", EPS_FORM),
    Patch("7: noise in the last step too", DDPM, "if s == 0:", "if s < 0:", LAW),
    Patch("8: T never trained", "minidiff/training/objective.py", "randint(1, schedule.T + 1,", "randint(1, schedule.T,", LEVELS),
    Patch("8: t = 0 trained", "minidiff/training/objective.py", "randint(1, schedule.T + 1,", "randint(0, schedule.T + 1,", LEVELS),
    Patch("9: x̂_0 divided by ᾱ_t", PREDICTION, "/ alpha_bar_t.sqrt().to(x_t)\n    return Prediction(x_0, value)", "/ alpha_bar_t.to(x_t)\n    return Prediction(x_0, value)", BOTH_ENDS),
    Patch("9: v with its sign flipped", PREDICTION, "* eps - (1 - alpha_bar_t).sqrt().to(x_0) * x_0", "* x_0 - (1 - alpha_bar_t).sqrt().to(x_0) * eps", ROTATION),
    Patch("9: x̂_0 from v with its sign flipped", PREDICTION, "signal * x_t - noise * value", "signal * x_t + noise * value", BOTH_ENDS),
    Patch("9: the score with its sign flipped", PREDICTION, "return -eps / ", "return eps / ", SCORE),
    Patch("9: the score without the root", PREDICTION, "return -eps / (1 - alpha_bar_t).sqrt()", "return -eps / (1 - alpha_bar_t)", SCORE),
    Patch("11: cos for cos²", SCHEDULES, "* math.pi / 2) ** 2, beta_max)", "* math.pi / 2), beta_max)", COSINE),
    Patch("11: no offset", SCHEDULES, "s: Real = 0.008", "s: Real = 0.0", COSINE),
    Patch("11: no cap", SCHEDULES, ".clamp(max=beta_max))", ".clamp(max=1))", COSINE),
    Patch("12: even in β, not in √β", SCHEDULES, "torch.linspace(beta_1**0.5, beta_T**0.5, T, dtype=torch.float64) ** 2", "torch.linspace(beta_1, beta_T, T, dtype=torch.float64)", PUBLISHED),
    Patch("13: σ² left out of the direction", DDIM, "(1 - alpha_bar_s - sigma_t_squared).sqrt()", "(1 - alpha_bar_s).sqrt()", LAW),
    Patch("13: t - 1 for the neighbour", DDIM, "schedule.at(s, like=x_t).alpha_bar_t", "schedule.at(t - 1, like=x_t).alpha_bar_t", LAW),
    Patch("13: σ with its ratio inverted", DDIM, "(1 - alpha_bar_s) / (1 - alpha_bar_t)", "(1 - alpha_bar_t) / (1 - alpha_bar_s).clamp(min=1e-9)", LAW),
    Patch("17: DDPM's frequencies for Stable Diffusion's", EMBEDDINGS, "dtype=torch.float32) / half)", "dtype=torch.float32) / (half - 1))", SINUSOIDS),
    Patch("17: sines first", EMBEDDINGS, "torch.cat([angles.cos(), angles.sin()], dim=-1)", "torch.cat([angles.sin(), angles.cos()], dim=-1)", SINUSOIDS),
    Patch("22: EMA decay swapped", "minidiff/training/averaging.py", "decay * average + (1 - decay) * current", "(1 - decay) * average + decay * current", AVERAGE),
    Patch("22: buffers averaged", "minidiff/training/averaging.py", "int(n))))", "int(n))), use_buffers=True)", BUFFERS),
    Patch("22: pictures in [0, 1]", "minidiff/data/digits.py", ".float() / 127.5 - 1,", ".float() / 255,", DIGITS),
    Patch("22: eval() forgotten", "minidiff/training/loop.py", "return run.ema.module.eval()", "return run.ema.module.train()", WATCH),
]  # fmt: skip

EQUIVALENTS = [
    Patch("the variance of a step written as 1 - α", FORWARD, "variance = beta_t.to(x_prev)", "variance = (1 - alpha_t).to(x_prev)", CLOSED_FORM),
    Patch("ᾱ as the exponential of a sum of logarithms", SCHEDULES, "(1 - betas).cumprod(0)", "torch.log1p(-betas).cumsum(0).exp()", PRODUCT),
    Patch("cos² by the half-angle formula", SCHEDULES, "torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2", "(1 + torch.cos((t / T + s) / (1 + s) * math.pi)) / 2", COSINE),
    Patch("the ε form by way of x_0", POSTERIOR, "return (x_t - (beta_t / (1 - alpha_bar_t).sqrt()).to(x_t) * eps) / alpha_t.sqrt().to(x_t)", "return q_posterior(schedule, (x_t - (1 - alpha_bar_t).sqrt().to(x_t) * eps) / alpha_bar_t.sqrt().to(x_t), x_t, t)[0]", EPS_FORM),
    Patch("the posterior's variance as the inverse of a precision", POSTERIOR, "variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t", "variance = 1 / (alpha_t / beta_t + 1 / (1 - alpha_bar_prev))", GRID),
    Patch("KL from standard deviations", GAUSSIANS, "torch.log(variance_2 / variance_1)", "2 * torch.log(variance_2.sqrt() / variance_1.sqrt())", KL),
    Patch("ε̂ from v by way of x̂_0", PREDICTION, "noise * x_t + signal * value)", "(x_t - signal * (signal * x_t - noise * value)) / noise)", BOTH_ENDS),
    Patch("σ as a product of roots", DDIM, "eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * step_between(schedule, s, t, like=x_t)[1]", "(eta * ((1 - alpha_bar_s) / (1 - alpha_bar_t)).sqrt() * (1 - alpha_bar_t / alpha_bar_s).sqrt()) ** 2", LAW),
    Patch("no noise in the last step because β̃ is 0 there", DDPM, 'if s == 0:\n            return mean, x_0\n        if variance == "beta":', 'if variance == "beta" and s == 0:\n            return mean, x_0\n        if variance == "beta":', LAW),
    Patch("levels drawn from 0 and raised by one", "minidiff/training/objective.py", "torch.randint(1, schedule.T + 1, (len(x_0),), generator=generator)", "torch.randint(0, schedule.T, (len(x_0),), generator=generator) + 1", LEVELS),
    Patch("the average as a step towards the weights", "minidiff/training/averaging.py", "decay * average + (1 - decay) * current", "average + (1 - decay) * (current - average)", AVERAGE),
]  # fmt: skip
