"""Expression trees: every tree is counted, slopes are those of the loss, searches do what they say."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import one_hot

from book.systems import expressions, runs, symbols
from book.systems.expressions import LEAVES, ONE, OPERATORS, TARGETS, TWO, Target
from book.systems.symbols import ARMS, BLIND, EXPERIMENT, Case, Nodes
from rotvq import ESTIMATORS

SMALL = replace(Case(), **symbols.SMOKE)
EVERY = ARMS | BLIND
EASY = {  # targets that trees of depth 2 can be
    "a": Target("x² + x", ONE, -1, 1, lambda x, _: x**2 + x),
    "b": Target("sin(x) y", TWO, 0, 1, lambda x, y: x.sin() * y),
    "c": Target("x³ + 1", ONE, -1, 1, lambda x, _: x**3 + 1),
    "none": Target("√x", ONE, 0, 4, lambda x, _: x.sqrt()),
}
PYTHON = {"·": "*", "−": "-", "x²": "(x*x)", "1": "one"}


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=noise(seed), dtype=torch.float64)


def drawn(depth: int, count: int, seed: int = 0) -> symbols.Trees:
    """The symbols of random trees."""
    sizes = {expressions.inner_nodes(depth): len(OPERATORS), 2**depth: LEAVES}
    return [torch.randint(k, (count, nodes), generator=noise(seed + k)) for nodes, k in sizes.items()]


def weights_of(trees: symbols.Trees) -> list[torch.Tensor]:
    return [one_hot(one, k).double() for one, k in zip(trees, (len(OPERATORS), LEAVES))]


def computed(text: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The values of an expression in words, by Python's own parser."""
    for word, code in PYTHON.items():
        text = text.replace(word, code)
    return eval(text, {"sin": torch.sin, "cos": torch.cos}, {"x": x, "y": y, "one": torch.ones_like(x)})


def places(count: int = 50, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.rand(2, count, generator=noise(seed), dtype=torch.float64))


# the trees


@pytest.mark.parametrize("names", (ONE, TWO))
def test_a_tree_has_the_value_of_its_words(names):
    x, y = places()
    target = TARGETS["1"]._replace(leaves=names)
    trees = drawn(3, 40)
    found = expressions.evaluate(*weights_of(trees), expressions.inputs(target, x, y))
    for i in range(40):
        said = expressions.text(trees[0][i].tolist(), trees[1][i].tolist(), names)
        torch.testing.assert_close(found[i], computed(said, x, y), msg=said)


def every_tree(depth: int) -> symbols.Trees:
    """The symbols of all trees of a depth."""
    sizes = [len(OPERATORS)] * expressions.inner_nodes(depth) + [LEAVES] * 2**depth
    symbols_of = torch.cartesian_prod(*[torch.arange(size) for size in sizes])
    return list(symbols_of.split([expressions.inner_nodes(depth), 2**depth], 1))


@pytest.mark.parametrize("name", EASY)
def test_the_truth_is_that_of_all_trees_one_by_one(name):
    values, wanted = expressions.sample(EASY[name])
    errors = expressions.error(expressions.evaluate(*weights_of(every_tree(2)), values), wanted)
    assert len(errors) == expressions.all_trees(2) == 17496
    found = expressions.truth(EASY[name], 2)
    equal = errors < expressions.EXACT
    assert found.trees == equal.sum() and (found.trees > 0) == (name != "none")
    assert found.next_least == pytest.approx(errors[~equal].min().item(), rel=1e-9)
    assert found.least == (0 if equal.any() else found.next_least)


@pytest.mark.parametrize("names, depth", [(ONE, 1), (ONE, 2), (TWO, 2)])
def test_merged_functions_are_all_trees_and_differ(names, depth):
    x, y = places(expressions.POINTS)
    values = expressions.inputs(TARGETS["1"]._replace(leaves=names), x, y)
    found = expressions.functions(values, names, depth)
    assert found.trees.sum() == expressions.all_trees(depth)
    apart = (found.values[:, None] - found.values).abs().amax(-1) + torch.eye(len(found.values))
    assert apart.min() > 1e-6
    for said, value in zip(found.texts, found.values):
        torch.testing.assert_close(computed(said, x, y), value)
    one_by_one = expressions.evaluate(*weights_of(every_tree(depth)), values)
    counted = torch.zeros(len(found.trees), dtype=torch.int64)
    for part in one_by_one.split(2000):
        counted += torch.bincount(torch.cdist(part, found.values).argmin(1), minlength=len(counted))
    assert torch.equal(counted, found.trees)


