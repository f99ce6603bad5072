"""A prior over codes against sums over all sequences, the code for pixels, and the runs that use both."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from book.systems import classifier, runs, sequences, vqgan
from book.systems.prior import Block, Places, Prior
from book.systems.sequences import EXPERIMENT, Case, PixelCode, Sequences
from rotvq.quantizers.recommended import RECOMMENDED
from rotvq.training import images
from rotvq.training.train import build_model, fit

SMALL = replace(Case(), **sequences.SMOKE)
MINI = images.load("fashion-mnist-mini")


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_prior(codebook_size: int = 3, places: int = 3, seed: int = 0) -> Prior:
    """A prior whose head is random, so that each code hangs on those before it."""
    prior = Prior(codebook_size, places, width=8, layers=2, heads=2, seed=seed)
    torch.nn.init.normal_(prior.head.weight, std=0.5, generator=noise(seed))
    torch.nn.init.normal_(prior.head.bias, std=0.5, generator=noise(seed + 1))
    return prior


def every_sequence(codebook_size: int, places: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(codebook_size), repeat=places)))


def frequencies(drawn: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Shares of all sequences, in the order of :func:`every_sequence`."""
    powers = codebook_size ** torch.arange(drawn.shape[1]).flip(0)
    return (drawn * powers).sum(1).bincount(minlength=codebook_size ** drawn.shape[1]) / len(drawn)


# the prior


@pytest.mark.parametrize("codebook_size, places", [(512, 49), (7, 5)])
def test_before_it_is_trained_a_sequence_takes_the_bits_of_a_uniform_prior(codebook_size, places):
    prior = Prior(codebook_size, places, width=8, layers=2, heads=2)
    indices = torch.randint(codebook_size, (6, places), generator=noise())
    want = torch.full((6,), places * math.log2(codebook_size))
    torch.testing.assert_close(prior.bits(indices), want, rtol=1e-5, atol=0)


def test_a_later_code_changes_no_earlier_logit_and_every_later_one():
    prior = drawn_prior(codebook_size=9, places=7)
    indices = torch.randint(9, (5, 7), generator=noise())
    plain = prior(indices)
    for place in range(7):
        other = indices.clone()
        other[:, place] = (other[:, place] + 1) % 9
        change = (prior(other) - plain).abs().amax(dim=(0, 2))
        assert change[: place + 1].max() == 0
        assert (change[place + 1 :] > 1e-4).all()


def test_the_probabilities_of_all_sequences_add_up_to_1():
    every = every_sequence(3, 4)
    probabilities = (-drawn_prior(3, 4).bits(every).double()).exp2()
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert probabilities.max() > 3 / len(every)  # it is not uniform


@pytest.mark.parametrize("make", ["prior", "known", "places"])
def test_samples_have_the_frequencies_of_the_prior(make):
    """Each of 27 sequences as often as its probability says, to within five standard errors."""
    every, count = every_sequence(3, 3), 20_000
    if make == "places":
        first, second = torch.randint(3, (2, 40, 3), generator=noise(5))
        prior = Places(first.minimum(second), 3)
        probabilities = (-prior.bits(every)).exp2()
    else:
        prior = drawn_prior()
        probabilities = (-prior.bits(every)).exp2()
    if make == "known":
        shares = torch.tensor([0.6, 0.3, 0.1])
        torch.nn.init.zeros_(prior.head.weight)
        prior.head.bias.data = shares.log()
        probabilities = shares[every].prod(1)
    found = frequencies(prior.sample(count, noise(1)), 3)
    error = (probabilities * (1 - probabilities) / count).sqrt()
    assert ((found - probabilities).abs() < 5 * error).all()
    assert (probabilities - 1 / 27).abs().max() > 20 * error.max()  # what is drawn uniformly would be seen


def test_code_by_code_it_says_what_it_says_at_once():
    prior = drawn_prior(codebook_size=9, places=6)
    indices = torch.randint(9, (4, 6), generator=noise())
    before, past, parts = torch.cat([torch.full((4, 1), 9), indices[:, :-1]], 1), None, []
    for place in range(6):
        logits, past = prior.follow(before[:, place : place + 1], past)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), prior(indices))


