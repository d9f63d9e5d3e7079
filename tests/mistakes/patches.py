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


def law(case: str, levels: str = "uneven") -> str:
    """The test of one sampler's law; uneven levels mostly see more than even ones."""
    return f"tests/samplers/test_laws.py::test_a_sampler_draws_from_its_own_exact_law[{case}-{levels}]"


PLMS, DPM, EULER, RUN = (f"minidiff/samplers/{name}.py" for name in ("plms", "dpm_solver", "euler", "run"))
EDITING = "minidiff/pipelines/editing.py"
CONVERGENCE = "tests/samplers/test_orders.py::test_the_order_is_that_of_theory"
POLYNOMIALS = "tests/samplers/test_samplers.py::test_plms_integrates_polynomials_of_sigma_exactly"
CONSTRAINT = "tests/samplers/test_samplers.py::test_a_constraint_is_what_the_next_step_goes_on_from"
THERE_AND_BACK = "tests/samplers/test_samplers.py::test_ddim_there_and_back_nears_where_it_began_as_steps_grow"
FIRST_LEVEL = "tests/pipelines/test_editing.py::test_image_to_image_begins_with_the_noise_of_the_first_level_visited"
MARKED = "tests/pipelines/test_editing.py::test_inpainting_changes_what_is_marked_and_not_a_pixel_more"
JUST_REACHED = "tests/pipelines/test_editing.py::test_what_is_known_has_the_noise_of_the_level_just_reached"
CLEAN = "tests/pipelines/test_editing.py::test_without_paste_back_the_kept_part_is_what_the_autoencoder_makes_of_its_latents"
ALL_OF_ITS_PIXELS = "tests/pipelines/test_editing.py::test_a_latent_is_kept_where_all_of_its_pixels_are"
BACK_UP = "tests/pipelines/test_editing.py::test_resampling_goes_back_up_by_the_forward_process"
HIDDEN = "tests/pipelines/test_editing.py::test_what_the_mask_hides_has_no_part_in_the_result"
STANDARD = "tests/pipelines/test_editing.py::test_between_seeds_noise_stays_standard_normal"
LEVELS = "tests/training/test_objective.py::test_levels_are_uniform_from_1_to_T"
LOGIT_NORMAL = "tests/training/test_levels.py::test_a_level_is_as_likely_as_the_gaussian_says"
RECIPE_NOISE = "tests/pipelines/test_stages.py::test_a_recipe_says_with_how_much_noise_the_autoencoder_begins"
RECIPE_LEVELS = "tests/pipelines/test_stages.py::test_a_recipe_says_which_levels_are_trained"
AVERAGE = "tests/training/test_parts.py::test_average_is_the_weighted_sum_of_all_weights_seen"
EMA = "tests/test_formulas.py::test_the_function_computes_the_formula[training.ema]"
BUFFERS = "tests/training/test_parts.py::test_buffers_are_copied_from_the_model_not_averaged"
DIGITS = "tests/data/test_digits.py::test_shapes_ranges_and_equal_classes"
SINUSOIDS = "tests/nets/test_embeddings.py::test_stable_diffusion_form_is_cosines_then_sines"
SHARE = "tests/training/test_loop.py::test_a_part_learns_at_its_share_of_the_rate"
WATCH = "tests/training/test_loop.py::test_training_learns_and_leaves_what_one_needs_to_watch_it"

