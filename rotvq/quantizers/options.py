"""What options may be, which would do nothing beside others, and what others call them, so that an error names ours."""

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

_NATURAL = ("it may not be negative", lambda value: value >= 0)
_COUNT = ("it must be a whole number, at least 1", lambda value: isinstance(value, Integral) and value >= 1)
RANGES = {
    **dict.fromkeys(("initial_count", "warmup", "temperature", "revival_at"), _NATURAL),
    **dict.fromkeys(("kl_weight", "anneal", "deviation"), _NATURAL),
    **dict.fromkeys(("memory", "width"), _COUNT),
    "penalties": ("no weight may be negative", lambda weights: all(weight >= 0 for weight in weights.values())),
}

Given = Mapping[str, Any]  # options by name, the estimator as an object


def _is_identity(given: Given) -> bool:
    """Whether G is I at any mix."""
    estimator = given["estimator"]
    return getattr(estimator, "is_constant", False) and estimator.clip[0] == 1


def _mix_is_0(given: Given) -> bool:
    return getattr(given["estimator"], "mix", 1) == 0


def _ignores_turn(given: Given) -> bool:
    """Whether G is the same about any point."""
    estimator = given["estimator"]
    return getattr(estimator, "is_constant", False) or _is_0(given) or _mix_is_0(given)


def _is_0(given: Given) -> bool:
    """Whether nothing but the mix is left of G."""
    return getattr(given["estimator"], "clip", (0, 1))[1] == 0


def _has_unit_codes(given: Given) -> bool:
    return given["lookup"] == "normalised" or given["form"] == "sphere"


