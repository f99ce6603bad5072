"""Weights as codes: cut and put together, counted, searched; what trains what, and that a run is what it says."""

import math
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from book.systems import classifier, weights
from book.systems.runs import FEW
from book.systems.weight_codes import Codes, Cut, Grid, promises, reassigned
from book.systems.weights import ARMS, EXPERIMENT, LAYERS, Case, Run
from rotvq import ESTIMATORS
from rotvq.quantizers.lookup import nearest
from rotvq.training import images

SMALL = replace(Case(), **EXPERIMENT.smoke)
CHOSEN = torch.arange(16)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stepped(steps: int = 1, **fields) -> Run:
    run = Run.from_case(replace(SMALL, **fields))
    classes = weights.labels("train", run.data)
    for number in range(steps):
        chosen = (CHOSEN + 16 * number) % len(run.data.train)
        run.step(chosen, classes[chosen])
    return run


@pytest.mark.parametrize("dim", [1, 2, 4, 8])
def test_what_is_cut_is_put_together_again(dim):
    network = classifier.load("loss")
    cut = Cut.of(network, LAYERS, dim)
    groups = cut.groups(network)
    assert groups.shape[1] == dim and groups[: 16 * 72 // dim].square().mean() == pytest.approx(1, rel=1e-5)
    for name, weight in cut.weights(groups).items():
        torch.testing.assert_close(weight, network.get_parameter(name), rtol=1e-6, atol=0)
    firsts = groups.flatten()[cut.rows() == 16]  # the first output unit of the second layer
    torch.testing.assert_close(firsts, network.hidden.weight[0] / cut.sizes["hidden.weight"])


def test_bits_of_what_is_stored():
    assert Codes(noise(100, 4), noise(16, 4)).bits() == pytest.approx(1 + 16 * 64 / 400)
    assert Grid(noise(60, 1), torch.arange(3).repeat_interleave(20), 2).bits() == pytest.approx(2 + 16 * 3 / 60)
    dims = {(case.bits, case.codes): case.dim for case in EXPERIMENT.cases() if case.form == "codes"}
    assert dims == {(1, 256): 8, (2, 256): 4, (1, 16): 4}
    assert all(math.log2(codes) / dim == bits for (bits, codes), dim in dims.items())


@pytest.mark.parametrize("dim", [2, 4])
def test_at_the_means_of_groups_the_error_is_what_the_codes_lack(dim):
    groups = noise(3000, dim)
    found = Codes.fitted(groups, 32, torch.Generator().manual_seed(0))
    codes = torch.stack([groups[found.indices == k].mean(0) for k in range(32)])
    q = codes[found.indices]
    whole, kept, error = (x.square().sum().item() for x in (groups, q, groups - q))
    assert error == pytest.approx(whole - kept, rel=1e-4)
    assert found.values().square().sum().item() == pytest.approx(kept, rel=0.01)  # k-means is nearly there


def test_a_grid_is_the_nearest_of_its_levels_and_no_spacing_fits_much_better():
    w, rows = torch.cat([noise(200, 1), 5 * noise(200, 1, seed=1)]), torch.arange(2).repeat_interleave(200)
    for bits in (1, 2, 4):
        grid = Grid(w, rows, bits)
        levels = grid.codes[rows, None] * (torch.arange(2**bits) - (2**bits - 1) / 2)
        want = levels.gather(1, (levels - w).abs().argmin(1, keepdim=True))
        assert torch.equal(grid.values().detach(), want.detach())
        error = (w - grid.values()).square().view(2, -1).sum(1)
        for factor in (0.9, 1.1):
            grid.codes.data *= factor
            grid.indices = grid.find()
            assert ((w - grid.values()).square().view(2, -1).sum(1) > 0.99 * error).all()
            grid.codes.data /= factor
    ones = Grid(w, rows, 1)
    half = torch.stack([part.abs().mean() for part in w.view(2, -1)])  # the best of two levels are the mean of |w|
    torch.testing.assert_close(ones.codes.detach() / 2, half, rtol=0.06, atol=0)


def test_a_promise_is_the_slope_of_the_loss_between_two_codes_and_no_other_code_promises_more():
    codes, indices, goal = noise(8, 3).double(), torch.arange(20) % 8, noise(20, 3, seed=1).double()

    def loss(q):
        return (q - goal).pow(4).sum()

    q = codes[indices].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(q), q)
    found, promise = promises(codes, indices, gradient)
    assert (found != indices).all()
    for group in range(20):
        worth = {}
        for code in set(range(8)) - {int(indices[group])}:
            way = torch.zeros_like(q)
            way[group] = codes[code] - codes[indices[group]]
            slope = (loss(q + 1e-6 * way) - loss(q - 1e-6 * way)) / 2e-6
            worth[code] = -slope.item() / way.square().sum().item()
        assert max(worth, key=worth.get) == found[group]
        assert max(worth.values()) == pytest.approx(promise[group].item(), rel=1e-5)


