"""What can be guaranteed: every law holds, and each has a mutation with which it fails."""

from __future__ import annotations

import types

import pytest
import torch
from law_mutations import Mutation, assert_holds, assert_turned, parameters, row

from book import algebra
from book.statements import STATEMENTS, Law
from book.theory import guarantees
from rotvq.quantizers.estimators import Estimator

NAMES = [name for name, one in STATEMENTS.items() if isinstance(one, Law) and one.chapter == guarantees.CHAPTER]
SOUND_WEIGHT, SOUND_WINDING, SOUND_LEAVING = guarantees.capped_weight, guarantees.winding, guarantees.time_to_leave
SOUND_LENGTH = guarantees.length_of


def no_cap(z, q, centre, cap):
    return torch.ones(len(z), 1, dtype=torch.float64)


def cap_twice(z, q, centre, cap):
    return SOUND_WEIGHT(z, q, centre, 2 * cap)


def about_0(z, q, g, centre):
    return Estimator("rotation", (0.0, 1.0)).pull_back(z, q, g)


def busiest_code(z, codes):
    return int(torch.bincount(algebra.nearest(z, codes), minlength=len(codes)).argmax())


MUTATIONS = {
    guarantees.cap_holds: [Mutation(guarantees, "capped_weight", no_cap), row("rotation", "reflection")],
    guarantees.never_uphill: [Mutation(guarantees, "capped_weight", no_cap)],
    guarantees.capped_gradient_error: [Mutation(guarantees, "capped_weight", no_cap)],
    guarantees.capped_descent: [
        Mutation(guarantees.Waves, "h_max", property(lambda self: 0.02)),  # steps longer than 1/h_max
    ],
    guarantees.capped_average: [
        Mutation(guarantees.Waves, "h_max", property(lambda self: 0.02)),
        Mutation(guarantees, "mixed", lambda z, q, g, centre, t: 0 * g),  # a path that stands still
    ],
    guarantees.cost_of_mixing: [row("rotation", "rotation_only")],
    guarantees.fading_is_of_second_order: [
        Mutation(guarantees, "fading_weight", lambda z, q: guarantees.mean_product(q - z, q - z).clamp_max(1.0)),
        row("rotation", "reflection"),
    ],
    guarantees.moves_along: [
        Mutation(guarantees, "fading_weight", lambda z, q: guarantees.mean_product(q - z, q - z).clamp_max(1.0)),
        Mutation(guarantees, "capped_weight", lambda z, q, centre, cap: SOUND_WEIGHT(z, q, 0 * centre, cap)),
        Mutation(guarantees, "NO_GAIN_PAST_ONE", types.SimpleNamespace(pull_back=about_0)),
    ],
    guarantees.no_gain_past_one: [
        Mutation(guarantees, "NO_GAIN_PAST_ONE", Estimator("rotation")),
        Mutation(guarantees, "NO_GAIN_PAST_ONE", Estimator("reflection", (0.0, 1.0))),
        Mutation(guarantees, "NO_GAIN_PAST_ONE", types.SimpleNamespace(pull_back=about_0)),
    ],
    guarantees.no_rule_is_never_worse: [
        Mutation(guarantees, "spoiler", lambda z, q, rule, rival: (2 * rule - q, False)),
    ],
    guarantees.trap: [row("rotation", "rotation_only"), row("rotation", "ste")],
    guarantees.long_steps_leave: [
        row("rotation", "rotation_only"),
        row("rotation", "ste"),
        row("reflection", "no_gain"),
    ],
    guarantees.ste_leaves: [
        row("ste", "rotation"),
        row("ste", "constant"),
        Mutation(guarantees, "time_to_leave", lambda z, v, codes: 1.2 * SOUND_LEAVING(z, v, codes)),
        Mutation(guarantees, "time_to_leave", lambda z, v, codes: 0.8 * SOUND_LEAVING(z, v, codes)),
    ],
    guarantees.revival_is_safe: [Mutation(guarantees, "idle_code", busiest_code)],
    guarantees.levi_civita: [
        row("rotation", "rotation_only"),
        Mutation(guarantees, "transported", lambda v, path, steps=40: v),
        Mutation(guarantees, "winding", lambda z, q, wiggle, turns=0: SOUND_WINDING(z, q, 0.3 + wiggle, turns)),
        Mutation(guarantees, "winding", lambda z, q, wiggle, turns=0: SOUND_WINDING(z, q, wiggle, turns + 1)),
        Mutation(guarantees, "length_of", lambda path, steps=200: 1 / SOUND_LENGTH(path, steps)),
    ],
    guarantees.transport_equation: [
        Mutation(guarantees, "change_along", lambda x, v, w: algebra.dot(x, w) * v / algebra.dot(x, x)),
        Mutation(guarantees, "change_along", lambda x, v, w: 0 * v),  # that of the Euclidean metric
    ],
    guarantees.sphere: [
        row("rotation_only", "ste"),
        row("rotation_only", "reflection"),
        Mutation(guarantees, "rotation", lambda z, q: algebra.identity(z).expand(*z.shape, -1)),
        Mutation(guarantees, "off", lambda x: algebra.identity(x).expand(*x.shape, -1)),
    ],
    guarantees.heads: [row("rotation", "scale_only"), row("reflection", "no_gain")],
}


@pytest.mark.parametrize("name", NAMES)
def test_law(name):
    assert_holds(name)


def test_every_law_has_a_mutation():
    assert [law.__name__ for law in MUTATIONS] == NAMES


@pytest.mark.parametrize("name, mutation", parameters(MUTATIONS))
def test_a_mutation_turns_it(name, mutation, monkeypatch):
    assert_turned(name, mutation, monkeypatch)


def test_without_the_cap_a_step_can_go_uphill():
    """Why the capped descent needs its cap: past 90 degrees the rotation's own step raises the loss <l, z>."""
    z, q = algebra.polar(100)[None], algebra.polar(0)[None]
    slope = algebra.polar(90)[None]
    step = -algebra.pull_back("rotation", z, q, slope)
    assert float((step * slope).sum()) > 0
    capped = guarantees.mixed(z, q, slope, torch.zeros(2), guarantees.capped_weight(z, q, torch.zeros(2), 0.9))
    assert float((capped * slope).sum()) > 0