@pytest.mark.parametrize("name, ways", [("2", True), ("9", True), ("8", False)])
def test_exhaustive_search_finds_a_target_of_the_grammar_and_no_other(name, ways):
    target = TARGETS[name]
    found = expressions.truth(target, 3)
    assert (found.trees > 0) == (found.ways > 0) == ways and found.of == expressions.all_trees(3)
    x, y = (target.low + (target.high - target.low) * place for place in places(200))
    left = expressions.error(computed(found.text, x, y), target.function(x, y)).item()
    if ways:  # equal at the points is equal elsewhere, and nothing else is nearly so
        assert left < 1e-25 and found.next_least > 1e8 * expressions.EXACT
    else:
        assert left > 0.1 * found.least > 1e-3


def test_chance_is_that_of_drawing_trees():
    found = expressions.Truth(3, 10, 1, 0.0, 1.0, "")
    assert found.chance(0) == 0 and found.chance(1) == pytest.approx(0.3)
    assert found.chance(4) == pytest.approx(1 - 0.7**4)
    rare = expressions.Truth(1, 10**15, 1, 0.0, 1.0, "")
    assert rare.chance(100) == pytest.approx(1e-13, rel=1e-6, abs=0)


def test_random_search_finds_as_often_as_counted(monkeypatch):
    monkeypatch.setattr(symbols, "TARGETS", EASY)
    case = replace(SMALL, estimator="random", starts=400, steps=20, seed=1)
    found = symbols.train(case)["targets"]
    for name, target in EASY.items():
        chance = expressions.truth(target, 2).chance(20)
        assert found[name]["found"] == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / 400)), name


# the slope


def test_the_slope_of_the_relaxed_loss_is_that_of_differences():
    x, y = places(12)
    values, wanted = expressions.inputs(TARGETS["9"], x, y), TARGETS["9"].function(x, y)
    operators, leaves = normal(3, 7, 6).requires_grad_(), normal(3, 8, 3, seed=1).requires_grad_()

    def loss(operators, leaves):
        return expressions.error(expressions.evaluate(operators, leaves, values), wanted).log1p()

    assert torch.autograd.gradcheck(loss, (operators, leaves), eps=1e-6, atol=1e-5, rtol=1e-5)


def test_the_slope_of_a_chosen_tree_is_that_of_differences_in_each_weight():
    trees = symbols.Random(replace(SMALL, starts=3)).propose()
    values, wanted = symbols.data()
    errors, slopes = symbols.look(trees, values, wanted, True)
    weights, step = weights_of(trees), 1e-6
    for kind, g in enumerate(slopes):
        for node in range(g.shape[-2]):
            for symbol in range(g.shape[-1]):
                both = []
                for sign in (1, -1):
                    moved = [one.clone() for one in weights]
                    moved[kind][..., node, symbol] += sign * step
                    both.append(expressions.error(expressions.evaluate(*moved, values), wanted).log1p())
                torch.testing.assert_close((both[0] - both[1]) / (2 * step), g[..., node, symbol], rtol=1e-4, atol=1e-6)
    assert torch.equal(errors, symbols.look(trees, values, wanted, False)[0])


def test_swaps_are_all_of_them_and_branches_that_nothing_looks_at_do_not_matter():
    trees = symbols.Random(SMALL).propose()
    found = symbols.swaps(trees)
    assert found.real.shape == found.expected.shape == (12, 2, 3 * 5 + 4 * 2)
    trees[0][..., 2], trees[0][..., 0] = 0, 1  # the root passes its left branch on, which is a sum
    found = symbols.swaps(trees)
    right = slice(5, 10)  # the swaps of the right branch's operator
    assert not found.expected[..., right].any() and not found.real[..., right].any()
    assert found.expected[..., :5].any() and found.real[..., :5].any()
    values, wanted = symbols.data()
    first = [one.clone() for one in trees]
    first[0][..., 0] = 2  # the first swap: from "+" to the next symbol
    before, after = (symbols.look(one, values, wanted, False)[0].log1p() for one in (trees, first))
    torch.testing.assert_close(found.real[..., 0], after - before)


