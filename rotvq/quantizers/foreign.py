"""State dicts of other libraries, brought into our layout before they are loaded.

Where a file of theirs is loaded, the same latents get the same indices and are decoded to the same vectors:

- vector-quantize-pytorch: VectorQuantize into :class:`.VectorQuantizer`, with separate codebooks a head into
  :class:`.Grouped`; ResidualVQ into :class:`.ResidualVectorQuantizer`, GroupedResidualVQ into a ``Grouped`` of these;
- taming-transformers, LDM, diffusers' VQModel and LlamaGen into ``VectorQuantizer``;
- EnCodec, audiocraft, SpeechTokenizer and DAC into ``ResidualVectorQuantizer``, and Moshi's (Mimi's) two cascades into
  :class:`.Summed`; the same in the layout of transformers.

Where one projection is around a whole cascade or group, that is a :class:`.Projected`. A file does not say how its
codes are looked up: pass ``lookup="normalised"`` for the cosine similarity of vector-quantize-pytorch, ViT-VQGAN and
LlamaGen, "cosine" for DAC.

Running counts mean the same everywhere: an exponential mean of how many latents of a batch chose the code. Running sums
are dropped: where they move the codes they are codes times counts, and elsewhere they play no part. With
``affine_param`` the codes become what the statistics in the file make of them (theirs goes on moving these, in
evaluation, too). A key that stands for something we do not have is an error that names it, and so is an unknown one, or
one that another must go with. The layouts of DAC and LlamaGen are known by a key, and another lookup gives a warning. A
file of their FSQ has our keys and neither ``sizes`` and their order, ``symmetric`` nor ``bound``: with others than
theirs it loads, and other codes are decoded.
"""

import re
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

EPSILON = 1e-5  # that of vector-quantize-pytorch under variances and of Moshi under counts

#: keys of one quantiser -> what they hold
PARTS = {
    r"embedding\.weight|_?codebook\.(embed|weight)": "codes",  # (K, d), or (codebooks, K, d)
    r"_?codebook\.(embed_sum|embedding_sum)": "sums",  # Moshi has these in place of codes
    r"(embedding|_?codebook)\.embed_avg": "running sums",
    r"(embedding|_?codebook)\.(cluster_size|cluster_usage)": "counts",
    r"_?codebook\.(initt?ed|_?initialized)": "started",
    r"_codebook\.(batch|codebook)_(mean|variance)": r"\1_\2",  # of affine_param, (codebooks, 1, d)
    r"_codebook\.codebook_(mean|variance)_needs_init": r"\1_unknown",
    r"(project_in|in_proj|input_proj)\.(weight|bias)": r"reduce.\2",
    r"(project_out|out_proj|output_proj)\.(weight|bias)": r"expand.\2",
    r"in_proj\.(weight_g|parametrizations\.weight\.original0)": "reduce.length",  # weight normalisation
    r"in_proj\.(weight_v|parametrizations\.weight\.original1)": "reduce.direction",
    r"out_proj\.(weight_g|parametrizations\.weight\.original0)": "expand.length",
    r"out_proj\.(weight_v|parametrizations\.weight\.original1)": "expand.direction",
    r"codebook_used": "recent indices",  # LlamaGen, for its report of usage
}
#: how keys start that one library alone has -> it, and the option that looks codes up as it does
OPTION_OF = {"in_proj.": ("DAC", "lookup='cosine'"), "codebook_used": ("LlamaGen", "lookup='normalised'")}
NEEDLESS = {"running sums", "recent indices"}  # parts that may be left out
#: keys that hold what we do not have -> the reason
REFUSED = {
    r"used": "indices are renumbered by it: remove it, and renumber them yourself",
    r"project_in\.\d+\.(weight|bias)": "a normalisation follows the projection: put it in front of a quantiser without",
    r"_codebook\.vq_bridge\..*": "the codes go through a network",
    r"mlps\..*": "the codes of a level depend on the levels before it",
}
#: keys of what is made of several quantisers -> ours
LAYERS = {
    r"(rvqs|quantizers|vq\.layers)\.(\d+)\.": r"layers.\2.",  # GroupedResidualVQ; DAC; EnCodec, audiocraft and Moshi
    r"(rvq_first|semantic_residual_vector_quantizer)\.": "layers.0.",  # Moshi, and in transformers
    r"(rvq_rest|acoustic_residual_vector_quantizer)\.": "layers.1.",
}
KNOWN = re.compile(rf"({'|'.join(LAYERS)}|layers\.\d+\.)*({'|'.join([*PARTS, *REFUSED])})")