def _all_are_used(given: Given) -> bool:
    """Whether a cascade uses all levels of every sample."""
    multiple = given["multiple_of"]
    return -(-given["least_levels"] // multiple) * multiple >= given["levels"]


_OF_ESTIMATOR = (
    ("clip", lambda g: g["clip"] is not None and _mix_is_0(g), "mix is 0"),
    ("mix", lambda g: g["mix"] and _is_identity(g), "G is I at any mix"),
)
#: by what is made: an option, whether it would do nothing, and why
IDLE: dict[str, tuple[tuple[str, Callable[[Given], Any], str], ...]] = {
    "estimator": _OF_ESTIMATOR,
    "vq": (
        *_OF_ESTIMATOR,
        ("beta", lambda g: g["update"] == "ema" and g["beta"], "update 'ema' moves the codes, not a codebook loss"),
        ("penalties", lambda g: g["update"] == "ema" and g["penalties"], "update 'ema' takes no gradient to the codes"),
        ("penalties", lambda g: (g["penalties"] or {}).get("norm") and _has_unit_codes(g), "codes have norm 1"),
        ("revival_at", lambda g: g["revival_at"] is not None and g["revival"] == "none", "revival is 'none'"),
        ("init_scale", lambda g: g["init_scale"] != 1 and _has_unit_codes(g), "codes have norm 1"),
        ("centre", lambda g: g["centre"] != "origin" and _ignores_turn(g), "G is the same about any point"),
        ("warmup", lambda g: g["warmup"] and (_is_identity(g) or _mix_is_0(g)), "G is I at any mix"),
        ("gain", lambda g: g["gain"] is not None and (_is_0(g) or _mix_is_0(g)), "it is a factor on 0"),
    ),
    "cascade": (
        ("least_levels", lambda g: g["least_levels"] != 1 and not g["dropout"], "dropout is 0"),
        ("multiple_of", lambda g: g["multiple_of"] != 1 and not g["dropout"], "dropout is 0"),
        (
            "dropout",
            lambda g: g["dropout"] and _all_are_used(g),
            "least_levels and multiple_of let none be dropped",
        ),
        (
            "process_group",
            lambda g: g["process_group"] is not None and not g["dropout"] and not g["counts"],
            "this method shares nothing",
        ),
    ),
    "lattice": (("process_group", lambda g: g["process_group"] is not None, "ranks have nothing to share"),),
    "lfq": (
        (
            "entropy_temperature",
            lambda g: not g["entropy_weight"] and g["entropy_temperature"] not in (0.01, 1.0),  # the defaults
            "entropy_weight is 0",
        ),
        ("diversity", lambda g: not g["entropy_weight"] and g["diversity"] != 1, "entropy_weight is 0"),
        (
            "group",
            lambda g: not g["entropy_weight"] * g["diversity"] and g["group"] not in (None, 1),
            "entropy_weight or diversity is 0",
        ),
        ("group", lambda g: (g["group"] or 1) > g["bits"], "a code has fewer digits"),
    ),
}


def refuse_out_of_range(given: Given) -> None:
    """Raise ValueError on the first number that cannot be."""
    for name, (rule, holds) in RANGES.items():
        if given.get(name) is not None and not holds(given[name]):
            raise ValueError(f"{name} is {given[name]}: {rule}")


def refuse_idle(kind: str, given: Given) -> None:
    """Raise ValueError on the first option of a key of :data:`IDLE` that would do nothing."""
    for name, does_nothing, reason in IDLE[kind]:
        if does_nothing(given):
            raise ValueError(f"{name} would do nothing: {reason}")


#: an option of another library, and what to pass here
THEIRS = {
    "num_embeddings": "codebook_size",
    "n_e": "codebook_size",
    "n_embed": "codebook_size",
    "num_codes": "codebook_size",
    "embedding_dim": "dim",
    "e_dim": "dim",
    "codebook_dim": "project_to",
    "commitment_weight": "gamma",
    "commitment_cost": "gamma",
    "commit_weight": "gamma",
    "codebook_weight": "beta",
    "codebook_loss_weight": "beta",
    "legacy": "beta and gamma, which weigh the codebook loss and the commitment loss",
    "rotation_trick": 'estimator="rotation" or estimator="ste"',
    "straight_through": 'estimator="ste"',
    "use_cosine_sim": 'lookup="normalised"',
    "l2_norm": 'lookup="normalised"',
    "codebook_l2_norm": 'lookup="normalised"',
    "kmeans_init": 'init="kmeans"',
    "kmeans_iters": 'init="kmeans"',
    "ema_update": 'update="ema" or update="gradient"',
    "learnable_codebook": 'update="gradient"',
    "use_ema": 'update="ema"',
    "ema_decay": "decay",
    "gamma_decay": "decay",
    "threshold_ema_dead_code": 'revival="count" with revival_at',
    "dead_code_threshold": 'revival="count" with revival_at',
    "threshold_usage_ratio": 'revival="threshold" with revival_at',
    "entropy_loss_weight": "entropy_weight",
    "diversity_gamma": "diversity",
    "commitment_loss_weight": "gamma",
    "inv_temperature": "entropy_temperature, its inverse",
    "orthogonal_reg_weight": 'penalties={"orthogonal": weight}',
    "affine_param": 'form="affine"',
    "accept_image_fmap": "channel_first=True",
    "channel_last": "channel_first",
    "freeze_codebook": "frozen",
    "stochastic_sample_codes": "temperature",
    "sample_codebook_temp": "temperature",
    "separate_codebook_per_head": "Grouped, one quantiser a group",
    "sync_codebook": "process_group",
    "sync_kmeans": "process_group",
    "sync_affine_param": "process_group",
    "manual_ema_update": "follow(optimizer)",
    "ema_update_weight": "decay",
    "return_loss_breakdown": "details=True",
    "return_all_codes": "details=True",
    "lens": "mask",
    "indices": "decode(indices), or cross-entropy of your own logits",
    "num_quantizers": "ResidualVectorQuantizer, levels",
    "n_q": "ResidualVectorQuantizer, levels",
    "shared_codebook": "ResidualVectorQuantizer, shared",
    "quantize_dropout": "ResidualVectorQuantizer, dropout",
    "quantize_dropout_cutoff_index": "least_levels, which is one more",
    "quantize_dropout_multiple_of": "multiple_of",
    "quant_grad_frac": 'wiring="detach" (0) or wiring="graph" (1)',
    "groups": "Grouped, one quantiser a group",
    "eval_beam_size": "beam",
    "train_beam_size": "beam, in evaluation alone",
    "implicit_neural_codebook": 'method="qinco"',
    "preserve_symmetry": "symmetric",
    "bound_hard_clamp": 'bound="clamp"',
    "normalise": 'lookup="normalised"',
    **dict.fromkeys(("bins", "n_codes", "num_embedding", "vocab_size", "K"), "codebook_size"),
    **dict.fromkeys(("dimension", "input_dim", "embed_dim", "D", "vq_embed_dim", "z_channels"), "dim"),
    "vector_quantization_hidden_dimension": "dim",
    "frozen_codebook_dim": "project_to, before the learned map",
    **dict.fromkeys(("input_dimension", "output_dimension", "force_projection"), "Projected, dim"),
    "num_hiddens": "dim",
    "replaced_usage_ratio": 'revival="threshold" with revival_at',
    "temp_init": "anneal, which starts at a temperature of 1",
    **dict.fromkeys(("n_codebooks", "num_codebooks"), "levels of ResidualVectorQuantizer, or one each in Grouped"),
    **dict.fromkeys(("quantizer_dropout", "q_dropout"), "ResidualVectorQuantizer, dropout"),
    "rand_quantize_dropout_fixed_seed": "generator",
    **dict.fromkeys(("n_quantizers", "bandwidth"), "decode(indices[..., :n])"),
    **dict.fromkeys(("accept_3d_fmap", "is_channel_first"), "channel_first=True"),
    **dict.fromkeys(("commitment", "input_to_quantize_commit_loss_weight", "quantization_loss_weight"), "gamma"),
    "commitment_use_cross_entropy_loss": "gamma; the loss is a square",
    **dict.fromkeys(
        ("decay_rate", "moving_average_decay", "affine_param_batch_decay", "affine_param_codebook_decay"), "decay"
    ),
    **dict.fromkeys(("ema", "embed_ema"), 'update="ema"'),
    "accum_ema_update": "follow(optimizer)",
    "manual_in_place_optimizer_update": "no option: your optimiser steps",
    "in_place_codebook_optimizer": 'update="gradient", and your optimiser',
    **dict.fromkeys(("restart_unused_codes", "random_restart"), 'revival="unused"'),
    "spherical": 'lookup="normalised", or method="bsq"',
    "codebook_transform": 'form, such as "linear", or METHODS["simvq"]',
    "codebook_transform_fn": 'form, such as "linear", or METHODS["simvq"]',
    "diveq": 'METHODS["diveq"]',
    **dict.fromkeys(("directional_reparam", "directional_reparam_variance"), 'METHODS["diveq"], deviation'),
    **dict.fromkeys(("topk", "top_k"), "nearest_codes(x, k)"),
    "beam_size": "beam",
    "mlp_kwargs": 'width and blocks, with method="qinco"',
    **dict.fromkeys(("vq_kwargs", "sim_vq_kwargs", "lfq_kwargs"), "options by name, of all levels or in a list"),
    "entropy_loss_ratio": "entropy_weight",
    "kl_loss_threshold": "entropy_weight",
    **dict.fromkeys(("codebook_scale", "scale"), "no option: scale the latents"),
    "return_indices": "indices, a part of every answer",
    "codebook_show_usage": "details=True",
    "return_cutoff": "indices, which are -1 where a level is not used",
    "return_zeros_for_masked_padding": "z_q where indices >= 0; elsewhere it is x",
    "optimize_values": "frozen=False",
    "force_quantization_f32": "no option: it is done in float32 or wider",
    "allowed_dtypes": "no option: every floating point dtype is allowed",
    "use_ddp": "process_group, or DistributedDataParallel alone",
    "layernorm_after_project_in": "no option: put a LayerNorm in front",
    "soft_clamp_input_value": "no option: clamp the latents in front",
    "route_gradients_to_input": "estimator",
    **dict.fromkeys(
        ("remap", "unknown_index", "sane_index_shape"), "no option: indices are those of the codes, one a token"
    ),
    **dict.fromkeys(
        ("codebook_diversity_loss_weight", "codebook_diversity_temperature"), 'no option: revival, or METHODS["lfq"]'
    ),
    **dict.fromkeys(
        ("orthogonal_reg_active_codes_only", "orthogonal_reg_max_codes"), "no option: the penalty is of all codes"
    ),
    **dict.fromkeys(
        (
            "eps",
            "epsilon",
            "projection_has_bias",
            "orthogonal_rotation",
            "keep_num_codebooks_dim",
            "vq_bridge",
            "noise_dropout",
            "no_quantization_rate",
            "sync_update_v",
        ),
        "no option",
    ),
    "frac_per_sample_entropy": "no option: all tokens count",
    "beam_score_quantizer_weights": "no option: beam compares what the decoder sees",
    "straight_through_activation": "no option: the gradient passes as it is",
    "has_projections": "project_to, or dim for FSQ and LFQ",
    "init_fn": "init, which may be a function",
}


def refuse_unknown(options: dict) -> None:
    """Raise TypeError on the first option, with our name for it where there is one."""
    for name in options:
        ours = f": here it is {THEIRS[name]}" if name in THEIRS else ""
        raise TypeError(f"unknown option {name!r}{ours}")
