"""What others call our options, so that an error names ours."""

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
}


def refuse_unknown(options: dict) -> None:
    """Raise TypeError on the first option, with our name for it where there is one."""
    for name in options:
        ours = f": here it is {THEIRS[name]}" if name in THEIRS else ""
        raise TypeError(f"unknown option {name!r}{ours}")