GUIDANCE, CONDITIONER = "minidiff/guidance.py", "minidiff/conditioner.py"
BAYES_G = "tests/test_guidance.py::test_the_exact_classifier_at_scale_1_makes_the_conditional_denoiser"
FREE = "tests/test_guidance.py::test_classifier_free_at_s_is_classifier_guidance_of_the_conditional_one_at_s_minus_1"
LINE = "tests/test_guidance.py::test_x_t_stays_on_the_line_between_both_ends"
AUTO = "tests/test_guidance.py::test_auto_guidance_between_gaussians_narrows_what_the_worse_one_has_too_wide"
CALLS = "tests/test_guidance.py::test_it_is_one_call_with_both_halves_and_none_of_the_null_half_at_scale_1"
ITEMS = "tests/test_guidance.py::test_each_item_is_guided_by_itself"
MODES = "tests/test_guidance.py::test_gradients_are_on_inside_the_classifier_and_nowhere_else"
DROPS = "tests/test_conditioner.py::test_prompts_are_dropped_with_this_probability_each_by_itself"
WHOLE = "tests/test_conditioner.py::test_a_row_is_dropped_whole_or_stays_where_it_is"
NULLS = "tests/test_conditioner.py::test_the_null_context_is_the_empty_prompts"
SAMPLED = "tests/test_guidance.py::test_guidance_by_the_exact_classifier_samples_the_conditional_law"
ATTENTION = "minidiff/nets/attention.py"
SOFTMAX = "tests/nets/test_attention.py::test_attention_weights_are_a_softmax_over_the_keys"
HEADS = "tests/nets/test_attention.py::test_attention_is_the_formula_in_each_head"
ENCODER, CONTRASTIVE, TOKENIZER, BPE = (
    f"minidiff/text/{name}.py" for name in ("encoder", "contrastive", "tokenizer", "bpe")
)
CAUSAL = "tests/text/test_encoder.py::test_a_later_token_never_changes_an_earlier_state"
POOLED = "tests/text/test_encoder.py::test_pooled_is_the_state_at_the_first_end_token"
ORDER = "tests/text/test_encoder.py::test_the_order_of_words_matters"
QUICK_GELU = "tests/text/test_encoder.py::test_quick_gelu_is_near_the_gelu_and_is_not_it"
POSITIVES = "tests/text/test_contrastive.py::test_equal_meanings_share_the_target_evenly"
LENGTH_ONE = "tests/text/test_contrastive.py::test_features_are_points_of_length_one"
SCALE = "tests/text/test_contrastive.py::test_the_scale_begins_at_clip_s_and_rests_at_100_until_it_is_pulled_back"
CUT = "tests/text/test_tokenizer.py::test_a_prompt_too_long_keeps_its_end_token_and_says_what_is_lost"
WORDS = "tests/text/test_tokenizer.py::test_words"
REPLAY = "tests/text/test_bpe.py::test_pieces_are_what_a_replay_of_the_merges_leaves"
RECOUNT = "tests/text/test_bpe.py::test_learning_is_counting_everything_after_every_merge"
MARK = "tests/text/test_bpe.py::test_words_seen_twice_become_whole_and_new_ones_fall_into_known_pieces"
CAPTIONED = "tests/data/test_captioned.py::test_training_never_shows_a_held_out_triple_and_shows_every_other"
EMOJI = "tests/data/test_emoji.py::test_shapes_and_range"
NEVER_SHOWN = "tests/data/test_emoji.py::test_recoloured_emoji_never_show_what_is_held_out"
RECOLOURED = "tests/data/test_recolouring.py::test_one_colour_becomes_just_the_one_that_is_listed"
OTHERS_STAY = "tests/data/test_recolouring.py::test_other_colours_stay"
LAB_INVERSE = "tests/data/test_cielab.py::test_the_way_back_is_the_inverse"
CLIP = "tests/metrics/test_clip_score.py::test_the_nearest_direction_is_the_best_caption"
INK = "tests/data/test_drawing.py::test_grey_mixes_the_two_by_its_value"

VAE, AUTOENCODING = "minidiff/nets/vae.py", "minidiff/training/autoencoding.py"
DRAWN = "tests/nets/test_vae.py::test_draws_have_the_mean_and_variance_that_were_asked_for"
PADDED = "tests/nets/test_vae.py::test_a_pixel_is_seen_from_where_padding_on_the_right_and_at_the_bottom_puts_it"
VAE_KL = "tests/nets/test_vae.py::test_kl_is_the_sum_over_dimensions_of_the_kl_of_one"
SCALED = "tests/nets/test_vae.py::test_latents_are_scaled_after_encoding_and_back_before_decoding"
ROUND_TRIP = "tests/nets/test_vae.py::test_a_round_trip_does_not_feel_the_scale"
BEGINS = "tests/training/test_autoencoding.py::test_an_autoencoder_begins_with_the_noise_that_was_set"
PER_NUMBER = "tests/training/test_autoencoding.py::test_the_loss_is_the_error_per_pixel_plus_the_weighted_kl_per_latent"
ELBO = "tests/training/test_autoencoding.py::test_the_loss_is_the_negative_elbo_of_a_gaussian_decoder"