def test_a_search_changes_the_groups_that_promise_most():
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    gradient, indices = torch.tensor([[-1.0, 0.1], [0.1, -3.0], [2.0, 0.0], [-9.0, 0.0]]), torch.tensor([0, 0, 0, 3])
    found, promise = promises(codes, indices, gradient)
    assert found.tolist() == [1, 2, 0, 3]  # down the third gradient there is nothing, and beyond the last code neither
    assert promise.tolist() == [1, 1.5, 0, 0]
    assert reassigned(codes, indices, gradient, 1).tolist() == [0, 2, 0, 3]
    assert reassigned(codes, indices, gradient, 4).tolist() == [1, 2, 0, 3]
    assert reassigned(codes, indices, 0 * gradient, 4).tolist() == [0, 0, 0, 3]
    assert reassigned(codes[[0, 0]], indices[:3], gradient[:3], 3).tolist() == [0, 0, 0]  # two codes alike


@pytest.mark.parametrize("arm", ["STE", "rotation", "rI", "R"])
def test_latents_get_the_estimators_gradient_and_codes_that_of_the_loss(arm):
    run = Run.from_case(replace(SMALL, **ARMS[arm]))
    for optimizer in run.optimizers:
        optimizer.step = lambda: None
    z, q, indices = run.quantised.latents.detach().clone(), run.quantised.values().detach(), run.quantised.indices
    classes = weights.labels("train", run.data)[CHOSEN]
    run.step(CHOSEN, classes)
    at = q.clone().requires_grad_()
    x = classifier.scaled(run.data.train[CHOSEN])
    loss = F.cross_entropy(functional_call(run.network, run.cut.weights(at), (x,)), classes)
    (g,) = torch.autograd.grad(loss, at)
    pulled = ESTIMATORS[ARMS[arm]["estimator"]].pull_back(z, q, g)
    torch.testing.assert_close(run.quantised.latents.grad, pulled, rtol=1e-4, atol=1e-7)
    summed = torch.zeros_like(run.quantised.codes).index_add_(0, indices, g)
    torch.testing.assert_close(run.quantised.codes.grad, summed, rtol=1e-4, atol=1e-6)
    assert arm == "STE" or (pulled - g).norm() > 0.02 * g.norm()


