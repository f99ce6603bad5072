"""What options may be, which would do nothing beside others, and what others call them, so that an error names ours."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from numbers import Integral
from types import SimpleNamespace
from typing import Any

_NATURAL = ("it may not be negative", lambda value: value >= 0)
_COUNT = ("it must be a whole number, at least 1", lambda value: isinstance(value, Integral) and value >= 1)
RANGES = {
    **dict.fromkeys(("initial_count", "warmup", "temperature", "revival_at"), _NATURAL),
    **dict.fromkeys(("kl_weight", "anneal", "deviation"), _NATURAL),
    "memory": _COUNT,
    "penalties": ("no weight may be negative", lambda weights: all(weight >= 0 for weight in weights.values())),
}


def _is_identity(g: Any) -> bool:
    """Whether G is I at any mix."""
    return getattr(g.estimator, "is_constant", False) and g.estimator.clip[0] == 1


def _is_mix_alone(g: Any) -> bool:
    """Whether nothing but the straight-through estimator is left of G."""
    return getattr(g.estimator, "mix", 1) == 0 or getattr(g.estimator, "clip", (0, 1))[1] == 0


def _has_no_centre(g: Any) -> bool:
    return _is_mix_alone(g) or getattr(g.estimator, "is_constant", False)


def _has_unit_codes(g: Any) -> bool:
    return g.lookup == "normalised" or g.form == "sphere"


_OF_ESTIMATOR = (
    ("clip", lambda g: g.clip is not None and getattr(g.estimator, "mix", 1) == 0, "mix is 0"),
    ("mix", lambda g: g.mix and _is_identity(g), "G is I at any mix"),
)
_PER_RANK = ("process_group", lambda g: g.process_group is not None and not g.shares, "ranks have nothing to share")
# Not among them are decay and initial_count: running counts are kept for every update, and may be read
# (``statistics.running``). A Config refuses both where no code depends on them, since no record shows these counts.
#: by what is made: an option, whether it would do nothing beside the others, which are attributes, and why
IDLE: dict[str, tuple[tuple[str, Callable[[Any], Any], str], ...]] = {
    "estimator": _OF_ESTIMATOR,
    "vq": (
        *_OF_ESTIMATOR,
        ("beta", lambda g: g.update == "ema" and g.beta, "update 'ema' moves the codes, not a codebook loss"),
        ("penalties", lambda g: g.update == "ema" and g.penalties, "update 'ema' takes no gradient to the codes"),
        ("penalties", lambda g: (g.penalties or {}).get("norm") and _has_unit_codes(g), "codes have norm 1"),
        ("revival_at", lambda g: g.revival_at is not None and g.revival == "none", "revival is 'none'"),
        ("revival_at", lambda g: g.revival_at == 0 and g.revival != "unused", "no code is below it"),
        ("init_scale", lambda g: g.init_scale != 1 and _has_unit_codes(g), "codes have norm 1"),
        ("centre", lambda g: g.centre != "origin" and _has_no_centre(g), "G is the same about any point"),
        (
            "warmup",
            lambda g: g.warmup and (_is_identity(g) or getattr(g.estimator, "mix", 1) == 0),
            "G is I at any mix",
        ),
        ("gain", lambda g: g.gain is not None and _is_mix_alone(g), "it is a factor on 0"),
    ),
    "cascade": (
        ("least_levels", lambda g: g.least_levels != 1 and not g.dropout, "dropout is 0"),
        ("multiple_of", lambda g: g.multiple_of != 1 and not g.dropout, "dropout is 0"),
        (
            "dropout",
            lambda g: g.dropout and g.least_used >= g.levels,
            "least_levels and multiple_of let none be dropped",
        ),
        _PER_RANK,
    ),
    "lattice": (_PER_RANK,),
    "lfq": (
        ("frozen", lambda g: g.frozen, "no code ever moves"),
        ("entropy_temperature", lambda g: not g.entropy_weight and g.temperature_given, "entropy_weight is 0"),
        ("diversity", lambda g: not g.entropy_weight and g.diversity != 1, "entropy_weight is 0"),
        ("group", lambda g: not g.entropy_weight * g.diversity and g.group not in (None, 1), "H(E p) has no weight"),
        ("group", lambda g: (g.group or 1) > g.bits, "a code has fewer digits"),
    ),
}


def refuse_out_of_range(**given: Any) -> None:
    """Raise ValueError on the first number that cannot be."""
    for name, (rule, holds) in RANGES.items():
        if given.get(name) is not None and not holds(given[name]):
            raise ValueError(f"{name} is {given[name]}: {rule}")


def refuse_idle(kind: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError on the first option of a key of :data:`IDLE` that would do nothing."""
    options = SimpleNamespace(**given)
    for name, does_nothing, reason in IDLE[kind]:
        if does_nothing(options):
            raise ValueError(f"{name} would do nothing: {reason}")


