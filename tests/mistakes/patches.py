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
GAUSSIANS, LOSSES = "minidiff/diffusion/gaussians.py", "minidiff/diffusion/losses.py"
SCHEDULE, SCHEDULES, FLOW = (
    f"minidiff/diffusion/schedules/{name}.py" for name in ("schedule", "variance_preserving", "flow")
)
EMBEDDINGS, CONDITION, UNET = (f"minidiff/nets/{name}.py" for name in ("embeddings", "condition", "unet"))
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
    return f"tests/samplers/test_laws.py::test_a_sampler_draws_from_its_own_exact_law[{case}-linear-{levels}]"


PLMS, DPM, EULER, LOOP = (f"minidiff/samplers/{name}.py" for name in ("plms", "dpm_solver", "euler", "loop"))
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
TIMESTEPS = "tests/training/test_objective.py::test_timesteps_are_uniform_from_1_to_T"
LOGIT_NORMAL = "tests/training/test_timesteps.py::test_a_timestep_is_as_likely_as_the_gaussian_says"
RECIPE_STD = (
    "tests/recipes/test_text_to_image_recipe.py::test_a_recipe_says_with_which_posterior_std_the_autoencoder_begins"
)
RECIPE_TIMESTEPS = "tests/recipes/test_text_to_image_recipe.py::test_a_recipe_says_which_timesteps_are_trained"
AVERAGE = "tests/training/test_ema.py::test_average_is_the_weighted_sum_of_all_weights_seen"
EMA = "tests/formulas/test_formulas.py::test_the_function_computes_the_formula[training.ema]"
BUFFERS = "tests/training/test_ema.py::test_buffers_are_copied_from_the_model_not_averaged"
DIGITS = "tests/data/test_digits.py::test_shapes_ranges_and_equal_classes"
SINUSOIDS = "tests/nets/test_embeddings.py::test_stable_diffusion_form_is_cosines_then_sines"
SHARE = "tests/training/test_loop.py::test_a_part_learns_at_its_share_of_the_rate"
WATCH = "tests/training/test_loop.py::test_training_learns_and_writes_its_losses_samples_and_weights"

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

DRESSES = "tests/diffusion/test_losses.py::test_min_snr_weights_are_one_loss_in_four_dresses"
MIXED = "tests/test_guidance.py::test_denoisers_of_different_schedules_cannot_guide_each_other"
SHARED = "tests/diffusion/test_schedules.py::test_schedules_that_differ_in_one_number_are_not_shared"
LOW_PRECISION = "tests/diffusion/test_posterior.py::test_the_posterior_of_low_precision_data_is_rounded_once"
NEIGHBOURS = "tests/diffusion/test_forward.py::test_between_neighbouring_levels_what_is_kept_is_the_root_of_alpha_and_what_is_added_is_beta"
VELOCITY = "tests/diffusion/test_prediction.py::test_on_a_flow_u_is_how_fast_x_moves_as_its_noise_grows"
PASSED_ON = "tests/diffusion/test_prediction.py::test_a_denoiser_passes_a_condition_on_only_where_there_is_one"
SHIFT = "tests/diffusion/test_schedules.py::test_a_shift_multiplies_the_ratio_of_noise_to_signal"
BEGIN = "tests/diffusion/test_schedules.py::test_where_the_variance_is_not_kept_a_sampler_begins_with_noise_of_the_level_s_size"
IN_PLACE = "tests/nets/test_unet.py::test_each_residual_is_added_to_the_skip_of_its_place"
MIDDLE = "tests/nets/test_unet.py::test_the_last_residual_is_added_to_the_output_of_the_middle"
AFTER = "tests/nets/test_unet.py::test_the_image_is_concatenated_after_the_channels_of_x_t"
TIME = "tests/nets/test_unet.py::test_vector_and_labels_are_added_to_the_time_embedding"
IN_ORDER = "tests/nets/test_condition.py::test_conditions_are_concatenated_in_the_order_given"
NO_GRADIENT = "tests/samplers/test_samplers.py::test_no_gradient_is_recorded_within_a_step_and_between_steps_the_caller_s_mode_holds"
HEUN_AT_T = "tests/samplers/test_samplers.py::test_there_heun_takes_euler_s_step_with_one_call"
NEWEST = "tests/samplers/test_samplers.py::test_of_a_long_history_the_newest_predictions_are_used"

