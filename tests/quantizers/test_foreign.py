"""State dicts of other libraries: files in their layouts, written here, give the same indices and vectors as there.

Each layout is described once: which keys a file has, and how its library looks codes up, in a few lines of torch.
"""

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rotvq import VectorQuantizer
from rotvq.quantizers.codebook import Codebook
from rotvq.quantizers.grouped import Grouped
from rotvq.quantizers.projected import Projected, Summed
from rotvq.quantizers.residual import ResidualVectorQuantizer

DIM, SMALL, SIZE = 6, 4, 12


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def positive(*shape, seed=0):
    return numbers(*shape, seed=seed).abs() + 0.1


# --- how the libraries look codes up ----------------------------------------------------------------------------------


def nearest(x, codes):
    """Indices and codes; x is (..., d)."""
    indices = (x.unsqueeze(-2) - codes).square().sum(-1).argmin(-1)
    return codes[indices], indices


def nearest_on_sphere(x, codes):
    """Latents and codes normalised, and so is what is returned."""
    return nearest(F.normalize(x, dim=-1), F.normalize(codes, dim=-1))


def most_similar(x, codes):
    """The same indices; what is returned is the code as it is: DAC."""
    indices = nearest_on_sphere(x, codes)[1]
    return codes[indices], indices


def cascade(x, levels):
    """Each level, a function to (code, index), is given what is left over."""
    total, indices = torch.zeros_like(x), []
    for level in levels:
        code, index = level(x - total)
        total = total + code
        indices.append(index)
    return total, torch.stack(indices, -1)


def projected(state, name_in, name_out, inner):
    """``inner`` between two linear maps, or convolutions of width 1."""
    weight = lambda name: state[f"{name}.weight"].flatten(1)  # noqa: E731

    def lookup(x):
        code, index = inner(F.linear(x, weight(name_in), state.get(f"{name_in}.bias")))
        return F.linear(code, weight(name_out), state.get(f"{name_out}.bias")), index

    return lookup


# --- what is in their files -------------------------------------------------------------------------------------------


def linear(name, out, into, bias=True, width=(), seed=0):
    state = {f"{name}.weight": numbers(out, into, *width, seed=seed)}
    return state | ({f"{name}.bias": numbers(out, seed=seed + 1)} if bias else {})


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def vqp_codebook(dim=DIM, size=SIZE, books=1, seed=0, cosine=False):
    """vector-quantize-pytorch: the sums are codes times counts."""
    codes, counts = numbers(books, size, dim, seed=seed), positive(books, size, seed=seed + 1)
    codes = F.normalize(codes, dim=-1) if cosine else codes
    sums = codes * counts[..., None]
    return {"initted": torch.tensor(True), "cluster_size": counts, "embed_avg": sums, "embed": codes}


def vqp_affine(dim=DIM, books=1, seed=0):
    """Means and variances of latents and of codes; one feature is all but constant."""
    of_latents, of_codes = positive(books, 1, dim, seed=seed + 1), positive(books, 1, dim, seed=seed + 3)
    of_latents[..., 0], of_codes[..., 0] = 1e-6, 1e-8
    return {
        "batch_mean": numbers(books, 1, dim, seed=seed),
        "batch_variance": of_latents,
        "codebook_mean_needs_init": torch.tensor(False),
        "codebook_mean": numbers(books, 1, dim, seed=seed + 2),
        "codebook_variance_needs_init": torch.tensor(False),
        "codebook_variance": of_codes,
    }


def encodec_codebook(book="_codebook.", seed=0, dim=DIM):
    codes, counts = numbers(SIZE, dim, seed=seed) / (1 + seed), positive(SIZE, seed=seed + 1)
    state = {"inited": torch.ones(1), "cluster_size": counts, "embed": codes, "embed_avg": codes * counts[:, None]}
    return under(book, state)


def moshi_codebook(names, seed=0):
    """Moshi stores no codes, but sums and counts, of which one may be all but 0."""
    started, counts, sums = names
    usage = positive(SIZE, seed=seed)
    usage[3] = 1e-9
    values = torch.ones(1), usage, numbers(SIZE, SMALL, seed=seed + 1) * usage[:, None] / (1 + seed)
    return dict(zip((started, counts, sums), values))


def moshi_codes(state, counts, sums):
    return state[sums] / state[counts].clamp(min=1e-5)[:, None]