def adopt(module: nn.Module, state: dict, prefix: str, metadata, strict, missing, unexpected, errors: list) -> None:
    """Before loading a VectorQuantizer: bring another library's state into its layout; a hook of load_state_dict."""
    keys = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    if any(re.match(r"codebook\.started|statistics\.", key) for key in keys):
        return  # it is ours: torch names what is missing
    parts = {part: key for key in keys if (part := _translated(key, PARTS))}
    if not parts.keys() & {"codes", "sums"}:
        return  # it is nobody's: torch names its keys
    _refuse(state, prefix, keys, errors)
    found = {part: state.pop(prefix + key) for part, key in parts.items()}
    try:
        ours = _our_values(module, found)
        errors += [
            f"{prefix}{parts[part]} cannot be taken over: it has no place here" for part in found.keys() - NEEDLESS
        ]
    except ValueError as error:
        errors.append(f"{prefix}{parts.get('codes', parts.get('sums'))}: {error}")
        ours = {}
    for start, (library, option) in OPTION_OF.items():
        if option != f"lookup={module.lookup!r}" and any(key.startswith(start) for key in keys) and not errors:
            warnings.warn(f"a file of {library} goes with {option}, not with {module.lookup!r}", stacklevel=2)
    for key, value in (_fresh_state(module) | ours).items():
        state[prefix + key] = value


def adopt_layers(module: nn.Module, state: dict, prefix: str, *rest) -> None:
    """The same for a module with ``layers``, whose own hooks then see to each of them."""
    errors, count = rest[-1], len(module.layers)
    keys = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    _refuse(state, prefix, keys, errors)
    for key in (key for key in keys if prefix + key in state and KNOWN.fullmatch(key)):  # torch names what is unknown
        for pattern, ours in LAYERS.items():
            if re.match(pattern, key):
                state[prefix + re.sub(pattern, ours, key, count=1)] = state.pop(prefix + key)
        if key.startswith("_codebook."):  # of separate codebooks, along the first axis of what has several
            value = state.pop(prefix + key)
            if value.ndim > 1 and len(value) != count:
                errors.append(f"{prefix}{key}: it holds {len(value)} codebooks, and there are {count} quantisers here")
                continue
            for layer in range(count):
                state[f"{prefix}layers.{layer}.{key}"] = value[layer : layer + 1] if value.ndim > 1 else value
    _drop_copies(module, state, prefix)