def test_a_small_step_to_another_symbol_does_what_the_slope_expects():
    """Swaps are large steps; a thousandth of one is a step for which the slope is right."""
    trees, share = symbols.Random(replace(SMALL, seed=4)).propose(), 1e-5
    values, wanted = symbols.data()
    errors, _ = symbols.look(trees, values, wanted, False)
    expected, (operators, leaves) = symbols.swaps(trees).expected, weights_of(trees)
    here = trees[0][..., 1]
    for shift in range(1, 6):
        moved = operators.clone()
        moved[..., 1, :] += share * (one_hot((here + shift) % 6, 6) - one_hot(here, 6))
        change = expressions.error(expressions.evaluate(moved, leaves, values), wanted).log1p() - errors.log1p()
        torch.testing.assert_close(change / share, expected[..., 5 + shift - 1], rtol=1e-3, atol=1e-4)


# the searches


@pytest.mark.parametrize("lengths", ("equal", "unequal"))
def test_a_node_chooses_its_nearest_code(lengths):
    nodes = Nodes(replace(SMALL, lengths=lengths), 3, 6, noise())
    chosen = nodes.choose(noise(1))
    assert torch.equal(chosen, torch.cdist(nodes.y, nodes.codes.expand(12, 2, 6, 6)).argmin(-1))
    lengths_of = nodes.codes.norm(dim=-1)
    assert torch.equal(nodes.codes, lengths_of.diag()) and torch.allclose(lengths_of, torch.ones(6).double()) == (
        lengths == "equal"
    )


@pytest.mark.parametrize("name", symbols.MEMBERS)
def test_an_estimator_gets_the_slope_in_its_code(name):
    """The loss as a function of q, whose weight is q over the length of its code."""
    case = replace(SMALL, lengths="unequal", **ARMS[name])
    search = symbols.Gradient(case)
    trees, (values, wanted) = search.propose(), symbols.data()
    q = [nodes.codes[one].requires_grad_() for nodes, one in zip(search.nodes, trees)]
    weights = [one / nodes.lengths for nodes, one in zip(search.nodes, q)]
    loss = expressions.error(expressions.evaluate(*weights, values), wanted).log1p().sum()
    g = torch.autograd.grad(loss, q)
    slopes = symbols.look(trees, values, wanted, True)[1]
    for nodes, one, code, slope, at_code in zip(search.nodes, trees, q, slopes, g):
        want = ESTIMATORS[case.estimator].pull_back(nodes.y, code.detach(), at_code)
        torch.testing.assert_close(nodes.pulled(one, slope), want)
        committed = Nodes(replace(case, gamma=0.7), *slope.shape[-2:], noise())
        committed.lengths, committed.codes, committed.y = nodes.lengths, nodes.codes, nodes.y
        y = nodes.y.clone().requires_grad_()
        (pull,) = torch.autograd.grad(0.7 * (y - code.detach()).square().sum(), y)
        torch.testing.assert_close(committed.pulled(one, slope), want + pull)


def test_gumbel_has_the_gradient_of_its_mixture():
    case = replace(SMALL, **ARMS["Gumbel"])
    nodes = Nodes(case, 3, 6, noise())
    chosen, g = nodes.choose(noise(1)), normal(12, 2, 3, 6)
    z = nodes.z.clone().requires_grad_()
    drawn = symbols.actions.gumbel_noise(tuple(z.shape), noise(1)).double()
    mixture = ((-torch.cdist(z, nodes.codes.expand(12, 2, 6, 6)).square() / (2 * 0.6**2)) + drawn).softmax(-1)
    assert torch.equal(chosen, mixture.argmax(-1))
    (want,) = torch.autograd.grad((mixture @ nodes.codes * g).sum(), z)
    torch.testing.assert_close(nodes.pulled(chosen, g), want)


def test_arms_of_a_seed_start_at_the_same_points_and_the_same_trees():
    searches = {name: symbols.SEARCHES.get(arm["estimator"], symbols.Gradient) for name, arm in EVERY.items()}
    started = {name: kind(replace(SMALL, **EVERY[name] | {"noise": 0.1})) for name, kind in searches.items()}
    first = {name: search.propose() for name, search in started.items()}
    for name in EVERY:
        for one, other in zip(started[name].nodes, started["STE"].nodes):
            assert torch.equal(one.z, other.z), name
        if name != "Gumbel":  # it draws in another way
            assert all(torch.equal(*pair) for pair in zip(first[name], first["STE"])), name