MISTAKES = [
    Patch("1: two steps merged with √α_t in front of all noise", FORWARD, "* x_s, beta_t.to(x_s)", "* x_s, (alpha_t * beta_t).to(x_s)", CHAIN),
    Patch("2: β up to 0.002", SCHEDULES, "beta_T: Real = 0.02)", "beta_T: Real = 0.002)", PUBLISHED),
    Patch("3: noise added, nothing shrunk", FORWARD, "mean = alpha_t.sqrt().to(x_prev) * x_prev", "mean = x_prev", CLOSED_FORM),
    Patch("4: 1/√(2πσ)", GAUSSIANS, "torch.log(2 * math.pi * variance)", "torch.log(2 * math.pi * variance.sqrt())", SCIPY),
    Patch("5: α_t for ᾱ_t in the closed form", FORWARD, "alpha_bar_t = schedule.at(t, like=x_0).alpha_bar_t\n    mean", "alpha_bar_t = schedule.at(t, like=x_0).alpha_t\n    mean", CLOSED_FORM),
    Patch("5: 1 - ᾱ_t without the root", FORWARD, "(1 - alpha_bar_t).sqrt().to(x_0) * eps", "(1 - alpha_bar_t).to(x_0) * eps", DRAWS),
    Patch("5: ᾱ as the product of β", SCHEDULES, "(1 - betas).cumprod(0)", "betas.cumprod(0)", PRODUCT),
    Patch("5: ᾱ as 1 - Σβ", SCHEDULES, "(1 - betas).cumprod(0)", "1 - betas.cumsum(0)", PRODUCT),
    Patch("6: the two weights swapped", POSTERIOR, "return weight_0, weight_t, variance", "return weight_t, weight_0, variance", GRID),
    Patch("6: √ᾱ_t for √α_t", POSTERIOR, "weight_t = alpha_t**0.5", "weight_t = alpha_bar_t**0.5", GRID),
    Patch("6: √ᾱ_t for √ᾱ_{t-1}", POSTERIOR, "weight_0 = alpha_bar_prev**0.5", "weight_0 = alpha_bar_t**0.5", GRID),
    Patch("6: β̃ inverted", POSTERIOR, "variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t", "variance = (1 - alpha_bar_t) / (1 - alpha_bar_prev) * beta_t", GRID),
    Patch("6: β_t not divided by the root in the ε form", POSTERIOR, "(beta_t / (1 - alpha_bar_t).sqrt())", "(beta_t / (1 - alpha_bar_t))", EPS_FORM),
    Patch("7: noise in the last step too", DDPM, "if s == 0:", "if s < 0:", law("ddpm, beta", "ten")),
    Patch("8: T never trained", "minidiff/training/levels.py", "randint(1, schedule.T + 1,", "randint(1, schedule.T,", LEVELS),
    Patch("8: t = 0 trained", "minidiff/training/levels.py", "randint(1, schedule.T + 1,", "randint(0, schedule.T + 1,", LEVELS),
    Patch("9: x̂_0 divided by ᾱ_t", PREDICTION, "(x_t - noise * value) / signal, value)", "(x_t - noise * value) / signal**2, value)", BOTH_ENDS),
    Patch("9: v with its sign flipped", PREDICTION, "signal * eps - noise * x_0", "signal * x_0 - noise * eps", ROTATION),
    Patch("9: x̂_0 from v with its sign flipped", PREDICTION, "signal * x_t - noise * value", "signal * x_t + noise * value", BOTH_ENDS),
    Patch("9: the score with its sign flipped", PREDICTION, "return -eps / ", "return eps / ", SCORE),
    Patch("9: the score without the root", PREDICTION, "return -eps / noise", "return -eps / noise**2", SCORE),
    Patch("11: cos for cos²", SCHEDULES, "* math.pi / 2) ** 2, beta_max)", "* math.pi / 2), beta_max)", COSINE),
    Patch("11: no offset", SCHEDULES, "s: Real = 0.008", "s: Real = 0.0", COSINE),
    Patch("11: no cap", SCHEDULES, ".clamp(max=beta_max))", ".clamp(max=1))", COSINE),
    Patch("12: even in β, not in √β", SCHEDULES, "torch.linspace(beta_1**0.5, beta_T**0.5, T, dtype=torch.float64) ** 2", "torch.linspace(beta_1, beta_T, T, dtype=torch.float64)", PUBLISHED),
    Patch("13: σ² left out of the direction", DDIM, "max(0, 1 - alpha_bar_s - sigma_t_squared)", "1 - alpha_bar_s", law("ddim, half")),
    Patch("13: t - 1 for the neighbour", DDIM, "alpha_bar_t, alpha_bar_s = alpha_bar[t], alpha_bar[s]", "alpha_bar_t, alpha_bar_s = alpha_bar[t], float(schedule.alphas_cumprod[t - 1])", law("ddim")),
    Patch("13: σ with its ratio inverted", DDIM, "eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t)", "eta**2 * (1 - alpha_bar_t) / max(1 - alpha_bar_s, 1e-9)", law("ddim, half")),
    Patch("13: σ for σ²", DDIM, "math.sqrt(sigma_t_squared) * randn_like", "sigma_t_squared * randn_like", law("ddim, half")),
    Patch("14: a history of zeros", PLMS, "deque((said.eps for _, said in history), maxlen=4)", "deque([0 * x] * 3, maxlen=4)", POLYNOMIALS),
    Patch("14: the oldest answer weighed as the newest", PLMS, "reversed(recent)", "recent", POLYNOMIALS),
    Patch("14: no past kept", PLMS, "maxlen=4", "maxlen=1", POLYNOMIALS),
    Patch("14: a wrong weight", PLMS, "(55 / 24, -59 / 24, 37 / 24, -9 / 24)", "(55 / 24, -59 / 24, 36 / 24, -8 / 24)", POLYNOMIALS),
    Patch("DPM-Solver++: the ratio of its steps inverted", DPM, "h / (2 * last_h)", "last_h / (2 * h)", law("dpm_solver_pp, sde")),
    Patch("DPM-Solver++: extrapolated to the step's end, not to its middle", DPM, "h / (2 * last_h)", "h / last_h", f"{CONVERGENCE}[dpm_solver_pp-gaussian]"),
    Patch("DPM-Solver++: extrapolated backwards", DPM, "(x_0 - last_x_0)", "(last_x_0 - x_0)", f"{CONVERGENCE}[dpm_solver_pp-gaussian]"),
    Patch("DPM-Solver++: second order into σ = 0", DPM, "before is not None and s > 0", "before is not None", law("dpm_solver_pp, sde")),
    Patch("DPM-Solver++: log SNR for half of it", DPM, "return 0.5 * math.log", "return math.log", f"{CONVERGENCE}[dpm_solver_pp-gaussian]"),
    Patch("SDE: the noise of one h, not of two", DPM, "(1 - alpha_bar[s]) * (1 - shrink**2)) * randn", "(1 - alpha_bar[s]) * (1 - shrink)) * randn", law("dpm_solver_pp, sde")),
    Patch("SDE: noise added, x_t not shrunk for it", DPM, "keep * shrink * x_t", "keep * x_t", law("dpm_solver_pp, sde")),
    Patch("ancestral: r² for r", EULER, "math.sqrt(r_squared) * eps", "r_squared * eps", law("euler_ancestral")),
    Patch("ancestral: noise up to σ̂_t, not to σ̂_s", EULER, "alpha_bar[t] * (1 - alpha_bar[s]) / (alpha_bar[s] * (1 - alpha_bar[t]))", "0.0", law("euler_ancestral")),
    Patch("Heun: slopes added, not averaged", EULER, "x_s + 0.5 * (noise", "x_s + (noise", f"{CONVERGENCE}[heun-gaussian]"),
    Patch("Heun: the second slope asked for at the level that was left", EULER, "turn = denoise(x_s, s).eps", "turn = denoise(x_s, t).eps", f"{CONVERGENCE}[heun-gaussian]"),
    Patch("Heun: asked about noise where there is none", EULER, "        if s == 0:\n            return x_s, x_0\n        turn", "        turn", law("heun, churned")),
    Patch("churn: the variance added as a standard deviation", EULER, "variance.sqrt() * randn_like(x_t, generator), level", "variance * randn_like(x_t, generator), level", law("euler, churned")),
    Patch("churn: the denoiser not told of it", EULER, "x_t, t, _ = _churned", "x_t, _, _ = _churned", law("euler, churned")),
    Patch("inversion: the network asked at t = 0", DDIM, "s if s > 0 else t)", "s)", THERE_AND_BACK),
    Patch("20: the mask inverted", EDITING, "free * z_s + (1 - free) * known", "(1 - free) * z_s + free * known", CLEAN),
    Patch("20: the known part noised to the level that was left", RUN, "x = constrain(x, s)", "x = constrain(x, t)", CONSTRAINT),
    Patch("20: the known part without noise", EDITING, "known = q_sample(self.schedule, z_0, s, randn_like(z_0, plan.generators)) if s > 0 else z_0", "known = z_0", JUST_REACHED),
    Patch("20: the known part left noisy at the end", EDITING, "q_sample(self.schedule, z_0, s, randn_like(z_0, plan.generators)) if s > 0 else z_0", "q_sample(self.schedule, z_0, max(s, 1), randn_like(z_0, plan.generators))", CLEAN),
    Patch("20: what the mask hides is encoded too", EDITING, "self._encoded(_covered(images.cpu(), repaint), plan)", "self._encoded(images, plan)", HIDDEN),
    Patch("20: no paste-back", EDITING, "paste: bool = True", "paste: bool = False", f"{MARKED}[ddim]"),
    Patch("20: a latent kept where any of its pixels is", EDITING, "free = F.max_pool2d(repaint, self.vae.config.factor)", "free = 1 - F.max_pool2d(1 - repaint, self.vae.config.factor)", ALL_OF_ITS_PIXELS),
    Patch("image to image: begun one level off", EDITING, "plan.times[-taken - 1 :]", "plan.times[-taken:]", f"{FIRST_LEVEL}[0.5-5]"),
    Patch("image to image: noised to T, begun below", EDITING, "q_sample(self.schedule, z_0, plan.times[0],", "q_sample(self.schedule, z_0, self.schedule.T,", f"{FIRST_LEVEL}[0.5-5]"),
    Patch("image to image: a small strength takes no step", EDITING, "max(1, round(", "max(0, round(", f"{FIRST_LEVEL}[1e-06-1]"),
    Patch("resampling: back up without noise", EDITING, "z_t = mean + variance.sqrt() * randn_like(mean, plan.generators)", "z_t = mean", BACK_UP),
    Patch("between seeds: a straight line through noise", EDITING, "angle.cos() * one + angle.sin() * other", "(1 - angle * 2 / pi) * one + angle * 2 / pi * other", STANDARD),
    Patch("17: DDPM's frequencies for Stable Diffusion's", EMBEDDINGS, "dtype=torch.float32) / half)", "dtype=torch.float32) / (half - 1))", SINUSOIDS),
    Patch("17: sines first", EMBEDDINGS, "torch.cat([angles.cos(), angles.sin()], dim=-1)", "torch.cat([angles.sin(), angles.cos()], dim=-1)", SINUSOIDS),
    Patch("22: EMA decay swapped", "minidiff/training/averaging.py", "get_ema_multi_avg_fn(ema_decay(decay, int(n)))", "get_ema_multi_avg_fn(1 - ema_decay(decay, int(n)))", AVERAGE),
    Patch("22: EMA decay swapped in the formula", "minidiff/training/averaging.py", "decay * average + (1 - decay) * current", "(1 - decay) * average + decay * current", EMA),
    Patch("22: buffers averaged", "minidiff/training/averaging.py", "multi_avg_fn=update)", "multi_avg_fn=update, use_buffers=True)", BUFFERS),
    Patch("22: pictures in [0, 1]", "minidiff/data/digits.py", ".float() / 127.5 - 1,", ".float() / 255,", DIGITS),
    Patch("8: t / T rounded down", "minidiff/training/levels.py", "fraction).ceil()", "fraction).floor()", LOGIT_NORMAL),
    Patch("the spread of levels as a variance", "minidiff/training/levels.py", "mean + std *", "mean + std**0.5 *", LOGIT_NORMAL),
    Patch("a recipe's levels forgotten", "minidiff/pipelines/stages.py", "            levels=recipe.levels,\n", "", RECIPE_LEVELS),
    Patch("a part's share of the rate forgotten", "minidiff/training/loop.py", 'group["share"] * learning_rate(self.config, step)', "learning_rate(self.config, step)", SHARE),
    Patch("22: eval() forgotten", "minidiff/training/loop.py", "return run.ema.module.eval()", "return run.ema.module.train()", WATCH),
    Patch("15: s ε_c + (s - 1) ε_∅", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "s * eps_cond + (s - 1) * eps_null)", FREE),
    Patch("15: the halves swapped", GUIDANCE, "torch.cat([null_context, context])", "torch.cat([context, null_context])", FREE),
    Patch("15: guided towards the worse network", GUIDANCE, "eps_worse + s * (eps - eps_worse)", "eps + s * (eps_worse - eps)", AUTO),
    Patch("15: s taken for w = s - 1", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "eps_cond + s * (eps_cond - eps_null))", FREE),
    Patch("15: ε̂ guided, x̂_0 forgotten", GUIDANCE, "Prediction(x_0_null + s * (x_0_cond - x_0_null),", "Prediction(x_0_cond,", LINE),
    Patch("15: two calls' worth of work at scale 1", GUIDANCE, "if off:", "if False:", CALLS),
    Patch("15: the classifier's gradient added to ε̂", GUIDANCE, "eps - to_eps.to(x_t) * lean", "eps + to_eps.to(x_t) * lean", BAYES_G),
    Patch("15: the score's root left out", GUIDANCE, "(1 - alpha_bar_t).sqrt()\n", "(1 - alpha_bar_t)\n", BAYES_G),
    Patch("15: ε̂ guided by the classifier, x̂_0 not", GUIDANCE, "x_0 + to_x_0.to(x_t) * lean", "x_0", BAYES_G),
    Patch("15: gradients left off in a sampler", GUIDANCE, "torch.inference_mode(False), torch.enable_grad()", "torch.set_grad_enabled(torch.is_grad_enabled())", SAMPLED),
    Patch("15: gradients turned on, inference mode left on", GUIDANCE, "torch.inference_mode(False), torch.enable_grad()", "torch.enable_grad()", MODES),
    Patch("15: the mean over the batch differentiated", GUIDANCE, "torch.autograd.grad(answer.sum(), leaf)", "torch.autograd.grad(answer.mean(), leaf)", ITEMS),
    Patch("15: one coin for the whole batch", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator)", "torch.rand(1, 1, generator=generator)", DROPS),
    Patch("15: tokens dropped, not prompts", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator)", "torch.rand(tokens.shape, generator=generator)", WHOLE),
    Patch("15: kept with the probability of dropping", CONDITIONER, "generator=generator) < probability", "generator=generator) > probability", DROPS),
    Patch("15: no prompt taken for a context of zeros", CONDITIONER, 'return self([""]).expand(count, -1, -1)', 'return 0 * self([""]).expand(count, -1, -1)', NULLS),
    Patch("16: softmax over the queries", ATTENTION, "return scores.softmax(dim=-1)", "return scores.softmax(dim=-2)", SOFTMAX),
    Patch("16: d for √d", ATTENTION, "query.shape[-1] ** 0.5", "query.shape[-1]", SOFTMAX),
    Patch("16: no √d", ATTENTION, "scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5", "scores = query @ key.transpose(-1, -2)", SOFTMAX),
    Patch("16: √ of all channels for √ of one head's", ATTENTION, "scaled_dot_product_attention(query, key, value)", "scaled_dot_product_attention(query, key, value, scale=x.shape[-1] ** -0.5)", HEADS),
    Patch("text: no causal mask", ENCODER, "is_causal=True", "is_causal=False", CAUSAL),
    Patch("text: the last state for the one at the end token", ENCODER, "is_end.int().argmax(dim=1)", "is_end.int().sum(dim=1) * 0 + tokens.shape[1] - 1", POOLED),
    Patch("text: no positions", ENCODER, " + self.position_embedding.weight[: tokens.shape[1]]", "", ORDER),
    Patch("text: the exact GELU with CLIP's weights", ENCODER, "return x * torch.sigmoid(1.702 * x)", "return F.gelu(x)", QUICK_GELU),
    Patch("contrastive: captions of one meaning as negatives", CONTRASTIVE, "(meaning[:, None] == meaning[None, :]).to(logits)", "torch.eye(len(meaning)).to(logits)", POSITIVES),
    Patch("contrastive: a target that sums to more than 1", CONTRASTIVE, "target = same / same.sum(dim=1, keepdim=True)", "target = same", POSITIVES),
    Patch("contrastive: pictures ask, captions do not", CONTRASTIVE, "(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2", "F.cross_entropy(logits, target)", POSITIVES),
    Patch("contrastive: features of any length", CONTRASTIVE, "return F.normalize(self.image_projection(self.image_encoder(x)), dim=-1)", "return self.image_projection(self.image_encoder(x))", LENGTH_ONE),
    Patch("contrastive: a scale that is clamped and never comes back", CONTRASTIVE, "        with torch.no_grad():\n            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))\n        return self.log_scale.exp()", "        return self.log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()", SCALE),
    Patch("tokenizer: the end token cut off with the rest", TOKENIZER, "row = [self.start, *ids[:room], self.end]", "row = [self.start, *ids, self.end][: self.context_length]", CUT),
    Patch("tokenizer: accents left apart", TOKENIZER, 'unicodedata.normalize("NFC", text)', "text", WORDS),
    Patch("bpe: the first known pair merged, not the one learned first", BPE, "first = min(pairwise(symbols), key=lambda pair: ranks.get(pair, math.inf), default=None)", "first = next((pair for pair in pairwise(symbols) if pair in ranks), None)", REPLAY),
    Patch("bpe: pairs not counted anew after a merge", BPE, "                total[pair] += frequencies[i]\n                where[pair].add(i)\n                changed.add(pair)", "                where[pair].add(i)\n                changed.add(pair)", RECOUNT),
    Patch("bpe: each word counted once", BPE, "frequencies = list(counts.values())", "frequencies = [1] * len(counts)", RECOUNT),
    Patch("bpe: no mark at the end of a word", BPE, "return (*symbols, last + END_OF_WORD)", "return (*symbols, last)", MARK),
    Patch("held-out triples shown in training", "minidiff/data/digits.py", '"train": (False,)', '"train": (False, True)', CAPTIONED),
    Patch("held-out pairs of colour and thing are shown", "minidiff/data/emoji.py", "not in known | never", "not in known", NEVER_SHOWN),
    Patch("a hue in degrees taken for radians", "minidiff/data/recolouring.py", "angle = torch.deg2rad(new_hue + ", "angle = (new_hue + ", RECOLOURED),
    Patch("every colour moves, not the main one", "minidiff/data/recolouring.py", "(votes > 0) & (away.abs() <= _REACH)", "votes > 0", OTHERS_STAY),
    Patch("sRGB's curve inverted the wrong way", "minidiff/data/cielab.py", "light ** (1 / 2.4)", "light**2.4", LAB_INVERSE),
    Patch("22: emoji in [0, 1]", "minidiff/data/emoji.py", ".float() / 127.5 - 1, captions", ".float() / 255, captions", EMOJI),
    Patch("22: a grey value in [-1, 1] taken for an opacity", "minidiff/data/drawing.py", "(digit_image[0] + 1) / 2", "digit_image[0]", INK),
    Patch("the best picture of a caption for the best caption of a picture", "minidiff/metrics/clip_score.py", ".argmax(dim=1)", ".argmax(dim=0)", CLIP),
    Patch("10: log-variance exponentiated without ½", VAE, "mean + (0.5 * log_variance).exp() * eps", "mean + log_variance.exp() * eps", DRAWN),
    Patch("10: log-variance taken for a standard deviation", VAE, "mean + (0.5 * log_variance).exp() * eps", "mean + log_variance * eps", DRAWN),
    Patch("10: a standard deviation for the variance in the KL", VAE, "(mean**2 + log_variance.exp() -", "(mean**2 + (0.5 * log_variance).exp() -", VAE_KL),
    Patch("18: no ½ in the KL", VAE, "return 0.5 * (mean**2", "return (mean**2", VAE_KL),
    Patch("18: KL averaged over dimensions", VAE, ".flatten(1).sum(dim=1)", ".flatten(1).mean(dim=1)", VAE_KL),
    Patch("18: log-variance used as σ", VAE, "(mean**2 + log_variance.exp() - log_variance - 1)", "(mean**2 + log_variance**2 - 2 * log_variance.abs().log() - 1)", VAE_KL),
    Patch("19: scale forgotten after encoding", VAE, "return self.config.latent_scale * z", "return z", ROUND_TRIP),
    Patch("19: scale forgotten before decoding", VAE, "self.decode(z / self.config.latent_scale)", "self.decode(z)", ROUND_TRIP),
    Patch("19: multiplied on both sides", VAE, "z / self.config.latent_scale", "z * self.config.latent_scale", SCALED),
    Patch("19: decoded with the scale while training", AUTOENCODING, "vae.decode(z)", "vae.from_latents(z)", ELBO),
    Patch("10: the logarithm of a standard deviation as log-variance", AUTOENCODING, "2 * math.log(std)", "math.log(std)", BEGINS),
    Patch("a recipe's initial noise forgotten", "minidiff/pipelines/stages.py", "if recipe.initial_noise is not None:", "if False:", RECIPE_NOISE),
    Patch("VAE: padded on all sides before the stride", "minidiff/nets/blocks.py", "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 1, 1, 1))", PADDED),
    Patch("VAE: padded on the left and at the top", "minidiff/nets/blocks.py", "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 0, 1, 0))", PADDED),
    Patch("VAE: KL summed where the error is averaged", AUTOENCODING, ".mean() / z[0].numel()", ".mean()", PER_NUMBER),
]  # fmt: skip