#: what to pass here, and what other libraries call it
_OURS = {
    "codebook_size": "num_embeddings n_e n_embed num_codes bins n_codes num_embedding vocab_size K nb_code n_code",
    "dim": "embedding_dim e_dim dimension input_dim embed_dim D vq_embed_dim z_channels num_hiddens code_dim d_k",
    "project_to, or dim of what is inside Projected": "codebook_dim frozen_codebook_dim has_projections",
    "gamma": (
        "commitment_weight commitment_cost commit_weight commitment_loss_weight commitment "
        "input_to_quantize_commit_loss_weight quantization_loss_weight commitment_use_cross_entropy_loss"
    ),
    "beta": "codebook_weight codebook_loss_weight",
    "beta and gamma, which weigh the codebook loss and the commitment loss": "legacy",
    'estimator, such as "rotation" or "ste"': "rotation_trick straight_through route_gradients_to_input forward_mode",
    'lookup="normalised"': "use_cosine_sim l2_norm codebook_l2_norm codebook_normalize normalise spherical",
    'init, such as "kmeans", or a function': "kmeans_init do_kmeans_init kmeans_iters init_fn",
    'update, "ema" or "gradient"': (
        "ema_update learnable_codebook manual_in_place_optimizer_update in_place_codebook_optimizer use_ema ema "
        "embed_ema"
    ),
    "decay": (
        "ema_decay gamma_decay ema_update_weight decay_rate affine_param_batch_decay affine_param_codebook_decay mu "
        "c_gamma"
    ),
    'revival="count" with revival_at': "threshold_ema_dead_code dead_code_threshold",
    'revival="threshold" with revival_at': "threshold_usage_ratio replaced_usage_ratio",
    "entropy_weight": "entropy_loss_weight entropy_loss_ratio kl_loss_threshold",
    "diversity": "diversity_gamma",
    "entropy_temperature, its inverse": "inv_temperature",
    'penalties={"orthogonal": weight}': "orthogonal_reg_weight",
    'form, such as "affine" or "linear"': "affine_param codebook_transform codebook_transform_fn",
    "channel_first": "accept_image_fmap channel_last accept_3d_fmap is_channel_first",
    "frozen": "freeze_codebook optimize_values",
    "temperature": "stochastic_sample_codes sample_codebook_temp",
    "Grouped, one quantiser a group": "separate_codebook_per_head groups",
    "process_group": "sync_codebook sync_kmeans sync_affine_param use_ddp",
    "follow(optimizer)": "manual_ema_update accum_ema_update",
    "details=True": "return_loss_breakdown return_all_codes codebook_show_usage show_usage",
    "mask": "lens",
    "decode(indices), or cross-entropy of your own logits": "indices",
    'sizes of METHODS["fsq"]': "levels",
    "levels of ResidualVectorQuantizer": "num_quantizers n_q n_codebooks num_codebooks",
    "shared of ResidualVectorQuantizer": "shared_codebook",
    "dropout of ResidualVectorQuantizer": "quantize_dropout quantizer_dropout q_dropout",
    "least_levels, which is one more": "quantize_dropout_cutoff_index",
    "multiple_of": "quantize_dropout_multiple_of",
    'wiring="detach" (0) or wiring="graph" (1)': "quant_grad_frac",
    "beam, in evaluation alone": "eval_beam_size train_beam_size beam_size",
    'method="qinco"': "implicit_neural_codebook mlp_kwargs",
    "symmetric": "preserve_symmetry",
    'bound="clamp"': "bound_hard_clamp",
    "Projected, dim": "input_dimension output_dimension force_projection",
    "anneal": "temp_init",
    "generator": "rand_quantize_dropout_fixed_seed",
    "decode(indices[..., :n])": "n_quantizers bandwidth",
    'revival="unused"': "restart_unused_codes random_restart",
    'METHODS["diveq"]': "diveq directional_reparam directional_reparam_variance",
    "nearest_codes(x, k)": "topk top_k",
    "options by name, of all levels or in a list": "vq_kwargs sim_vq_kwargs lfq_kwargs",
    "no option: put it in front": "codebook_scale scale layernorm_after_project_in soft_clamp_input_value",
    "indices, a part of every answer, -1 where no code is used": "return_indices return_cutoff",
    "z_q where indices >= 0; elsewhere it is x": "return_zeros_for_masked_padding",
    "no option": (
        "force_quantization_f32 allowed_dtypes orthogonal_reg_active_codes_only orthogonal_reg_max_codes eps "
        "epsilon projection_has_bias orthogonal_rotation keep_num_codebooks_dim vq_bridge noise_dropout "
        "no_quantization_rate sync_update_v frac_per_sample_entropy beam_score_quantizer_weights "
        "straight_through_activation"
    ),
    "no option: indices are those of the codes, one a token": "remap unknown_index sane_index_shape",
    'revival, or METHODS["lfq"]': "codebook_diversity_loss_weight codebook_diversity_temperature",
}
#: an option of another library, and what to pass here
THEIRS = {name: ours for ours, names in _OURS.items() for name in names.split()}


def refuse_unknown(options: dict) -> None:
    """Raise TypeError on the first option, with our name for it where there is one."""
    for name in options:
        ours = f": here it is {THEIRS[name]}" if name in THEIRS else ""
        raise TypeError(f"unknown option {name!r}{ours}")


def names_ours(function: Callable) -> Callable:
    """``function``, whose TypeError names ours where an option of another library was given in its place.

    Python looks for required arguments first, so that :func:`refuse_unknown` may never be reached.
    """
    own = signature(function).parameters

    @wraps(function)
    def named(*given: Any, **options: Any) -> Any:
        try:
            return function(*given, **options)
        except TypeError:
            refuse_unknown({name: value for name, value in options.items() if name in THEIRS and name not in own})
            raise

    return named
