"""The laws of chapter 9 can fail: each is turned by a wrong wiring, a wrong estimator or a wrong definition."""

import pytest
import torch

from book.all_statements import all_statements
from book.statements import AtMost, Law
from book.theory import residual
from book.theory.inputs import draw_inputs
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.residual import WIRINGS

LAWS = {name: one for name, one in all_statements().items() if isinstance(one, Law) and one.chapter == 9}
SOUND = dict(WIRINGS)


class DropsALevel(residual.ResidualVectorQuantizer):
    """Decodes all levels but the last, and of one level that one."""

    def decode(self, indices):
        return super().decode(indices[..., : max(1, indices.shape[-1] - 1)])


class LossOfAnother(residual.Cascade):
    """Its levels have each other's losses."""

    def __init__(self, *args):
        super().__init__(*args)
        levels = self.out.levels
        self.out = self.out._replace(levels=tuple(a._replace(loss=b.loss) for a, b in zip(levels, levels[::-1])))


def wired(name, wiring):
    return lambda patch: patch.setitem(WIRINGS, name, wiring)


def replaced(name, value):
    return lambda patch: patch.setattr(residual, name, value)


MUTANTS = {  # what is wrong -> the laws that see it; together they are all
    "graph is wired as detach": (
        wired("graph", SOUND["detach"]),
        "wirings cascade_carries balance_of_a_cascade cascade_balanced distance_of_a_cascade blind_directions "
        "commitments deep_commitments_are_lost deep_commitments_arrive projected_levels nothing_left_over "
        "who_pays_in_a_cascade",
    ),
    "detach is wired as graph": (
        wired("detach", SOUND["graph"]),
        "wirings times_levels balance_of_a_cascade blind_directions commitments projected_levels",
    ),
    "once is wired as graph": (wired("once", SOUND["graph"]), "wirings balance_of_a_cascade commitments"),
    "once is wired as detach": (
        wired("once", SOUND["detach"]),
        "wirings times_levels cascade_carries cascade_balanced distance_of_a_cascade blind_directions",
    ),
    "the rotation is STE": (
        lambda patch: patch.setitem(ESTIMATORS, "rotation", ESTIMATORS["ste"]),
        "cascade_carries cascade_balanced distance_of_a_cascade blind_directions deep_commitments_arrive "
        "nothing_left_over who_pays_in_a_cascade",
    ),
    "STE is half of it": (
        lambda patch: patch.setitem(ESTIMATORS, "ste", ESTIMATORS["constant"]),
        "deep_commitments_are_lost who_pays_in_a_cascade",
    ),
    "a code is one latent of its cell": (
        replaced("centroid_books", lambda z, levels: [z[:3] / 2**level for level in range(levels)]),
        "who_pays_in_a_cascade",
    ),
    "the rotation hands nothing on": (
        lambda patch: patch.setitem(ESTIMATORS, "rotation", ESTIMATORS["zero"]),
        "nothing_left_over",
    ),
    "the bounds of blind directions are exchanged": (
        replaced("AtMost", lambda left, right, scale: AtMost(right, left, scale)),
        "graph_is_nearer",
    ),
    "a level is not decoded": (replaced("ResidualVectorQuantizer", DropsALevel), "value_of_a_cascade"),
    "losses are those of other levels": (
        replaced("Cascade", LossOfAnother),
        "commitments deep_commitments_are_lost deep_commitments_arrive",
    ),
    "G is 2.5 I": (
        replaced("definition", lambda name, z, q: residual.identity(z) * 2.5),
        "wirings balance_of_a_cascade commitments graph_is_nearer projected_levels",
    ),
    "the worst gradient is one along z": (
        replaced("worst_gradient", lambda one: one.z.detach()),
        "distance_of_a_cascade",
    ),
    "the norm is that of Frobenius": (
        replaced("spectral_norm", lambda matrix: torch.linalg.matrix_norm(matrix).unsqueeze(-1)),
        "distance_of_a_cascade deep_commitments_arrive",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_cascade_is_caught(mutant, monkeypatch):
    change, caught = MUTANTS[mutant]
    change(monkeypatch)
    for name in caught.split():
        with pytest.raises(AssertionError, match=f"^{name}: "):
            LAWS[name].require(dims=LAWS[name].dims[-1:])


def test_every_law_is_turned_by_something():
    assert {name for _, caught in MUTANTS.values() for name in caught.split()} == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_law_on_other_draws(name):
    """Seeds and numbers of latents beside those of tests/book/test_laws_training.py; one latent is enough."""
    LAWS[name].require(dims=LAWS[name].dims[:1], n=1, seeds=[2, 3])
    LAWS[name].require(dims=LAWS[name].dims[-1:], n=40, seeds=[4])


def test_detach_breaks_the_balance_by_what_the_law_says():
    """Under STE by E<g, D z - z_q>, far beyond any tolerance."""
    draw = draw_inputs(8, 16, torch.float64, "generic", 0)["draw"]
    net = residual.Sides("detach", "ste", draw, 16, 8)
    assert abs(net.encoder - net.decoder) > 1e-3 * net.size