def test_the_gradient_of_the_codes_is_a_difference_quotient():
    run = Run.from_case(replace(SMALL, learns="codes"))
    run.network.double()
    quantised, x = run.quantised.double(), classifier.scaled(run.data.train[CHOSEN]).double()
    classes = weights.labels("train", run.data)[CHOSEN]

    def loss() -> torch.Tensor:
        return F.cross_entropy(functional_call(run.network, run.weights()[0], (x,)), classes)

    (slopes,) = torch.autograd.grad(loss(), quantised.codes)
    way = noise(*quantised.codes.shape).double()
    ends = []
    for sign in (1, -1):
        quantised.codes.data += sign * 1e-5 * way
        ends.append(loss().item())
        quantised.codes.data -= sign * 1e-5 * way
    assert (slopes * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_each_arm_trains_what_it_says():
    def moved(**fields) -> tuple[bool, bool, bool, bool]:
        run = stepped(4, **fields, latent_rate=0.3)
        start = Run.from_case(replace(SMALL, **fields))
        names = ("latents", "codes", "indices")
        pairs = [(getattr(run.quantised, name), getattr(start.quantised, name)) for name in names]
        head = run.network.head.weight, start.network.head.weight
        assert all(torch.equal(*(one.network.get_parameter(name) for one in (run, start))) for name in LAYERS)
        return tuple(not torch.equal(*pair) for pair in [*pairs, head])

    assert moved(**ARMS["STE"]) == (True, True, True, True)
    assert moved(form="grid") == (True, True, True, True)
    assert moved(**ARMS["codes"]) == (False, True, False, True)
    assert moved(learns="full") == (True, False, False, True)
    assert moved(**ARMS["direct"])[:2] == (False, True)


def test_codes_are_the_nearest_after_every_step_of_latents():
    run = stepped(3, latent_rate=0.3)
    assert torch.equal(run.quantised.indices, nearest(run.quantised.latents, run.quantised.codes))
    assert sum(run.changes) > 0 and len(run.changes) == 3


def test_a_search_is_kept_where_the_loss_falls_and_taken_back_where_it_does_not(monkeypatch):
    run = stepped(1, learns="direct", period=2, share=0.5)
    first, classes = run.quantised.indices, weights.labels("train", run.data)[CHOSEN]
    monkeypatch.setattr(weights, "reassigned", lambda codes, indices, *_: torch.zeros_like(indices))
    run.step(CHOSEN, classes)  # one code for all groups loses what the network knows
    kept = torch.equal(run.quantised.indices, first)
    losses = []
    for indices in (first, torch.zeros_like(first)):
        run.quantised.indices = indices
        with torch.no_grad():
            x = classifier.scaled(run.data.train[CHOSEN])
            losses.append(F.cross_entropy(functional_call(run.network, run.weights()[0], (x,)), classes))
    assert kept == (losses[0] <= losses[1]) and run.may_change == (run.most // 4 if kept else run.most)
    monkeypatch.setattr(weights, "reassigned", lambda codes, indices, *_: first)
    run.recent, run.may_change = [(x, classes)], 10
    run.quantised.indices = torch.zeros_like(first) if kept else first
    run.search()
    assert torch.equal(run.quantised.indices, first) and run.may_change == (20 if kept else 2)
    assert not run.recent and not run.gradient.any()


def test_adam_divides_a_groups_constant_factor_away():
    factors, steps = 0.5 + torch.rand(6, 1, generator=torch.Generator().manual_seed(0)), noise(20, 6, 4)
    ends = []
    for factor in (1.0, factors):
        x = torch.zeros(6, 4, requires_grad=True)
        optimizer = torch.optim.Adam([x], 0.1, eps=0.0)
        for g in steps:
            x.grad = g * factor
            optimizer.step()
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


def test_the_stored_network_is_the_trained_one_in_16_bits():
    run = stepped(2)
    finished = run.finished()
    torch.testing.assert_close(finished.hidden.weight, run.weights()[0]["hidden.weight"].detach(), rtol=1e-3, atol=1e-6)
    assert len(finished.second.weight.unique()) <= SMALL.codes * SMALL.dim
    assert torch.equal(finished.head.weight, run.network.head.weight)
    full = stepped(2, learns="full")
    assert torch.equal(full.finished().hidden.weight, full.weights()[0]["hidden.weight"])


def test_validation_labels_are_those_behind_the_training_ones():
    data = images.load("fashion-mnist")
    found = weights.labels("validation", data)
    assert len(found) == 5000
    share = classifier.accuracy(classifier.load("judge"), classifier.scaled(data.validation), found)
    assert share > 0.85
    small = images.load("fashion-mnist-mini")
    assert torch.equal(weights.labels("validation", small), found[: len(small.validation)])


def test_the_same_case_is_the_same_run_whether_or_not_its_network_is_there():
    first = weights.train(SMALL)
    network = weights.pretrained(SMALL.width, SMALL.seed, SMALL.epochs, SMALL.data, "cpu")
    before = network.hidden.weight.clone()
    assert weights.train(SMALL) == first and torch.equal(network.hidden.weight, before)
    weights.pretrained.cache_clear()
    assert weights.train(SMALL) == first
    assert weights.train(replace(SMALL, seed=1))["loss"] != first["loss"]


def test_paired_arms_start_alike_and_every_arm_runs():
    found = {name: weights.train(replace(SMALL, **arm)) for name, arm in ARMS.items()}
    starts = {tuple(value for key, value in one.items() if key.startswith("start_")) for one in found.values()}
    assert len(starts) == 1 and len({found[name]["loss"] for name in ("k-means", "codes", "STE", "rotation")}) == 4
    assert found["k-means"]["changes"] == found["codes"]["changes"] == 0
    assert all(math.isfinite(value) for one in found.values() for value in one.values())


def test_the_grid_fits_its_budget():
    cases = EXPERIMENT.cases()
    assert len(cases) * EXPERIMENT.seconds <= 0.7 * 3600
    assert len(EXPERIMENT.cases("standard", "arms")) == len(FEW) * 2 * len(ARMS)