def test_samples_hang_on_the_noise_alone_and_come_in_any_number():
    prior = drawn_prior()
    assert torch.equal(prior.sample(700, noise(2)), prior.sample(700, noise(2)))
    assert prior.sample(700, noise(2)).shape == (700, 3) and prior.sample(1, noise()).shape == (1, 3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    prior.sample(3, noise())
    Prior(3, 3, 8, 1, 2, seed=4)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_prior_learns_a_chain_down_to_its_entropy():
    """Each code is one more than the last: all is said by the first, log2 8 bits."""
    first = torch.randint(8, (4000, 1), generator=noise())
    chains = (first + torch.arange(5)) % 8
    prior = Prior(8, 5, width=16, layers=1, heads=2)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for batch in chains.split(40):
        optimizer.zero_grad()
        prior.loss(batch).backward()
        optimizer.step()
    assert 3 - 0.1 < prior.bits(chains[:200]).mean().item() < 3.3 < Places(chains, 8).bits(chains).mean().item()


def test_independent_places_take_the_entropy_of_each():
    indices = torch.cat([torch.zeros(1000, 1), torch.arange(1000)[:, None] % 4], 1).long()
    prior = Places(indices, 4)
    assert prior.bits(indices).mean().item() == pytest.approx(0 + 2, abs=0.01)
    torch.testing.assert_close(prior.shares.sum(1), torch.ones(2))
    assert prior.bits(torch.tensor([[3, 0]])).item() > 10  # never seen there, and still written


def test_what_a_block_makes_of_its_stream_is_added_to_it():
    block = Block(width=8, heads=2)
    x = torch.randn(3, 5, 8, generator=noise())
    for layer in (block.out, block.perceptron[-1]):
        assert not torch.allclose(block(x)[0], x)
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    assert torch.equal(block(x)[0], x)


# the code for pixels


def test_pixels_that_their_reconstruction_tells_cost_little_and_noise_costs_8_bits():
    made = torch.rand(200, 1, 28, 28, generator=noise())
    level = (made * 63).round()
    told, deaf = (4 * level).byte(), torch.randint(256, made.shape, generator=noise(1), dtype=torch.uint8)
    bits = {
        name: PixelCode(made, pixels).bits(made, pixels).mean() / 784
        for name, pixels in [("told", told), ("not", deaf)]
    }
    assert bits["told"] < 0.2 and 7.8 < bits["not"] < 8.0


def test_every_level_of_a_reconstruction_has_shares_that_add_up_to_1():
    made = torch.zeros(2, 1, 4, 4)
    made[1] = 1.0
    pixels = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    code = PixelCode(made, pixels)
    assert torch.allclose(code.shares.sum(1), torch.ones(sequences.LEVELS).double())
    assert code.shares[0, 3].item() == pytest.approx(2 / (16 + 256)) and code.shares[63, 3] < code.shares[0, 3]
    want = 16 * math.log2(272 / 2) + torch.tensor([0.0, 0.0])
    torch.testing.assert_close(code.bits(made, pixels), want.double())


# the runs


def test_decoded_codes_are_the_reconstruction():
    model, _ = fit(SMALL.config)
    made = sequences.decode(model.eval(), sequences.encode(model, MINI.test[:40], MINI), MINI)
    torch.testing.assert_close(made, classifier.reconstruct(model, MINI.test[:40], MINI))
    assert made.std() > 0 and 0 <= made.min() and made.max() <= 1


def test_reconstructions_are_of_images_that_no_distance_and_no_bit_is_of():
    """Those of validation images are compared with the test images, and their pixels are counted for the table."""
    model, _ = fit(SMALL.config)
    found = Sequences.from_model(SMALL, model).description()
    made, test = (classifier.reconstruct(model, part, MINI) for part in (MINI.validation, MINI.test[: SMALL.judged]))
    want = classifier.distances(made[: SMALL.judged], MINI)
    assert {f"recon_{name}": value for name, value in want.items()} == pytest.approx(
        {name: value for name, value in found.items() if name != "pixel_bits"}
    )
    bits = PixelCode(made, MINI.validation).bits(test, MINI.test[: SMALL.judged])
    assert found["pixel_bits"] == pytest.approx(bits.mean().item())


def test_the_test_images_are_at_distance_0_from_themselves_and_a_constant_image_is_1_away():
    test = classifier.scaled(MINI.test)
    for value in classifier.distances(test, MINI).values():
        assert abs(value) < 1e-6
    for value in classifier.distances(torch.zeros_like(test), MINI).values():
        assert value >= 1


def test_to_encode_moves_no_code():
    case = replace(SMALL, **RECOMMENDED)
    model, _ = fit(case.config)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    Sequences.from_model(case, model)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_arms_of_one_seed_share_the_prior_its_order_and_its_noise():
    made = {}
    for name, arm in {**sequences.ARMS, **sequences.BEST}.items():
        case = replace(SMALL, **arm)
        model = build_model(case.config, channels=1)
        model.quantizer.codebook.start(torch.randn(64, 32, generator=noise()), None)
        made[name] = Sequences.from_model(case, model)
    first, *others = made.values()
    for other in others:
        for a, b in zip(first.prior.parameters(), other.prior.parameters(), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(first.sample(first.prior, 20), other.sample(other.prior, 20))
    other_seed = Sequences.from_model(replace(case, seed=1), model)
    assert not torch.equal(first.prior.codes.weight, other_seed.prior.codes.weight)
    assert not torch.equal(first.sample(first.prior, 20), other_seed.sample(other_seed.prior, 20))


def test_the_prior_sees_each_training_image_once_and_in_the_order_of_the_seed():
    assert Case().prior_steps * Case().batch <= 55_000
    model = fit(SMALL.config)[0]
    one, two = (Sequences.from_model(replace(SMALL, seed=seed), model).codes for seed in (0, 1))
    assert one.shape == (SMALL.prior_steps, SMALL.batch, 49) and not torch.equal(one, two)
    many = replace(SMALL, prior_steps=250)  # all 2,000 images
    codes = Sequences.from_model(many, model).codes.flatten(0, 1)
    counts = [found.flatten().bincount(minlength=16) for found in (codes, sequences.encode(model, MINI.train, MINI))]
    assert torch.equal(*counts)


def test_bits_online_are_those_before_the_prior_learned():
    made = Sequences.from_model(replace(SMALL, rate=0.05), fit(SMALL.config)[0])
    made.learn()
    assert made.losses[0] == pytest.approx(49 * 4, rel=1e-5)  # K = 16
    assert made.online() == made.losses and made.losses[-1] < made.losses[0]
    made.losses = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]
    assert made.online() == [2.0, 6.0, 10.0, 14.0]


def test_a_run_is_deterministic_adds_up_and_fits_a_record():
    one, two, other = (sequences.train(replace(SMALL, estimator="rotation", seed=seed)) for seed in (0, 0, 1))
    assert one == two and json.loads(json.dumps(one, allow_nan=False)) == one
    assert one["total_bits"] == one["index_bits"] + one["pixel_bits"] and one["index_bits"] == one["sample_bits"]
    assert [stop["step"] for stop in one["stops"]] == [2, 4] and one["stops"][-1]["bits"] == one["index_bits"]
    assert one["test_mse"] != other["test_mse"] and one["total_bits"] != other["total_bits"]
    assert vqgan.unpack(one["pictures"]).shape == (sequences.PICTURES, 1, 28, 28)


def test_a_run_that_diverged_says_when(monkeypatch):
    monkeypatch.setattr(sequences, "fit", lambda config, device: (None, {"final": {"diverged_at": 7}}))
    assert sequences.train(SMALL) == {"diverged_at": 7}


def test_perplexity():
    assert sequences.perplexity(torch.tensor([[0, 0], [3, 3]])) == pytest.approx(2)
    assert sequences.perplexity(torch.arange(8)) == pytest.approx(8)


def test_the_grid():
    assert runs.find("37") is EXPERIMENT
    cases = EXPERIMENT.cases()
    first = [case for case in cases if case.tokeniser == "vqvae"]
    arms = {(case.estimator, case.init, case.update, case.revival) for case in first}
    plain = {(e, i, "gradient", "none") for e in ("ste", "rotation", "scale_only") for i in ("uniform", "kmeans")}
    assert arms == plain | {("ste", "kmeans", "ema", "unused")}
    assert sequences.BEST["recommended"] == RECOMMENDED
    assert {case.seed for case in first} == set(range(100, 110)) and (len(first), len(cases)) == (70, 96)
    assert len(cases) * EXPERIMENT.seconds / 3600 < 1
    assert (cases[0].config.steps, cases[0].config.codebook_size) == (2000, 512)


def test_codes_of_a_vqgan_are_those_of_a_run_of_its_chapter():
    later = [case.gan for case in EXPERIMENT.cases() if case.tokeniser == "vqgan"]
    assert len(set(later)) == 26 and set(later) <= set(vqgan.EXPERIMENT.cases())
    small = replace(sequences.GAN, **sequences.SMOKE)
    found, of_its_own = sequences.train(small), vqgan.train(replace(small.gan, stops=1))
    shared = {"step", *(name for name in of_its_own if name.startswith("test_"))}
    assert {name: found[name] for name in shared} == {name: of_its_own[name] for name in shared}
    assert found["test_mse"] != sequences.train(replace(small, tokeniser="vqvae"))["test_mse"]