EQUIVALENTS = [
    Patch("the variance of a step written as 1 - α", FORWARD, "variance = beta_t.to(x_prev)", "variance = (1 - alpha_t).to(x_prev)", CLOSED_FORM),
    Patch("ᾱ as the exponential of a sum of logarithms", SCHEDULES, "(1 - betas).cumprod(0)", "torch.log1p(-betas).cumsum(0).exp()", PRODUCT),
    Patch("cos² by the half-angle formula", SCHEDULES, "torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2", "(1 + torch.cos((t / T + s) / (1 + s) * math.pi)) / 2", COSINE),
    Patch("the ε form by way of x_0", POSTERIOR, "return (x_t - (beta_t / (1 - alpha_bar_t).sqrt()).to(x_t) * eps) / alpha_t.sqrt().to(x_t)", "return q_posterior(schedule, (x_t - (1 - alpha_bar_t).sqrt().to(x_t) * eps) / alpha_bar_t.sqrt().to(x_t), x_t, t)[0]", EPS_FORM),
    Patch("the posterior's variance as the inverse of a precision", POSTERIOR, "variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t", "variance = 1 / (alpha_t / beta_t + 1 / (1 - alpha_bar_prev))", GRID),
    Patch("KL from standard deviations", GAUSSIANS, "torch.log(variance_2 / variance_1)", "2 * torch.log(variance_2.sqrt() / variance_1.sqrt())", KL),
    Patch("ε̂ from v by way of x̂_0", PREDICTION, "noise * x_t + signal * value)", "(x_t - signal * (signal * x_t - noise * value)) / noise)", BOTH_ENDS),
    Patch("σ as a product of roots", DDIM, "eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s)", "(eta * math.sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) * math.sqrt(1 - alpha_bar_t / alpha_bar_s)) ** 2", law("ddim, half")),
    Patch("no noise in the last step because β̃ is 0 there", DDPM, 'if s == 0:\n            return mean, x_0\n        if variance == "beta":', 'if variance == "beta" and s == 0:\n            return mean, x_0\n        if variance == "beta":', law("ddpm")),
    Patch("1 - e^-2h by way of expm1", DPM, "(1 - alpha_bar[s]) * (1 - shrink**2)", "(1 - alpha_bar[s]) * -math.expm1(-2 * h)", law("dpm_solver_pp, sde")),
    Patch("the ancestral step's r as a quotient of karras_sigmas", EULER, "alpha_bar[t] * (1 - alpha_bar[s]) / (alpha_bar[s] * (1 - alpha_bar[t]))", "(float(schedule.karras_sigmas[s]) / float(schedule.karras_sigmas[t])) ** 2", law("euler_ancestral")),
    Patch("Heun's mean of slopes written out", EULER, "x_s + 0.5 * (noise - signal * math.sqrt((1 - alpha_bar_t) / alpha_bar_t)) * turn", "signal * (x_t / math.sqrt(alpha_bar_t) + (noise / signal - math.sqrt((1 - alpha_bar_t) / alpha_bar_t)) * (eps + turn / 2))", law("heun, churned")),
    Patch("the kept part by torch.where", EDITING, "free * z_s + (1 - free) * known", "torch.where(free > 0, z_s, known)", CLEAN),
    Patch("levels drawn from 0 and raised by one", "minidiff/training/levels.py", "torch.randint(1, schedule.T + 1, (count,), generator=generator)", "torch.randint(0, schedule.T, (count,), generator=generator) + 1", LEVELS),
    Patch("the average as a step towards the weights", "minidiff/training/averaging.py", "decay * average + (1 - decay) * current", "average + (1 - decay) * (current - average)", EMA),
    Patch("guidance in Ho & Salimans' form, w = s - 1", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "(1 + (s - 1)) * eps_cond - (s - 1) * eps_null)", FREE),
    Patch("guidance begun at the conditional answer", GUIDANCE, "x_0_null + s * (x_0_cond - x_0_null)", "x_0_cond + (s - 1) * (x_0_cond - x_0_null)", FREE),
    Patch("x̂_0 by way of the guided ε̂", GUIDANCE, "Prediction(x_0 + to_x_0.to(x_t) * lean, ", "Prediction((x_t - to_eps.to(x_t) * (eps - to_eps.to(x_t) * lean)) / alpha_bar_t.sqrt().to(x_t), ", BAYES_G),
    Patch("prompts kept with the other probability", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator) < probability", "~(torch.rand(len(tokens), 1, generator=generator) >= probability)", DROPS),
    Patch("d^-¼ on both queries and keys", ATTENTION, "scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5", "scores = (query * query.shape[-1] ** -0.25) @ (key * query.shape[-1] ** -0.25).transpose(-1, -2)", SOFTMAX),
    Patch("quick-GELU as a quotient", ENCODER, "x * torch.sigmoid(1.702 * x)", "x / (1 + torch.exp(-1.702 * x))", QUICK_GELU),
    Patch("the causal mask as a matrix", ENCODER, "is_causal=True)", "attn_mask=torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril())", CAUSAL),
    Patch("InfoNCE as a sum over the target", CONTRASTIVE, "(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2", "-(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / (2 * len(target))", POSITIVES),
    Patch("a standard deviation as the root of the variance", VAE, "(0.5 * log_variance).exp()", "log_variance.exp().sqrt()", DRAWN),
    Patch("KL by way of expm1", VAE, "log_variance.exp() - log_variance - 1", "torch.expm1(log_variance) - log_variance", VAE_KL),
    Patch("KL as a mean times the number of dimensions", VAE, ".flatten(1).sum(dim=1)", ".flatten(1).mean(dim=1) * mean[0].numel()", VAE_KL),
    Patch("latents divided by 1/scale", VAE, "return self.config.latent_scale * z", "return z / (1 / self.config.latent_scale)", SCALED),
    Patch("padded by two on the left and at the top, the first row and column dropped", "minidiff/nets/blocks.py", "self.conv(F.pad(x, (0, 1, 0, 1)))", "self.conv(F.pad(x, (2, 1, 2, 1)))[..., 1:, 1:]", PADDED),
]  # fmt: skip