def dac_level(style, seed=0):
    state = {"codebook.weight": numbers(SIZE, SMALL, seed=seed) / (1 + seed)}
    for name, out, into in (("in_proj", SMALL, DIM), ("out_proj", DIM, SMALL)):
        seed += 10
        length, direction = positive(out, 1, 1, seed=seed), numbers(out, into, 1, seed=seed + 1)
        state[f"{name}.bias"] = numbers(out, seed=seed + 2)
        state |= under(f"{name}.", DAC_STYLES[style](length, direction))
    return state


def normalised_weight(length, direction):
    return length * direction / direction.norm(dim=(1, 2), keepdim=True)


DAC_STYLES = {
    "weight_norm": lambda g, v: {"weight_g": g, "weight_v": v},
    "parametrised": lambda g, v: {"parametrizations.weight.original0": g, "parametrizations.weight.original1": v},
    "removed": lambda g, v: {"weight": normalised_weight(g, v)},
}


def dac_plain(state):
    """The weights of the convolutions, whatever the style."""
    pairs = [("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")]
    plain = dict(state)
    for name in ("in_proj", "out_proj"):
        for g, v in pairs:
            if f"{name}.{g}" in state:
                plain[f"{name}.weight"] = normalised_weight(state[f"{name}.{g}"], state[f"{name}.{v}"])
    return plain


# --- the layouts ------------------------------------------------------------------------------------------------------


@dataclass
class Layout:
    """A file, what it means, and where it is loaded."""

    state: dict  # the file
    lookup: Callable  # latents (..., dim) to (vectors, indices), from the file alone
    ours: Callable  # makes the module that it is loaded into
    counts: Callable = lambda ours, state: ()  # pairs: running counts of ours, and those of the file


def codebooks(state, layers, book, metric=nearest, codes="embed"):
    return [lambda x, i=i: metric(x, state[f"{layers}{i}.{book}{codes}"].reshape(-1, x.shape[-1])) for i in range(3)]


def taming():
    state = {"embedding.weight": numbers(SIZE, DIM)}
    return Layout(state, lambda x: nearest(x, state["embedding.weight"]), lambda: VectorQuantizer(DIM, SIZE))


def taming_ema():
    weight, counts = numbers(SIZE, DIM), positive(SIZE)
    state = {"weight": weight, "cluster_size": counts, "embed_avg": weight * counts[:, None]}
    ours = lambda: VectorQuantizer(DIM, SIZE, update="ema")  # noqa: E731
    pairs = lambda ours, state: [(ours.statistics.running, counts)]  # noqa: E731
    return Layout(under("embedding.", state), lambda x: nearest(x, weight), ours, pairs)


def llamagen():
    state = {"embedding.weight": numbers(SIZE, DIM), "codebook_used": torch.zeros(65536)}
    lookup = lambda x: nearest_on_sphere(x, state["embedding.weight"])  # noqa: E731
    return Layout(state, lookup, lambda: VectorQuantizer(DIM, SIZE, lookup="normalised"))


def vqp(codebook=None, ours=None, metric=nearest):
    book = under("_codebook.", codebook or vqp_codebook())
    pairs = lambda ours, state: [(ours.statistics.running, book["_codebook.cluster_size"][0])]  # noqa: E731
    return Layout(
        book,
        lambda x: metric(x, book["_codebook.embed"][0]),
        ours or (lambda: VectorQuantizer(DIM, SIZE, update="ema", init="kmeans")),
        pairs,
    )


def vqp_cosine():
    make = lambda: VectorQuantizer(DIM, SIZE, lookup="normalised", update="ema")  # noqa: E731
    return vqp(vqp_codebook(cosine=True), make, nearest_on_sphere)


def vqp_projected():
    state = under("_codebook.", vqp_codebook(SMALL))
    state |= linear("project_in", SMALL, DIM) | linear("project_out", DIM, SMALL, seed=5)
    inner = lambda x: nearest(x, state["_codebook.embed"][0])  # noqa: E731
    make = lambda: VectorQuantizer(DIM, SIZE, project_to=SMALL)  # noqa: E731
    return Layout(state, projected(state, "project_in", "project_out", inner), make)


def by_heads(lookup, heads):
    def by_head(x):
        codes, indices = zip(*(lookup(part, head) for head, part in enumerate(x.chunk(heads, -1))))
        return torch.cat(codes, -1), torch.stack(indices, -1)

    return by_head