VAE, AUTOENCODER = "minidiff/nets/vae.py", "minidiff/training/autoencoder.py"
DRAWN = "tests/nets/test_vae.py::test_draws_have_the_mean_and_variance_that_were_asked_for"
PADDED = "tests/nets/test_vae.py::test_a_pixel_is_seen_from_where_padding_on_the_right_and_at_the_bottom_puts_it"
SCALED = "tests/nets/test_vae.py::test_latents_are_scaled_after_encoding_and_back_before_decoding"
ROUND_TRIP = "tests/nets/test_vae.py::test_a_round_trip_does_not_feel_the_scale"
BEGINS = "tests/training/test_autoencoder.py::test_an_autoencoder_begins_with_the_posterior_std_that_was_set"
PER_NUMBER = "tests/training/test_autoencoder.py::test_the_loss_is_the_error_per_pixel_plus_the_weighted_kl_per_latent"
ELBO = "tests/training/test_autoencoder.py::test_the_loss_is_the_negative_elbo_of_a_gaussian_decoder"

MISTAKES = [
    Patch("1: two steps merged with √α_t in front of all noise", FORWARD, "return r.to(x_s) * x_s, beta.to(x_s)", "return r.to(x_s) * x_s, (r**2 * beta).to(x_s)", CHAIN),
    Patch("2: β up to 0.002", SCHEDULES, "beta_T: Real = 0.02)", "beta_T: Real = 0.002)", PUBLISHED),
    Patch("3: noise added, nothing shrunk", FORWARD, "mean = (1 - beta_t).sqrt().to(x_prev) * x_prev", "mean = x_prev", CLOSED_FORM),
    Patch("4: 1/√(2πσ)", GAUSSIANS, "torch.log(2 * math.pi * variance)", "torch.log(2 * math.pi * variance.sqrt())", SCIPY),
    Patch("5: α_t for ᾱ_t in the closed form", FORWARD, "    signal, noise = schedule.at(t, like=x_0)\n    return signal.to(x_0) * x_0, (noise**2).to(x_0)", "    signal = (1 - schedule.beta(t, like=x_0)).sqrt()\n    return signal.to(x_0) * x_0, (1 - signal**2).to(x_0)", CLOSED_FORM),
    Patch("5: 1 - ᾱ_t without the root", FORWARD, "noise.to(x_0) * eps", "(noise**2).to(x_0) * eps", DRAWS),
    Patch("5: ᾱ as the product of β", SCHEDULES, "(1 - betas).cumprod(0)", "betas.cumprod(0)", PRODUCT),
    Patch("5: ᾱ as 1 - Σβ", SCHEDULES, "(1 - betas).cumprod(0)", "1 - betas.cumsum(0)", PRODUCT),
    Patch("6: the two weights swapped", POSTERIOR, "weight_0.to(x_t) * x_0 + weight_t.to(x_t) * x_t", "weight_t.to(x_t) * x_0 + weight_0.to(x_t) * x_t", GRID),
    Patch("6: √ᾱ_t for √α_t", POSTERIOR, "weight_t = r *", "weight_t = now.signal *", GRID),
    Patch("6: √ᾱ_t for √ᾱ_{t-1}", POSTERIOR, "weight_0 = next.signal *", "weight_0 = now.signal *", GRID),
    Patch("6: β̃ inverted", POSTERIOR, "variance = next.noise**2 / now.noise**2 * beta", "variance = now.noise**2 / next.noise**2 * beta", GRID),
    Patch("6: β_t not divided by the root in the ε form", POSTERIOR, "(beta_t / noise)", "(beta_t / noise**2)", EPS_FORM),
    Patch("7: noise in the last step too", LOOP, "if stochastic and s > 0 else", "if stochastic else", law("ddpm, beta", "ten")),
    Patch("8: T never trained", "minidiff/training/timesteps.py", "randint(1, schedule.T + 1,", "randint(1, schedule.T,", TIMESTEPS),
    Patch("8: t = 0 trained", "minidiff/training/timesteps.py", "randint(1, schedule.T + 1,", "randint(0, schedule.T + 1,", TIMESTEPS),
    Patch("9: x̂_0 divided by ᾱ_t", PREDICTION, "(x_t - noise.to(x_t) * value) / signal.to(x_t), value)", "(x_t - noise.to(x_t) * value) / signal.to(x_t) ** 2, value)", BOTH_ENDS),
    Patch("9: v with its sign flipped", PREDICTION, "signal.to(x_0) * eps - noise.to(x_0) * x_0", "signal.to(x_0) * x_0 - noise.to(x_0) * eps", ROTATION),
    Patch("9: x̂_0 from v with its sign flipped", PREDICTION, "to_signal * x_t - to_noise * value", "to_signal * x_t + to_noise * value", BOTH_ENDS),
    Patch("9: the score with its sign flipped", PREDICTION, "return -eps / ", "return eps / ", SCORE),
    Patch("9: the score without the root", PREDICTION, "noisy=True).noise.to(eps)", "noisy=True).noise.to(eps) ** 2", SCORE),
    Patch("11: cos for cos²", SCHEDULES, "* math.pi / 2) ** 2, beta_max)", "* math.pi / 2), beta_max)", COSINE),
    Patch("11: no offset", SCHEDULES, "s: Real = 0.008", "s: Real = 0.0", COSINE),
    Patch("11: no cap", SCHEDULES, ".clamp(max=beta_max))", ".clamp(max=1))", COSINE),
    Patch("12: even in β, not in √β", SCHEDULES, "torch.linspace(beta_1**0.5, beta_T**0.5, T, dtype=torch.float64) ** 2", "torch.linspace(beta_1, beta_T, T, dtype=torch.float64)", PUBLISHED),
    Patch("13: σ² left out of the direction", DDIM, "(next.noise**2 - sigma_t**2).clamp(min=0).sqrt()", "next.noise", law("ddim, half")),
    Patch("13: t - 1 for the neighbour", LOOP, "step = Step(t, s, scales[t], scales[s],", "step = Step(t, s, scales[t], denoise.schedule.at(t - 1, like=x_t),", law("ddim")),
    Patch("13: σ with its ratio inverted", DDIM, "eta * (next.noise / now.noise)", "eta * (now.noise / next.noise.clamp(min=1e-9))", law("ddim, half")),
    Patch("13: σ² for σ", DDIM, "sigma_t.to(x_t) * z", "(sigma_t**2).to(x_t) * z", law("ddim, half")),
    Patch("14: a history of zeros", PLMS, "        if step.past:\n            return plms_step(x_t, [prediction.eps, *(earlier.eps for _, earlier in step.past)],", "        if True:\n            return plms_step(x_t, [prediction.eps, *(earlier.eps for _, earlier in step.past), *[0 * x_t] * (3 - len(step.past))],", POLYNOMIALS),
    Patch("14: the oldest prediction weighed as the newest", PLMS, "*(earlier.eps for _, earlier in step.past)]", "*(earlier.eps for _, earlier in step.past)][::-1]", POLYNOMIALS),
    Patch("14: no past kept", PLMS, '"memory": 3', '"memory": 0', POLYNOMIALS),
    Patch("14: a wrong weight", PLMS, "(55 / 24, -59 / 24, 37 / 24, -9 / 24)", "(55 / 24, -59 / 24, 36 / 24, -8 / 24)", POLYNOMIALS),
    Patch("DPM-Solver++: the ratio of its steps inverted", DPM, "h / (2 * last_h)", "last_h / (2 * h)", law("dpm_solver_pp, sde")),
    Patch("DPM-Solver++: extrapolated to the step's end, not to its middle", DPM, "h / (2 * last_h)", "h / last_h", f"{CONVERGENCE}[dpm_solver_pp-schedule0-gaussian]"),
    Patch("DPM-Solver++: extrapolated backwards", DPM, "(prediction.x_0 - last_prediction.x_0)", "(last_prediction.x_0 - prediction.x_0)", f"{CONVERGENCE}[dpm_solver_pp-schedule0-gaussian]"),
    Patch("DPM-Solver++: second order into σ = 0", DPM, "h.isinf() | last_h.isinf(), 0,", "last_h.isinf(), 0,", law("dpm_solver_pp, sde")),
    Patch("DPM-Solver++: e^-2h for e^-h", DPM, "return (now.signal / now.noise) * (next.noise / next.signal)", "return ((now.signal / now.noise) * (next.noise / next.signal)) ** 2", f"{CONVERGENCE}[dpm_solver_pp-schedule0-gaussian]"),
    Patch("SDE: the noise of one h, not of two", DPM, "(next.noise * (1 - shrink**2).sqrt())", "(next.noise * (1 - shrink).sqrt())", law("dpm_solver_pp, sde")),
    Patch("SDE: noise added, x_t not shrunk for it", DPM, "(keep * shrink).to(x_t) * x_t", "keep.to(x_t) * x_t", law("dpm_solver_pp, sde")),
    Patch("ancestral: r² for r", EULER, "noise = r.to(x_t) * prediction.eps", "noise = (r**2).to(x_t) * prediction.eps", law("euler_ancestral")),
    Patch("ancestral: noise up to σ̂_t, not to σ̂_s", EULER, "    noise = r.to(x_t) * prediction.eps", "    r = 0 * r\n    noise = r.to(x_t) * prediction.eps", law("euler_ancestral")),
    Patch("Heun: slopes added, not averaged", EULER, "now.noise / now.signal) / 2", "now.noise / now.signal)", f"{CONVERGENCE}[heun-schedule0-gaussian]"),
    Patch("Heun: the second slope asked for at the level that was left", EULER, "denoise(x_s, step.s)", "denoise(x_s, step.t)", f"{CONVERGENCE}[heun-schedule0-gaussian]"),
    Patch("Heun: asked about noise where there is none", EULER, "if step.s == 0 or (step", "if (step", law("heun, churned")),
    Patch("churn: the variance added as a standard deviation", EULER, "beta.sqrt().to(x_t) * randn_like", "beta.to(x_t) * randn_like", law("euler, churned")),
    Patch("churn: the denoiser not told of it", EULER, "step._replace(t=t, now=now)", "step._replace(now=now)", law("euler, churned")),
    Patch("inversion: the network asked at t = 0", DDIM, "        if s > 0:\n            return denoise(x_s, s)", "        if s >= 0:\n            return denoise(x_s, s)", THERE_AND_BACK),
    Patch("20: the mask inverted", EDITING, "free * z_s + (1 - free) * known", "(1 - free) * z_s + free * known", CLEAN),
    Patch("20: the known part noised to the level that was left", LOOP, "x_t = constrain(x_t, s)", "x_t = constrain(x_t, t)", CONSTRAINT),
    Patch("20: the known part without noise", EDITING, "known = q_sample(self.schedule, z_0, s, randn_like(z_0, generators)) if s > 0 else z_0", "known = z_0", JUST_REACHED),
    Patch("20: the known part left noisy at the end", EDITING, "q_sample(self.schedule, z_0, s, randn_like(z_0, generators)) if s > 0 else z_0", "q_sample(self.schedule, z_0, max(s, 1), randn_like(z_0, generators))", CLEAN),
    Patch("20: what the mask hides is encoded too", EDITING, "self._encoded(cover(images.cpu(), hidden), len(prompts))", "self._encoded(images, len(prompts))", HIDDEN),
    Patch("20: no paste-back", EDITING, "paste: bool = True", "paste: bool = False", f"{MARKED}[small_model-ddim]"),
    Patch("20: a latent kept where any of its pixels is", EDITING, "free = F.max_pool2d(repaint, self.vae.config.factor)", "free = 1 - F.max_pool2d(1 - repaint, self.vae.config.factor)", ALL_OF_ITS_PIXELS),
    Patch("image to image: begun one level off", EDITING, "times[-done - 1 :]", "times[-done:]", f"{FIRST_LEVEL}[small_model-0.5-5]"),
    Patch("image to image: noised to T, begun below", EDITING, "q_sample(self.schedule, z_0, times[0],", "q_sample(self.schedule, z_0, self.schedule.T,", f"{FIRST_LEVEL}[small_model-0.5-5]"),
    Patch("image to image: a small strength takes no step", EDITING, "max(1, round(", "max(0, round(", f"{FIRST_LEVEL}[small_model-1e-06-1]"),
    Patch("resampling: back up without noise", EDITING, "z_t = mean + variance.sqrt() * randn_like(mean, generators)", "z_t = mean", BACK_UP),
    Patch("between seeds: a straight line through noise", EDITING, "angle.cos() * one + angle.sin() * other", "(1 - angle * 2 / pi) * one + angle * 2 / pi * other", STANDARD),
    Patch("17: DDPM's frequencies for Stable Diffusion's", EMBEDDINGS, "dtype=torch.float32) / half)", "dtype=torch.float32) / (half - 1))", SINUSOIDS),
    Patch("17: sines first", EMBEDDINGS, "torch.cat([angles.cos(), angles.sin()], dim=-1)", "torch.cat([angles.sin(), angles.cos()], dim=-1)", SINUSOIDS),
    Patch("22: EMA decay swapped", "minidiff/training/ema.py", "decay_n = ema_decay(decay, int(n))", "decay_n = 1 - ema_decay(decay, int(n))", AVERAGE),
    Patch("22: EMA decay swapped in the formula", "minidiff/training/ema.py", "average.mul_(decay).add_(current, alpha=1 - decay)", "average.mul_(1 - decay).add_(current, alpha=decay)", EMA),
    Patch("22: buffers averaged", "minidiff/training/ema.py", "multi_avg_fn=update)", "multi_avg_fn=update, use_buffers=True)", BUFFERS),
    Patch("22: pictures in [0, 1]", "minidiff/data/digits.py", ".float() / 127.5 - 1,", ".float() / 255,", DIGITS),
    Patch("8: t / T rounded down", "minidiff/training/timesteps.py", "fraction).ceil()", "fraction).floor()", LOGIT_NORMAL),
    Patch("the spread of timesteps as a variance", "minidiff/training/timesteps.py", "mean + std *", "mean + std**0.5 *", LOGIT_NORMAL),
    Patch("a recipe's timesteps forgotten", "minidiff/recipes/text_to_image.py", "            timesteps=recipe.timesteps,\n", "", RECIPE_TIMESTEPS),
    Patch("a part's share of the rate forgotten", "minidiff/training/run.py", 'group["share"] * learning_rate(self.config, step)', "learning_rate(self.config, step)", SHARE),
    Patch("22: eval() forgotten", "minidiff/training/loop.py", "return run.ema.module.eval()", "return run.ema.module.train()", WATCH),
    Patch("15: s ε_c + (s - 1) ε_∅", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "s * eps_cond + (s - 1) * eps_null)", FREE),
    Patch("15: the halves swapped", GUIDANCE, "Condition.cat(null_condition, condition)\n", "Condition.cat(condition, null_condition)\n", FREE),
    Patch("15: guided towards the worse network", GUIDANCE, "eps_worse + s * (eps - eps_worse)", "eps + s * (eps_worse - eps)", AUTO),
    Patch("15: s taken for w = s - 1", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "eps_cond + s * (eps_cond - eps_null))", FREE),
    Patch("15: ε̂ guided, x̂_0 forgotten", GUIDANCE, "Prediction(x_0_null + s * (x_0_cond - x_0_null),", "Prediction(x_0_cond,", LINE),
    Patch("15: two calls' worth of work at scale 1", GUIDANCE, "if off:", "if False:", CALLS),
    Patch("15: the classifier's gradient added to ε̂", GUIDANCE, "eps - noise.to(x_t) * gradient", "eps + noise.to(x_t) * gradient", BAYES_G),
    Patch("15: the score's root left out", GUIDANCE, "eps - noise.to(x_t) * gradient", "eps - (noise**2).to(x_t) * gradient", BAYES_G),
    Patch("15: ε̂ guided by the classifier, x̂_0 not", GUIDANCE, "x_0 + (noise**2 / signal).to(x_t) * gradient", "x_0", BAYES_G),
    Patch("15: gradients left off in a sampler", GUIDANCE, "torch.inference_mode(False), torch.enable_grad()", "torch.set_grad_enabled(torch.is_grad_enabled())", SAMPLED),
    Patch("15: gradients turned on, inference mode left on", GUIDANCE, "torch.inference_mode(False), torch.enable_grad()", "torch.enable_grad()", MODES),
    Patch("15: the mean over the batch differentiated", GUIDANCE, "torch.autograd.grad(log_p.sum(), leaf)", "torch.autograd.grad(log_p.mean(), leaf)", ITEMS),
    Patch("15: one coin for the whole batch", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator)", "torch.rand(1, 1, generator=generator)", DROPS),
    Patch("15: tokens dropped, not prompts", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator)", "torch.rand(tokens.shape, generator=generator)", WHOLE),
    Patch("15: kept with the probability of dropping", CONDITIONER, "generator=generator) < probability", "generator=generator) > probability", DROPS),
    Patch("15: no prompt taken for a context of zeros", CONDITIONER, "tensor.expand(count, -1, -1)", "0 * tensor.expand(count, -1, -1)", NULLS),
    Patch("16: softmax over the queries", ATTENTION, "return scores.softmax(dim=-1)", "return scores.softmax(dim=-2)", SOFTMAX),
    Patch("16: d for √d", ATTENTION, "query.shape[-1] ** 0.5", "query.shape[-1]", SOFTMAX),
    Patch("16: no √d", ATTENTION, "scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5", "scores = query @ key.transpose(-1, -2)", SOFTMAX),
    Patch("16: √ of all channels for √ of one head's", ATTENTION, "(query, key, value, is_causal=self.causal)", "(query, key, value, is_causal=self.causal, scale=x.shape[-1] ** -0.5)", HEADS),
    Patch("text: no causal mask", ENCODER, "causal=True", "causal=False", CAUSAL),
    Patch("text: the last state for the one at the end token", ENCODER, "is_end.int().argmax(dim=1)", "is_end.int().sum(dim=1) * 0 + tokens.shape[1] - 1", POOLED),
    Patch("text: no positions", ENCODER, " + self.position_embedding.weight[: tokens.shape[1]]", "", ORDER),
    Patch("text: the exact GELU with CLIP's weights", ATTENTION, "return x * torch.sigmoid(1.702 * x)", "return F.gelu(x)", QUICK_GELU),
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
    Patch("held-out pairs of colour and thing are shown", "minidiff/data/emoji.py", "not in taken | held_out", "not in taken", NEVER_SHOWN),
    Patch("a hue in degrees taken for radians", "minidiff/data/recolouring.py", "angle = torch.deg2rad(new_hue + ", "angle = (new_hue + ", RECOLOURED),
    Patch("every colour moves, not the main one", "minidiff/data/recolouring.py", "(votes > 0) & (away.abs() <= _REACH)", "votes > 0", OTHERS_STAY),
    Patch("sRGB's curve inverted the wrong way", "minidiff/data/cielab.py", "light ** (1 / 2.4)", "light**2.4", LAB_INVERSE),
    Patch("22: emoji in [0, 1]", "minidiff/data/emoji.py", ".float() / 127.5 - 1, captions", ".float() / 255, captions", EMOJI),
    Patch("22: a grey value in [-1, 1] taken for an opacity", "minidiff/data/drawing.py", "(digit_image[0] + 1) / 2", "digit_image[0]", INK),
    Patch("the best picture of a caption for the best caption of a picture", "minidiff/metrics/clip_score.py", ".argmax(dim=1)", ".argmax(dim=0)", CLIP),
    Patch("10: log-variance exponentiated without ½", VAE, "mean + (0.5 * log_variance).exp() * randn_like", "mean + log_variance.exp() * randn_like", DRAWN),
    Patch("10: log-variance taken for a standard deviation", VAE, "mean + (0.5 * log_variance).exp() * randn_like", "mean + log_variance * randn_like", DRAWN),
    Patch("10: a standard deviation for the variance in the KL", AUTOENCODER, "log_variance.exp(), 0, 1)", "(0.5 * log_variance).exp(), 0, 1)", PER_NUMBER),
    Patch("18: no ½ in the KL", GAUSSIANS, "return 0.5 * (torch.log(variance_2", "return (torch.log(variance_2", KL),
    Patch("18: log-variance used as σ", AUTOENCODER, "log_variance.exp(), 0, 1)", "log_variance**2, 0, 1)", PER_NUMBER),
    Patch("19: scale forgotten after encoding", VAE, "return self.config.latent_scale * z", "return z", ROUND_TRIP),
    Patch("19: scale forgotten before decoding", VAE, "self.decode(z / self.config.latent_scale)", "self.decode(z)", ROUND_TRIP),
    Patch("19: multiplied on both sides", VAE, "z / self.config.latent_scale", "z * self.config.latent_scale", SCALED),
    Patch("19: decoded with the scale while training", AUTOENCODER, "vae.decode(z)", "vae.from_latents(z)", ELBO),
    Patch("10: the logarithm of a standard deviation as log-variance", AUTOENCODER, "2 * math.log(std)", "math.log(std)", BEGINS),
    Patch("a recipe's initial posterior std forgotten", "minidiff/recipes/text_to_image.py", "if recipe.initial_posterior_std is not None:", "if False:", RECIPE_STD),
    Patch("VAE: padded on all sides before the stride", "minidiff/nets/blocks.py", "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 1, 1, 1))", PADDED),
    Patch("VAE: padded on the left and at the top", "minidiff/nets/blocks.py", "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 0, 1, 0))", PADDED),
    Patch("VAE: KL summed where the error is averaged", AUTOENCODER, "kl_weight * kl.mean()", "kl_weight * kl.flatten(1).sum(dim=1).mean()", PER_NUMBER),
    Patch("two schedules mixed", GUIDANCE, "Denoiser(shared(denoise.schedule, worse.schedule), guided)", "Denoiser(denoise.schedule, guided)", MIXED),
    Patch("two schedules taken for one because T is the same", SCHEDULE, "torch.equal(first.signal, other.signal) and torch.equal(first.noise, other.noise)", "first.T == other.T", SHARED),
    Patch("β in bfloat16", FORWARD, "beta = upper.noise**2 - r**2 * lower.noise**2", "beta = (upper.noise.bfloat16() ** 2 - r.bfloat16() ** 2 * lower.noise.bfloat16() ** 2).double()", LOW_PRECISION),
    Patch("β in float32", FORWARD, "beta = upper.noise**2 - r**2 * lower.noise**2", "beta = (upper.noise.float() ** 2 - r.float() ** 2 * lower.noise.float() ** 2).double()", NEIGHBOURS),
    Patch("u with its sign flipped", PREDICTION, "return eps - x_0", "return x_0 - eps", VELOCITY),
    Patch("x̂_0 from u with its sign flipped", PREDICTION, "(x_t - noise.to(x_t) * value) / denominator", "(x_t + noise.to(x_t) * value) / denominator", BOTH_ENDS),
    Patch("v divided by nothing where the variance is not kept", PREDICTION, "denominator = signal**2 + noise**2", "denominator = torch.ones_like(signal)", BOTH_ENDS),
    Patch("a condition dropped on the way to the network", PREDICTION, "self.predict(x_t, t) if condition is None else self.predict(x_t, t, condition)", "self.predict(x_t, t)", PASSED_ON),
    Patch("min-SNR: an error of u weighed as one of x_0", LOSSES, '"u": snr.clamp(max=gamma) * noise**2 / (signal + noise) ** 2', '"u": snr.clamp(max=gamma)', DRESSES),
    Patch("the shift on the side of the data", FLOW, "return Scales((1 - u) / denominator, shift * u / denominator)", "denominator = shift * (1 - u) + u\n    return Scales(shift * (1 - u) / denominator, u / denominator)", SHIFT),
    Patch("an unscaled start below T", SCHEDULE, "return self.at(t, like=torch.zeros(1)).noise.item()", "return 1.0", BEGIN),
    Patch("residuals added to the wrong skip", UNET, "zip(self.skips, residuals.skips, strict=True)", "zip(self.skips, (*residuals.skips[1:], residuals.skips[0]), strict=True)", IN_PLACE),
    Patch("the middle's residual forgotten", UNET, "self.middle + residuals.middle)", "self.middle)", MIDDLE),
    Patch("the mask before the latents", UNET, "torch.cat([x_t, condition.image], dim=1)", "torch.cat([condition.image, x_t], dim=1)", AFTER),
    Patch("the vector in place of the time", UNET, "time = time + self.vector_embedding(condition.vector)", "time = self.vector_embedding(condition.vector)", TIME),
    Patch("conditions concatenated in the wrong order", CONDITION, "for condition in (first, *others)]", "for condition in (*others, first)]", IN_ORDER),
    Patch("gradients recorded while sampling", LOOP, "with torch.no_grad():", "with torch.enable_grad():", NO_GRADIENT),
    Patch("Heun's mean of slopes over an infinite step", EULER, "if step.s == 0 or (step.now.signal == 0).any():", "if step.s == 0:", HEUN_AT_T),
    Patch("of a long history the oldest predictions kept", LOOP, "past.extendleft((scales[level], prediction) for level, prediction in history)", "past.extend((scales[level], prediction) for level, prediction in history[::-1][-memory:])", NEWEST),
]  # fmt: skip