def test_climbing_changes_one_node_and_keeps_what_is_no_worse():
    case = replace(SMALL, estimator="climb", starts=50, depth=3)
    climb, (values, wanted) = symbols.Climb(case), symbols.data()
    before, kept = None, torch.full((12, 50), torch.inf).double()
    moved = torch.zeros(15)
    for _ in range(30):
        trees = climb.propose()
        if before is not None:
            changes = torch.cat([(a != b) for a, b in zip(trees, before)], -1)
            assert changes.sum(-1).max() == 1
            moved += changes.sum((0, 1))
        losses = symbols.look(trees, values, wanted, False)[0]
        climb.learn(trees, losses, [])
        kept = torch.minimum(kept, losses)
        before = climb.best
        assert torch.equal(symbols.look(before, values, wanted, False)[0], kept)
    expected = 29 * 600 / 15 * torch.tensor([5 / 6] * 7 + [2 / 3] * 8)  # a draw may be what was there
    assert ((moved - expected).abs() < 5 * expected.sqrt()).all()


def test_random_trees_have_every_symbol_alike():
    search = symbols.Random(replace(SMALL, estimator="random", starts=200))
    for _ in range(2):
        trees = search.propose()
        search.learn(trees, None, [])
    for one, count in zip(trees, (6, 3)):
        shares = one_hot(one, count).double().mean((0, 1))  # a row a node
        assert ((shares - 1 / count).abs() < 5 * math.sqrt((1 / count) * (1 - 1 / count) / 2400)).all()


def test_no_two_trees_have_one_number():
    trees = every_tree(2)
    assert symbols.numbered([one[None] for one in trees]).unique().numel() == 17496
    assert expressions.all_trees(3) < 2**63


class Scripted(symbols.Random):
    """Looks at random trees, but at step 3 at x³ + x² + x."""

    seen = 0

    def propose(self) -> symbols.Trees:
        self.seen += 1
        trees = super().propose()
        if self.seen == 3:
            sought = [0, 0, 1, 0, 0, 3, 1], [1, 0, 0, 0, 1, 2, 1, 0]  # x + (x + x²) · x
            trees = [torch.tensor(one).expand_as(old).clone() for one, old in zip(sought, trees)]
        return trees


def test_a_run_says_when_it_found_the_target(monkeypatch):
    sought = Scripted(replace(SMALL, depth=3))
    (_, _, third) = (sought.propose() for _ in range(3))
    assert expressions.text(third[0][0, 0].tolist(), third[1][0, 0].tolist(), ONE) == "(x + ((x + x²) · x))"
    monkeypatch.setitem(symbols.SEARCHES, "random", Scripted)
    found = symbols.train(replace(SMALL, estimator="random", depth=3, steps=5))["targets"]
    assert found["1"] == {"found": 1, "looked": 2 * 3, "error": pytest.approx(1e-16), "curve": [0, 0, 1, 1, 1]}
    assert found["3"]["found"] == 0 and found["3"]["looked"] == 2 * 5 and found["3"]["error"] > 1e-4


@pytest.mark.parametrize("name", ARMS)
def test_slopes_lead_downhill(name, monkeypatch):
    """The mean loss of the trees that are looked at after some steps, against its start and that of the way uphill."""
    monkeypatch.setattr(symbols, "TARGETS", {key: EASY[key] for key in "abc"})
    last = {}
    for sign in (1, -1):
        search = symbols.Gradient(Case(depth=2, starts=100, **ARMS[name]))
        means = []
        for _ in range(30):
            trees = search.propose()
            errors, slopes = symbols.look(trees, *symbols.data(), True)
            search.learn(trees, errors, [sign * g for g in slopes])
            means.append(errors.log1p().mean().item())
        last[sign] = sum(means[-5:]) / 5 / means[0]
    assert last[1] < 0.95 and last[1] < last[-1] - 0.1, last


@pytest.mark.parametrize("name", EVERY)
def test_the_same_case_is_the_same_run_and_a_seed_another(name):
    case = replace(SMALL, **EVERY[name])
    one, two, other = (symbols.train(replace(case, seed=seed)) for seed in (0, 0, 1))
    assert one == two and json.loads(json.dumps(one, allow_nan=False)) == one
    assert one["targets"]["1"]["error"] != other["targets"]["1"]["error"]


def test_the_grid():
    assert runs.find("35") is EXPERIMENT
    confirm = EXPERIMENT.cases("standard", "confirm", "blind")
    assert {case.seed for case in confirm} == set(range(100, 110)) and len(confirm) == 150 + 20
    assert all((case.depth, case.starts, case.steps) == (3, 32, 300) for case in EXPERIMENT.cases())
    assert len(EXPERIMENT.cases()) * EXPERIMENT.seconds / 3600 < 0.7