def vqp_heads():
    state = under("_codebook.", vqp_codebook(DIM // 2))
    lookup = by_heads(lambda x, head: nearest(x, state["_codebook.embed"][0]), 2)
    return Layout(state, lookup, lambda: VectorQuantizer(DIM // 2, SIZE, heads=2))


def vqp_projected_heads():
    state = under("_codebook.", vqp_codebook(SMALL))
    state |= linear("project_in", 2 * SMALL, 2 * DIM) | linear("project_out", 2 * DIM, 2 * SMALL, seed=5)
    inner = by_heads(lambda x, head: nearest(x, state["_codebook.embed"][0]), 2)
    make = lambda: VectorQuantizer(DIM, SIZE, heads=2, project_to=SMALL)  # noqa: E731
    return Layout(state, projected(state, "project_in", "project_out", inner), make)


def vqp_separate_heads():
    state = under("_codebook.", vqp_codebook(DIM // 2, books=2))
    lookup = by_heads(lambda x, head: nearest(x, state["_codebook.embed"][head]), 2)
    counts = state["_codebook.cluster_size"]
    pairs = lambda ours, state: [(layer.statistics.running, one) for layer, one in zip(ours.layers, counts)]  # noqa: E731
    return Layout(state, lookup, lambda: Grouped(VectorQuantizer(DIM // 2, SIZE) for _ in range(2)), pairs)


def vqp_projected_separate_heads():
    state = under("_codebook.", vqp_codebook(SMALL, books=2))
    state |= linear("project_in", 2 * SMALL, DIM) | linear("project_out", DIM, 2 * SMALL, seed=5)
    inner = by_heads(lambda x, head: nearest(x, state["_codebook.embed"][head]), 2)
    make = lambda: Projected(Grouped(VectorQuantizer(SMALL, SIZE) for _ in range(2)), DIM)  # noqa: E731
    return Layout(state, projected(state, "project_in", "project_out", inner), make)


def vqp_affine_codes(state, book=0):
    """The codes that its lookup compares with, from the statistics in the file."""
    of = {name: state[f"_codebook.{name}"][book] for name in ("batch_mean", "batch_variance")}
    of |= {name: state[f"_codebook.{name}"][book] for name in ("codebook_mean", "codebook_variance")}
    scale = of["batch_variance"].clamp(min=1e-5).sqrt() / of["codebook_variance"].clamp(min=1e-5).sqrt()
    return (state["_codebook.embed"][book] - of["codebook_mean"]) * scale + of["batch_mean"]


def vqp_affine_param(form):
    state = under("_codebook.", vqp_codebook() | vqp_affine())
    make = lambda: VectorQuantizer(DIM, SIZE, form=form)  # noqa: E731
    return Layout(state, lambda x: nearest(x, vqp_affine_codes(state)), make)


def vqp_affine_separate_heads():
    state = under("_codebook.", vqp_codebook(DIM // 2, books=2) | vqp_affine(DIM // 2, books=2))
    lookup = by_heads(lambda x, head: nearest(x, vqp_affine_codes(state, head)), 2)
    return Layout(state, lookup, lambda: Grouped(VectorQuantizer(DIM // 2, SIZE) for _ in range(2)))


def vqp_levels(dim=DIM, seed=0, shared=False):
    levels = {}
    for i in range(3):
        book = vqp_codebook(dim, seed=seed + (0 if shared else i))
        levels |= under(f"layers.{i}._codebook.", book)
    return levels


def vqp_residual(shared=False, cosine=False):
    state = vqp_levels(shared=shared)
    metric, name = (nearest_on_sphere, "normalised") if cosine else (nearest, "euclidean")
    make = lambda: ResidualVectorQuantizer(DIM, SIZE, 3, shared=shared, lookup=name)  # noqa: E731
    pairs = lambda ours, state: [  # noqa: E731
        (layer.statistics.running, state[f"layers.{i}._codebook.cluster_size"][0])
        for i, layer in enumerate(ours.layers)
    ]
    return Layout(state, lambda x: cascade(x, codebooks(state, "layers.", "_codebook.", metric)), make, pairs)


def vqp_residual_projected():
    state = vqp_levels(SMALL) | linear("project_in", SMALL, DIM) | linear("project_out", DIM, SMALL, seed=5)
    inner = lambda x: cascade(x, codebooks(state, "layers.", "_codebook."))  # noqa: E731
    make = lambda: Projected(ResidualVectorQuantizer(SMALL, SIZE, 3), DIM)  # noqa: E731
    return Layout(state, projected(state, "project_in", "project_out", inner), make)


def vqp_residual_sizes():
    sizes = [5, 12, 20]
    state = {}
    for i, size in enumerate(sizes):
        state |= under(f"layers.{i}._codebook.", vqp_codebook(size=size, seed=i))
    make = lambda: ResidualVectorQuantizer(DIM, sizes, 3)  # noqa: E731
    return Layout(state, lambda x: cascade(x, codebooks(state, "layers.", "_codebook.")), make)


def vqp_grouped_residual():
    state = under("rvqs.0.", vqp_levels(DIM // 2)) | under("rvqs.1.", vqp_levels(DIM // 2, seed=7))
    group = lambda x, i: cascade(x, codebooks(state, f"rvqs.{i}.layers.", "_codebook."))  # noqa: E731
    make = lambda: Grouped(ResidualVectorQuantizer(DIM // 2, SIZE, 3) for _ in range(2))  # noqa: E731

    def lookup(x):
        (first, i), (second, j) = (group(part, n) for n, part in enumerate(x.chunk(2, -1)))
        return torch.cat([first, second], -1), torch.stack([i, j], -2)

    return Layout(state, lookup, make)


def encodec(layers, book):
    state = {}
    for i in range(3):
        state |= under(f"{layers}{i}.", encodec_codebook(book, seed=i))
    make = lambda: ResidualVectorQuantizer(DIM, SIZE, 3, init="kmeans", update="ema")  # noqa: E731
    pairs = lambda ours, state: [  # noqa: E731
        (layer.statistics.running, state[f"{layers}{i}.{book}cluster_size"]) for i, layer in enumerate(ours.layers)
    ]
    return Layout(state, lambda x: cascade(x, codebooks(state, layers, book)), make, pairs)


def encodec_projected():
    """Each level with its own projection, as its VectorQuantization has for another codebook_dim."""
    state, levels = {}, []
    for i in range(3):
        own = encodec_codebook(seed=i, dim=SMALL) | linear("project_in", SMALL, DIM, seed=10 + i)
        own |= linear("project_out", DIM, SMALL, seed=20 + i)
        inner = lambda x, own=own: nearest(x, own["_codebook.embed"])  # noqa: E731
        levels.append(projected(own, "project_in", "project_out", inner))
        state |= under(f"vq.layers.{i}.", own)
    make = lambda: ResidualVectorQuantizer(DIM, SIZE, 3, project_to=SMALL)  # noqa: E731
    return Layout(state, lambda x: cascade(x, levels), make)


MOSHI_NAMES = {  # halves, layers, and a codebook's three buffers
    "moshi": (
        ("rvq_first.", "rvq_rest."),
        "vq.layers.",
        "_codebook.",
        ("_initialized", "cluster_usage", "embedding_sum"),
    ),
    "moshi, old": (("rvq_first.", "rvq_rest."), "vq.layers.", "_codebook.", ("inited", "cluster_size", "embed_sum")),
    "mimi, transformers": (
        ("semantic_residual_vector_quantizer.", "acoustic_residual_vector_quantizer."),
        "layers.",
        "codebook.",
        ("initialized", "cluster_usage", "embed_sum"),
    ),
}


def moshi(name):
    """One level on meaning and two on sound, each half with projections of its own, without bias."""
    halves, layers, book, names = MOSHI_NAMES[name]
    state = {}
    for half, levels, seed in zip(halves, (1, 2), (0, 20)):
        state |= under(half, linear("input_proj", SMALL, DIM, bias=False, width=(1,), seed=seed))
        state |= under(half, linear("output_proj", DIM, SMALL, bias=False, width=(1,), seed=seed + 1))
        for i in range(levels):
            state |= under(f"{half}{layers}{i}.{book}", moshi_codebook(names, seed=seed + i))

    def lookup(x):
        sums, indices = [], []
        for half, levels in zip(halves, (1, 2)):
            books = [
                lambda x, at=f"{half}{layers}{i}.{book}": nearest(x, moshi_codes(state, at + names[1], at + names[2]))
                for i in range(levels)
            ]
            inner = lambda x, books=books: cascade(x, books)  # noqa: E731
            total, index = projected(state, f"{half}input_proj", f"{half}output_proj", inner)(x)
            sums.append(total)
            indices.append(index)
        return sum(sums), torch.cat(indices, -1)

    def make():
        halves = (ResidualVectorQuantizer(SMALL, SIZE, n, init="kmeans", update="ema", wiring="once") for n in (1, 2))
        return Summed(Projected(half, DIM, bias=False) for half in halves)

    def pairs(ours, state):
        level = ours.layers[1].layers[0].layers[1]
        return [(level.statistics.running, state[f"{halves[1]}{layers}1.{book}{names[1]}"])]

    return Layout(state, lookup, make, pairs)


def dac(style):
    state = {}
    for i in range(3):
        state |= under(f"quantizers.{i}.", dac_level(style, seed=i))

    def level(i):
        own = {key.removeprefix(f"quantizers.{i}."): value for key, value in state.items() if f"quantizers.{i}." in key}
        inner = lambda x: most_similar(x, own["codebook.weight"])  # noqa: E731
        return projected(dac_plain(own), "in_proj", "out_proj", inner)

    make = lambda: ResidualVectorQuantizer(DIM, SIZE, 3, lookup="cosine", project_to=SMALL)  # noqa: E731
    return Layout(state, lambda x: cascade(x, [level(i) for i in range(3)]), make)


LAYOUTS = {
    "taming": taming,
    "taming, ema": taming_ema,
    "llamagen": llamagen,
    "vqp": vqp,
    "vqp, cosine": vqp_cosine,
    "vqp, projected": vqp_projected,
    "vqp, heads": vqp_heads,
    "vqp, projected heads": vqp_projected_heads,
    "vqp, separate heads": vqp_separate_heads,
    "vqp, projected separate heads": vqp_projected_separate_heads,
    "vqp, affine": lambda: vqp_affine_param("affine"),
    "vqp, affine into free": lambda: vqp_affine_param("free"),
    "vqp, affine separate heads": vqp_affine_separate_heads,
    "vqp residual": vqp_residual,
    "vqp residual, shared": lambda: vqp_residual(shared=True),
    "vqp residual, cosine": lambda: vqp_residual(cosine=True),
    "vqp residual, projected": vqp_residual_projected,
    "vqp residual, sizes": vqp_residual_sizes,
    "vqp grouped residual": vqp_grouped_residual,
    "encodec": lambda: encodec("vq.layers.", "_codebook."),
    "encodec, projected levels": encodec_projected,
    "encodec, transformers": lambda: encodec("layers.", "codebook."),
    **{name: lambda name=name: moshi(name) for name in MOSHI_NAMES},
    **{f"dac, {style}": lambda style=style: dac(style) for style in DAC_STYLES},
}


def latents_of(ours, seed=90):
    return 1.5 * numbers(5, 40, ours.heads * ours.dim, seed=seed)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_theirs_gives_their_indices_and_vectors(name):
    layout = LAYOUTS[name]()
    ours = layout.ours()
    file = {key: value.clone() for key, value in layout.state.items()}
    ours.load_state_dict(file)
    assert all(torch.equal(file[key], value) for key, value in layout.state.items())  # the caller's dict is as it was
    x = latents_of(ours)
    z_q, indices = layout.lookup(x)
    assert len(indices.unique()) > 4
    out = ours.eval()(x)
    assert torch.equal(out.indices, indices) and torch.equal(ours.encode(x), indices)
    torch.testing.assert_close(out.z_q, z_q)
    torch.testing.assert_close(ours.decode(indices), z_q)
    for running, counts in layout.counts(ours, layout.state):
        torch.testing.assert_close(running, counts)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_a_file_in_half_precision(name, dtype):
    """Statistics and codes that no gradient moves are float32 here, whatever the file's dtype."""
    layout = LAYOUTS[name]()
    ours = layout.ours()
    ours.load_state_dict({k: v.to(dtype) if v.is_floating_point() else v for k, v in layout.state.items()})
    assert all(value.dtype != dtype for value in ours.state_dict().values())


@pytest.mark.parametrize("name", LAYOUTS)
def test_inside_a_model_and_out_of_a_trained_one(name):
    """Under a prefix, into a module with counts and codes of its own: nothing of these is left."""
    layout = LAYOUTS[name]()
    fresh, used = nn.ModuleDict({"quantize": layout.ours()}), nn.ModuleDict({"quantize": layout.ours()})
    for seed in range(2):
        used["quantize"](latents_of(used["quantize"], seed=seed))
    for model in (fresh, used):
        model.load_state_dict(under("quantize.", layout.state))
    for (key, value), there in zip(fresh.state_dict().items(), used.state_dict().values()):
        if not ("running" in key and not layout.counts(fresh["quantize"], layout.state)):  # a file without counts
            assert torch.equal(value, there), key
    x = latents_of(fresh["quantize"])
    z_q, indices = layout.lookup(x)
    assert torch.equal(used["quantize"](x).indices, indices)  # the first training call moves nothing


@pytest.mark.parametrize("name", LAYOUTS)
def test_our_own_files_are_left_alone(name):
    layout = LAYOUTS[name]()
    first, second = layout.ours(), layout.ours()
    first(latents_of(first))
    second.load_state_dict(first.state_dict())
    for (key, value), there in zip(first.state_dict().items(), second.state_dict().values()):
        assert torch.equal(value, there), key
    assert torch.equal(
        pickle.loads(pickle.dumps(second)).eval().encode(latents_of(first)), first.encode(latents_of(first))
    )
    copy.deepcopy(second).load_state_dict(layout.state)


# --- what cannot be taken over ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_unknown_key_is_named(name):
    """Beside each key of the file, one that nobody knows; as it is in the file."""
    layout = LAYOUTS[name]()
    places = sorted({key.rpartition(".")[0] for key in layout.state} | {""})
    for place in places:
        unknown = f"{place}.novelty".lstrip(".")
        with pytest.raises(RuntimeError, match=rf'Unexpected key(?s:.*)"{re.escape(unknown)}"'):
            layout.ours().load_state_dict(layout.state | {unknown: torch.zeros(3)})


@pytest.mark.parametrize("name, lookup", [("llamagen", "euclidean"), ("llamagen", "cosine")])
def test_a_lookup_that_does_not_go_with_the_file_is_named(name, lookup):
    layout, ours = LAYOUTS[name](), VectorQuantizer(DIM, SIZE, lookup=lookup)
    with pytest.warns(UserWarning, match=f"a file of LlamaGen goes with lookup='normalised', not with '{lookup}'"):
        ours.load_state_dict(layout.state)


@pytest.mark.parametrize("style", DAC_STYLES)
@pytest.mark.parametrize("lookup", ("euclidean", "normalised"))
def test_a_lookup_that_does_not_go_with_a_file_of_dac_is_named(style, lookup):
    layout = LAYOUTS[f"dac, {style}"]()
    ours = ResidualVectorQuantizer(DIM, SIZE, 3, project_to=SMALL, lookup=lookup)
    with pytest.warns(UserWarning, match=f"a file of DAC goes with lookup='cosine', not with '{lookup}'"):
        ours.load_state_dict(layout.state)
    x = latents_of(ours)
    assert not torch.equal(ours.eval()(x).z_q, layout.lookup(x)[0])


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_key_that_matters_may_be_missing(name):
    """Codes and projections: without one of them the file is refused, and so with codes of another size."""
    layout = LAYOUTS[name]()
    matters = ("embed", "codebook.weight", "embedding.weight", "embedding_sum", "embed_sum", "proj", "project")
    matters = [k for k in layout.state if k.endswith(matters[:5]) or any(part in k for part in matters[5:])]
    for key in matters:
        if "shared" in name and not key.startswith("layers.0."):
            continue  # a copy
        with pytest.raises(RuntimeError):
            layout.ours().load_state_dict({k: value for k, value in layout.state.items() if k != key})
    ours = layout.ours()
    codes = next(key for key in matters if key.endswith(("embed", "weight", "sum")) and "proj" not in key)
    with pytest.raises(RuntimeError):
        ours.load_state_dict(layout.state | {codes: layout.state[codes][..., :-1]})


REFUSED = {
    "remapped": (taming, {"used": torch.arange(5)}, "used cannot be taken over: indices are renumbered"),
    "layer norm": (
        vqp,
        {"project_in.0.weight": torch.ones(2), "project_in.1.weight": torch.ones(2)},
        r"project_in.0.weight cannot be taken over(?s:.*)project_in.1.weight cannot be taken over",
    ),
    "bridge": (vqp, {"_codebook.vq_bridge.attn.weight": torch.ones(2)}, r"_codebook.vq_bridge.attn.weight cannot be"),
    "qinco": (vqp_residual, {"mlps.0.proj_in.weight": torch.ones(2)}, "mlps.0.proj_in.weight cannot be taken over"),
    "no projection here": (
        vqp,
        linear("project_in", SMALL, DIM) | linear("project_out", DIM, SMALL),
        r"_codebook.embed: a projection leads from 6 to 4 numbers: build with project_to=4",
    ),
    "several codebooks": (
        vqp,
        under("_codebook.", vqp_codebook(books=3)),
        r"_codebook.embed: there are 3 codebooks: load them into a Grouped of as many",
    ),
    "another number of codebooks": (
        vqp_separate_heads,
        under("_codebook.", vqp_codebook(DIM // 2, books=3)),
        r"_codebook.embed: it holds 3 codebooks, and there are 2 quantisers here",
    ),
    "affine without a batch": (
        lambda: vqp_affine_param("free"),
        {"_codebook.codebook_mean_needs_init": torch.tensor(True)},
        r"_codebook.embed: affine_param has seen no batch",
    ),
}


@pytest.mark.parametrize("strict", (True, False))
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_over_is_named(name, strict):
    """Also without strict, which leaves out what is unknown and not what matters."""
    make, more, message = REFUSED[name]
    layout = make()
    with pytest.raises(RuntimeError, match=message) as raised:
        layout.ours().load_state_dict(layout.state | more, strict=strict)
    if "cannot be taken over" in message:
        assert all(str(raised.value).count(key) == 1 for key in more)


def affine():
    return vqp_affine_param("free")


PARTIAL = {  # a layout, the keys that are left out, keys beside, and what the error says
    "affine, a variance": (affine, ("_codebook.batch_variance",), {}, "batch_variance, of affine_param, is missing"),
    "affine, a mean": (affine, ("_codebook.codebook_mean",), {}, "codebook_mean, of affine_param, is missing"),
    "affine, the batch alone": (
        *(affine, ("_codebook.codebook_mean", "_codebook.codebook_variance"), {}),
        "codebook_mean, of affine_param, is missing",
    ),
    "affine, a variance alone": (vqp, (), {"_codebook.batch_variance": torch.ones(1, 1, DIM)}, "has seen no batch"),
    "sums without counts": (
        vqp,
        ("_codebook.embed", "_codebook.cluster_size"),
        {"_codebook.embed_sum": torch.ones(SIZE, DIM)},
        "the counts",
    ),
    "a direction": (vqp, (), {"in_proj.weight_v": torch.ones(4, DIM, 1)}, "in_proj.weight_v cannot be taken over"),
    "a length": (vqp, (), {"out_proj.weight_g": torch.ones(4, 1, 1)}, "out_proj.weight_g cannot be taken over"),
    "codes and sums": (vqp, (), {"_codebook.embed_sum": torch.ones(SIZE, DIM)}, "embed_sum cannot be taken over"),
}


@pytest.mark.parametrize("strict", (True, False))
@pytest.mark.parametrize("name", PARTIAL)
def test_nothing_is_left_out_silently(name, strict):
    make, without, more, message = PARTIAL[name]
    layout = make()
    state = {key: value for key, value in layout.state.items() if key not in without} | more
    with pytest.raises(RuntimeError, match=message):
        layout.ours().load_state_dict(state, strict=strict)


@pytest.mark.parametrize("options", ({}, {"update": "ema"}, {"init": "kmeans"}, {"project_to": 2}, {"form": "affine"}))
def test_of_our_own_file_every_missing_key_is_named(options):
    vq = VectorQuantizer(DIM, SIZE, **options)
    vq(numbers(50, DIM, seed=1))
    for key in vq.state_dict().keys() - {"statistics.step_ended"}:  # a file of version 0.1.0 has none
        state = {name: value for name, value in vq.state_dict().items() if name != key}
        with pytest.raises(RuntimeError, match=f'Missing key.*"{key}"'):
            VectorQuantizer(DIM, SIZE, **options).load_state_dict(state)
        other = VectorQuantizer(DIM, SIZE, **options)
        other.load_state_dict(state, strict=False)
        assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("strict", (True, False))
@pytest.mark.parametrize("name", ("taming", "llamagen", "dac, weight_norm", "dac, removed"))
def test_a_file_that_does_not_say_so_has_started(name, strict):
    layout = LAYOUTS[name]()
    ours = layout.ours()
    for part in ours.modules():
        if isinstance(part, Codebook):
            part.init = "kmeans"
            part.started.fill_(False)
    ours.load_state_dict(layout.state, strict=strict)
    x = latents_of(ours)
    assert torch.equal(ours.train()(x).indices, layout.lookup(x)[1])


def test_levels_that_differ_are_no_shared_codebook():
    layout = LAYOUTS["vqp residual, shared"]()
    layout.state["layers.2._codebook.embed"] = layout.state["layers.2._codebook.embed"] + 1e-3
    with pytest.raises(RuntimeError, match="layers.2._codebook.embed"):
        layout.ours().load_state_dict(layout.state)


@pytest.mark.parametrize("name", ("vqp", "encodec", "moshi"))
def test_codes_that_have_not_started(name):
    """They start here, if the quantiser is one that starts by latents; else the file is refused."""
    layout = LAYOUTS[name]()
    waiting = {key: torch.zeros_like(v) if "init" in key else v for key, v in layout.state.items()}
    ours = layout.ours()  # with init="kmeans"
    ours.load_state_dict(waiting)
    with pytest.raises(RuntimeError, match="awaits latents"):
        ours.eval()(latents_of(ours))
    assert ours.train()(latents_of(ours)).z_q.isfinite().all()
    with pytest.raises(RuntimeError, match="the codes have not started: build the quantiser with init='kmeans'"):
        VectorQuantizer(DIM, SIZE).load_state_dict(
            under("_codebook.", vqp_codebook() | {"initted": torch.tensor(False)})
        )


# --- against the package itself ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip("vector_quantize_pytorch")


PACKAGE = {  # our description -> the module whose files it describes
    "vqp": lambda vqp: vqp.VectorQuantize(dim=DIM, codebook_size=SIZE),
    "vqp, cosine": lambda vqp: vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, use_cosine_sim=True),
    "vqp, projected": lambda vqp: vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, codebook_dim=SMALL),
    "vqp, heads": lambda vqp: vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, codebook_dim=DIM // 2, heads=2),
    "vqp, projected heads": lambda vqp: vqp.VectorQuantize(
        dim=2 * DIM, codebook_size=SIZE, codebook_dim=SMALL, heads=2
    ),
    "vqp, separate heads": lambda vqp: vqp.VectorQuantize(
        dim=DIM, codebook_size=SIZE, codebook_dim=DIM // 2, heads=2, separate_codebook_per_head=True
    ),
    "vqp, projected separate heads": lambda vqp: vqp.VectorQuantize(
        dim=DIM, codebook_size=SIZE, codebook_dim=SMALL, heads=2, separate_codebook_per_head=True
    ),
    "vqp residual": lambda vqp: vqp.ResidualVQ(dim=DIM, codebook_size=SIZE, num_quantizers=3),
    "vqp residual, shared": lambda vqp: vqp.ResidualVQ(
        dim=DIM, codebook_size=SIZE, num_quantizers=3, shared_codebook=True
    ),
    "vqp residual, cosine": lambda vqp: vqp.ResidualVQ(
        dim=DIM, codebook_size=SIZE, num_quantizers=3, use_cosine_sim=True
    ),
    "vqp residual, projected": lambda vqp: vqp.ResidualVQ(
        dim=DIM, codebook_size=SIZE, num_quantizers=3, codebook_dim=SMALL
    ),
    "vqp residual, sizes": lambda vqp: vqp.ResidualVQ(dim=DIM, codebook_size=(5, 12, 20)),
    "vqp grouped residual": lambda vqp: vqp.GroupedResidualVQ(dim=DIM, codebook_size=SIZE, num_quantizers=3, groups=2),
    "vqp, affine": lambda vqp: vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, affine_param=True),
}


@pytest.mark.parametrize("name", PACKAGE)
def test_the_description_is_that_of_the_package(name, package):
    """The same keys and shapes; a file of the package, after three steps, gives its outputs."""
    torch.manual_seed(0)
    layout, theirs = LAYOUTS[name](), PACKAGE[name](package)
    for seed in range(3):
        x = latents_of(layout.ours(), seed=seed)
        theirs(x)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in layout.state.items()} == shapes
    if name == "vqp, affine":
        return  # its evaluation goes on moving the statistics
    ours = layout.ours()
    ours.load_state_dict(theirs.state_dict())
    z_q, indices, _ = theirs.eval()(x)
    out = ours.eval()(x)
    if name == "vqp grouped residual":  # theirs has the groups in front
        indices = indices.movedim(0, -2)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.z_q, z_q, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", (0.8, 0.99))
def test_the_mean_goes_on_where_theirs_was(decay, package):
    """Running counts are taken over: after two more steps the codes are theirs, where they are used."""
    torch.manual_seed(0)
    theirs = package.VectorQuantize(dim=DIM, codebook_size=SIZE, decay=decay)
    for seed in range(3):
        theirs(latents_of(VectorQuantizer(DIM, SIZE), seed=seed))
    ours = VectorQuantizer(DIM, SIZE, update="ema", decay=decay)
    ours.load_state_dict(theirs.state_dict())
    used = torch.ones(SIZE, dtype=torch.bool)
    for seed in (3, 4):
        x = latents_of(ours, seed=seed)
        indices = ours(x).indices
        assert torch.equal(indices, theirs(x)[1])
        used &= torch.bincount(indices.flatten(), minlength=SIZE) > 0
    ours(x)  # moves the codes of the step before
    assert used.sum() > SIZE / 2
    torch.testing.assert_close(ours.codes[used], theirs.codebook[used], rtol=1e-3, atol=1e-3)