def adopt_projected(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """The same for a Projected, which has one layer."""
    keys = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    if "reduce.weight" in keys:
        return  # it is ours
    for key in filter(KNOWN.fullmatch, keys):  # torch names what is unknown
        part = _translated(key, PARTS)
        value = state.pop(prefix + key)
        if part in ("reduce.weight", "expand.weight", "reduce.bias", "expand.bias"):
            state[prefix + part] = value.flatten(1) if value.ndim > 1 else value  # of a convolution, too
        else:
            state[f"{prefix}layers.0.{key}"] = value


def _translated(key: str, table: dict[str, str]) -> str | None:
    """What a table of patterns makes of a key; None: nothing."""
    return next((match.expand(ours) for pattern, ours in table.items() if (match := re.fullmatch(pattern, key))), None)


def _refuse(state: dict, prefix: str, keys: list[str], errors: list[str]) -> None:
    """Name the keys that hold what we do not have, and take them out."""
    for key in keys:
        reason = _translated(key, REFUSED)
        if reason is not None:
            errors.append(f"{prefix}{key} cannot be taken over: {reason}")
            del state[prefix + key]


def _our_values(module: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our keys and values, from parts of a foreign state, which are taken out; ValueError on what does not fit."""
    counts = found.pop("counts", None)
    if "codes" not in found and counts is None:
        raise ValueError("these are sums, and the counts that they are to be divided by are missing")
    codes = found.pop("codes") if "codes" in found else found.pop("sums") / counts.clamp_min(EPSILON).unsqueeze(-1)
    if codes.ndim == 3 and len(codes) > 1:
        raise ValueError(f"there are {len(codes)} codebooks: load them into a Grouped of as many quantisers")
    ours = {"codebook.weight": codes.reshape(codes.shape[-2:])}
    if counts is not None:
        ours["statistics.running"] = counts.flatten()
    if "started" in found:
        ours["codebook.started"] = found.pop("started").flatten()[0] > 0
        if not ours["codebook.started"] and not module.codebook.awaits_latents:
            raise ValueError("the codes have not started: build the quantiser with init='kmeans'")
    for name in ("reduce", "expand"):
        ours |= _linear(name, found)
    if "reduce.weight" in ours and module.reduce is None:
        code_dim, dim = ours["reduce.weight"].shape
        raise ValueError(f"a projection leads from {dim} to {code_dim} numbers: build with project_to={code_dim}")
    if any(re.match("batch_|codebook_|mean_|variance_", part) for part in found):
        ours |= _affine(module, found, ours["codebook.weight"])
    return ours


def _linear(name: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of a linear map, from those of one or of a convolution of width 1, also weight-normalised."""
    given = (f"{name}.weight", f"{name}.bias")
    values = {key: found.pop(key) for key in given if key in found}
    if f"{name}.direction" in found and f"{name}.length" in found:
        direction, length = (found.pop(f"{name}.{part}").flatten(1) for part in ("direction", "length"))
        values[f"{name}.weight"] = direction * (length / torch.linalg.vector_norm(direction, dim=1, keepdim=True))
    return {key: value.flatten(1) if value.ndim > 1 else value for key, value in values.items()}


def _affine(module: nn.Module, found: dict[str, Tensor], codes: Tensor) -> dict[str, Tensor]:
    """Codes shifted and scaled from the codebook's mean and variance to those of the latents."""
    if "batch_mean" not in found or found.pop("mean_unknown", False) or found.pop("variance_unknown", False):
        raise ValueError("affine_param has seen no batch: train or load without it")
    for part in ("batch_variance", "codebook_mean", "codebook_variance"):
        if part not in found:
            raise ValueError(f"{part}, of affine_param, is missing")
    means = {name: found.pop(f"{name}_mean").flatten() for name in ("batch", "codebook")}
    deviations = {name: found.pop(f"{name}_variance").flatten().clamp_min(EPSILON).sqrt() for name in means}
    scale = deviations["batch"] / deviations["codebook"]
    shift = means["batch"] - means["codebook"] * scale
    if "codebook.form.scale" in module.state_dict():
        return {"codebook.form.scale": scale, "codebook.form.shift": shift}
    return {"codebook.weight": codes * scale + shift}


def _fresh_state(module: nn.Module) -> dict[str, Tensor]:
    """All state but codes and projections, as if nothing had been counted; as it is where that means nothing."""
    new_form = type(module.codebook.form)(module.code_dim).state_dict()
    made: dict[str, Callable[[Tensor], Tensor]] = {
        "codebook.started": torch.ones_like,
        "statistics.step_ended": torch.ones_like,
        **dict.fromkeys(("statistics.calls", "statistics.idle", "statistics.counts"), torch.zeros_like),
        **dict.fromkeys(("statistics.sums", "statistics.latent_mean"), torch.zeros_like),
        **{f"codebook.form.{key}": lambda old, value=value: value.to(old) for key, value in new_form.items()},
    }
    loaded = ("codebook.weight", "reduce.weight", "reduce.bias", "expand.weight", "expand.bias")
    own = {key: value for key, value in module.state_dict().items() if key not in loaded}
    return {key: made.get(key, lambda old: old)(value) for key, value in own.items()}


def _drop_copies(module: nn.Module, state: dict, prefix: str) -> None:
    """Of a codebook that the levels share, a file has a copy a level."""
    for key in [key for key in state if key.startswith(f"{prefix}layers.")]:
        level, _, rest = key[len(f"{prefix}layers.") :].partition(".")
        first = state.get(f"{prefix}layers.0.{rest}")
        is_beyond = level.isdigit() and int(level) >= len(module.layers)
        if is_beyond and first is not None and torch.equal(first, state[key]):
            del state[key]