EQUIVALENTS = [
    Patch("the variance of a step as what is missing to 1", FORWARD, "variance = beta_t.to(x_prev)", "variance = (1 - (1 - beta_t)).to(x_prev)", CLOSED_FORM),
    Patch("ᾱ as the exponential of a sum of logarithms", SCHEDULES, "(1 - betas).cumprod(0)", "torch.log1p(-betas).cumsum(0).exp()", PRODUCT),
    Patch("cos² by the half-angle formula", SCHEDULES, "torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2", "(1 + torch.cos((t / T + s) / (1 + s) * math.pi)) / 2", COSINE),
    Patch("the ε form by way of x_0", POSTERIOR, "return (x_t - (beta_t / noise).to(x_t) * eps) / (1 - beta_t).sqrt().to(x_t)", "return q_posterior(schedule, (x_t - noise.to(x_t) * eps) / signal.to(x_t), x_t, t)[0]", EPS_FORM),
    Patch("the posterior's variance as the inverse of a precision", POSTERIOR, "variance = next.noise**2 / now.noise**2 * beta", "variance = 1 / (r**2 / beta + 1 / next.noise**2)", GRID),
    Patch("KL from standard deviations", GAUSSIANS, "torch.log(variance_2 / variance_1)", "2 * torch.log(variance_2.sqrt() / variance_1.sqrt())", KL),
    Patch("ε̂ from v by way of x̂_0", PREDICTION, "to_noise * x_t + to_signal * value)", "(x_t - signal.to(x_t) * (to_signal * x_t - to_noise * value)) / noise.to(x_t))", BOTH_ENDS),
    Patch("σ from 1 - ᾱ_t / ᾱ_s", DDIM, "* beta.sqrt()", "* (now.noise**2 - (now.signal / next.signal) ** 2 * next.noise**2).sqrt()", law("ddim, half")),
    Patch("no noise in the last step because β̃ is 0 there", LOOP, "if stochastic and s > 0 else", "if stochastic else", law("ddpm")),
    Patch("1 - e^-2h by way of expm1", DPM, "(next.noise * (1 - shrink**2).sqrt())", "(next.noise * (-torch.expm1(2 * shrink.log())).sqrt())", law("dpm_solver_pp, sde")),
    Patch("the ancestral step's r as a quotient of karras_sigmas", EULER, "r = (next.noise / next.signal) * (now.signal / now.noise)", "r = (next.noise / next.signal) / (now.noise / now.signal)", law("euler_ancestral")),
    Patch("Heun's mean of slopes written out", EULER, "return prediction.at(next) + half.to(x_t) * (end.eps - prediction.eps)", "slope, step = (prediction.eps + end.eps) / 2, next.noise / next.signal - now.noise / now.signal\n    return next.signal.to(x_t) * (x_t / now.signal.to(x_t) + step.to(x_t) * slope)", law("heun, churned")),
    Patch("the kept part by torch.where", EDITING, "free * z_s + (1 - free) * known", "torch.where(free > 0, z_s, known)", CLEAN),
    Patch("timesteps drawn from 0 and raised by one", "minidiff/training/timesteps.py", "torch.randint(1, schedule.T + 1, (count,), generator=generator)", "torch.randint(0, schedule.T, (count,), generator=generator) + 1", TIMESTEPS),
    Patch("the average as a step towards the weights", "minidiff/training/ema.py", "average.mul_(decay).add_(current, alpha=1 - decay)", "average.lerp_(current, 1 - decay)", EMA),
    Patch("guidance in Ho & Salimans' form, w = s - 1", GUIDANCE, "eps_null + s * (eps_cond - eps_null))", "(1 + (s - 1)) * eps_cond - (s - 1) * eps_null)", FREE),
    Patch("guidance begun at the conditional answer", GUIDANCE, "x_0_null + s * (x_0_cond - x_0_null)", "x_0_cond + (s - 1) * (x_0_cond - x_0_null)", FREE),
    Patch("x̂_0 by way of the guided ε̂", GUIDANCE, "Prediction(x_0 + (noise**2 / signal).to(x_t) * gradient, ", "Prediction((x_t - noise.to(x_t) * (eps - noise.to(x_t) * gradient)) / signal.to(x_t), ", BAYES_G),
    Patch("prompts kept with the other probability", CONDITIONER, "torch.rand(len(tokens), 1, generator=generator) < probability", "~(torch.rand(len(tokens), 1, generator=generator) >= probability)", DROPS),
    Patch("d^-¼ on both queries and keys", ATTENTION, "scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5", "scores = (query * query.shape[-1] ** -0.25) @ (key * query.shape[-1] ** -0.25).transpose(-1, -2)", SOFTMAX),
    Patch("quick-GELU as a quotient", ATTENTION, "x * torch.sigmoid(1.702 * x)", "x / (1 + torch.exp(-1.702 * x))", QUICK_GELU),
    Patch("the causal mask as a matrix", ATTENTION, "(query, key, value, is_causal=self.causal)", "(query, key, value, attn_mask=torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(0 if self.causal else key.shape[2]))", CAUSAL),
    Patch("InfoNCE as a sum over the target", CONTRASTIVE, "(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2", "-(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / (2 * len(target))", POSITIVES),
    Patch("a standard deviation as the root of the variance", VAE, "(0.5 * log_variance).exp()", "log_variance.exp().sqrt()", DRAWN),
    Patch("KL by way of log1p", GAUSSIANS, "torch.log(variance_2 / variance_1) +", "-torch.log1p(variance_1 / variance_2 - 1) +", KL),
    Patch("latents divided by 1/scale", VAE, "return self.config.latent_scale * z", "return z / (1 / self.config.latent_scale)", SCALED),
    Patch("padded by two on the left and at the top, the first row and column dropped", "minidiff/nets/blocks.py", "self.conv(F.pad(x, (0, 1, 0, 1)))", "self.conv(F.pad(x, (2, 1, 2, 1)))[..., 1:, 1:]", PADDED),
    Patch("β as a share of noise_t²", FORWARD, "beta = upper.noise**2 - r**2 * lower.noise**2", "beta = upper.noise**2 * (1 - (r * lower.noise / upper.noise) ** 2)", NEIGHBOURS),
    Patch("x̂_0 from u by way of ε̂", PREDICTION, "Prediction((x_t - noise.to(x_t) * value) / denominator,", "Prediction((x_t + signal.to(x_t) * value) / denominator - value,", BOTH_ENDS),
    Patch("the shift as it is published", FLOW, "denominator = shift * u + (1 - u)", "denominator = 1 + (shift - 1) * u", SHIFT),
    Patch("residuals added on the way up", UNET, "return Features(tuple(skips), self.middle + residuals.middle)", "return Features((*skips,), residuals.middle + self.middle)", IN_PLACE),
    Patch("conditions concatenated two by two", CONDITION, "torch.cat([tensors[name] for tensors in given])", "torch.cat([torch.cat([tensors[name] for tensors in given[:-1]]), given[-1][name]]) if len(given) > 1 else given[0][name]", IN_ORDER),
]  # fmt: skip
