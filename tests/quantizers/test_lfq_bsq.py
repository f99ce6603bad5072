"""LFQ and BSQ: signs as codes, the entropies against the whole matrix, the bound of BSQ, and another implementation."""

import copy
import math
import pickle

import pytest
import torch
from torch.nn import functional as F

from rotvq.quantizers.methods.bsq import bsq
from rotvq.quantizers.methods.lfq import LFQ, Corners

BOTH = (LFQ, bsq)


def latents(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def brute_force(z, codes, temperature):
    """Both entropies from the N x K matrix of softmax(-|z - e|^2 / temperature)."""
    z = z.reshape(-1, z.shape[-1])
    log_p = (-(z[:, None] - codes).square().sum(-1) / temperature).log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(z))
    return -(log_p.exp() * log_p).sum(-1).mean(), -(log_mean.exp() * log_mean).sum()


# --- values by hand ---------------------------------------------------------------------------------------------------

SIGNS = [  # latents, digits of the index from the lowest on
    ([1.0, -1.0, 1.0], 0b101),
    ([-3.0, 0.1, 0.2], 0b110),
    ([0.0, 0.0, 1e-30], 0b100),  # sign(0) is -1
    ([-1e30, -0.0, -1.0], 0b000),
    ([1e30, 2.0, 3.0], 0b111),
]


@pytest.mark.parametrize("make, radius", [(LFQ, 1.0), (bsq, 3**-0.5)])
@pytest.mark.parametrize("z, index", SIGNS)
def test_a_code_is_the_signs(make, radius, z, index):
    out = make(3, 8)(torch.tensor([z]))
    want = torch.tensor([[radius if number > 0 else -radius for number in z]])
    assert out.indices.tolist() == [index] and torch.equal(out.z_q, want)


def test_loss_by_hand():
    """One token, one digit, log odds 4 z / temperature = log 3: probabilities 1/4 and 3/4."""
    z = torch.tensor([[math.log(3) / 4]], dtype=torch.float64)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    weights = {"entropy_weight": 0.5, "diversity": 3.0, "gamma": 0.7}
    loss = LFQ(1, 2, entropy_temperature=1.0, **weights)(z).loss
    assert loss.item() == pytest.approx(0.5 * (entropy - 3 * entropy) + 0.7 * (1 - z.item()) ** 2)
    # two tokens, opposite: the mean is uniform over the two codes
    loss = LFQ(1, 2, entropy_temperature=1.0, **weights)(torch.cat([z, -z])).loss
    assert loss.item() == pytest.approx(0.5 * (entropy - 3 * math.log(2)) + 0.7 * (1 - z.item()) ** 2)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("bits", range(1, 11))
def test_indices_and_codes_are_a_bijection(make, bits):
    vq, every = make(bits, 2**bits), torch.arange(2**bits)
    assert len(vq.codes.unique(dim=0)) == 2**bits
    assert torch.equal(vq.encode(vq.codes), every) and torch.equal(vq.decode(every), vq.codes)
    assert torch.equal(vq.codebook.indices(vq.codes > 0), every)


@pytest.mark.parametrize("bits", (20, 40))
def test_many_digits(bits):
    """Indices beyond float32's whole numbers; no codes are listed."""
    corners, indices = Corners(bits, 1.0), torch.tensor([0, 1, 2 ** (bits - 1), 2**bits - 1, 2**bits - 2])
    points = corners.points(indices)
    assert torch.equal(corners.indices(points > 0), indices)
    assert points.sum(-1).tolist() == [-bits, 2 - bits, 2 - bits, bits, bits - 2]


# --- entropies --------------------------------------------------------------------------------------------------------

TEMPERATURES = (0.01, 0.5, 4.0)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bits, shape", [(1, (7,)), (2, (1,)), (3, (4, 5)), (5, (60,)), (8, (2, 3, 4))])
def test_entropies_and_their_gradients_are_those_of_the_whole_matrix(make, temperature, bits, shape):
    vq = make(bits, 2**bits, entropy_temperature=temperature, group=None).double()
    slopes, values = [], []
    for of in (lambda z: vq.entropies(z), lambda z: brute_force(z, vq.codes, temperature)):
        z = (0.3 * latents(*shape, bits)).requires_grad_()
        of_token, of_mean = of(z)
        values.append(torch.stack([of_token, of_mean]))
        slopes.append(torch.autograd.grad(2 * of_token - 3 * of_mean, z)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bits, group", [(6, 1), (6, 2), (6, 3), (6, 6), (5, 2), (5, 3)])
def test_groups_of_digits(bits, group):
    """The entropy of each group's marginal distribution, by summing the joint one."""
    vq = LFQ(bits, 2**bits, entropy_temperature=1.0, group=group).double()
    z = latents(50, bits)
    joint = (-(z[:, None] - vq.codes).square().sum(-1)).softmax(-1).mean(0)
    want = 0
    for first in range(0, bits, group):
        digits = vq.codes[:, first : first + group] > 0
        number = (digits * 2 ** torch.arange(digits.shape[1])).sum(-1)
        want += torch.special.entr(torch.zeros(2**group).double().index_add(0, number, joint)).sum()
    torch.testing.assert_close(vq.entropies(z)[1], want)


@pytest.mark.parametrize("seed", range(5))
def test_smaller_groups_bound_the_entropy_from_above(seed):
    z = latents(40, 8, seed=seed) @ latents(8, 8, seed=seed + 10)  # dependent digits
    of_mean = [LFQ(8, 256, entropy_temperature=2.0, group=group).entropies(z)[1] for group in (None, 4, 2, 1)]
    assert all(a < b for a, b in zip(of_mean, of_mean[1:])) and of_mean[-1] <= 8 * math.log(2) + 1e-12


@pytest.mark.parametrize("make", BOTH)
def test_the_mean_of_probabilities_needs_no_matrix_of_all_codes(make):
    """K = 2^20: the N x K matrix of 512 tokens would take 2 GiB; this takes the K numbers of the mean."""
    vq = make(20, 2**20, group=None, entropy_temperature=0.5)
    of_token, of_mean = vq.entropies(latents(512, 20, dtype=torch.float32))
    assert 0 < of_token < of_mean < 20 * math.log(2)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("size", (0.0, 1e-30, 1e-3, 1e3, 1e30, 3e38))
def test_finite_at_every_size(make, size):
    z = (size * torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.0, 1.0]])).requires_grad_()
    vq = make(3, 8)
    entropies = torch.stack(vq.entropies(z))
    (vq(z).z_q.sum() + entropies.sum()).backward()
    assert entropies.isfinite().all() and z.grad.isfinite().all()


# --- gradient, masks, dtypes ------------------------------------------------------------------------------------------


def test_the_gradient_passes_straight_through():
    z, g = latents(9, 4).requires_grad_(), latents(9, 4, seed=1)
    vq = LFQ(4, 16, entropy_weight=0.0, gamma=0.3)
    out = vq(z)
    ((out.z_q * g).sum() + out.loss).backward()
    torch.testing.assert_close(z.grad, g + 0.3 * 2 * (z.detach() - out.z_q.detach()) / z.numel())


def test_the_gradient_of_bsq_passes_the_sphere():
    """What arrives at u passes on to z through the Jacobian of z / |z|."""
    z, g = latents(9, 4).requires_grad_(), latents(9, 4, seed=1)
    (bsq(4, 16, entropy_weight=0.0)(z).z_q * g).sum().backward()
    x = z.detach().requires_grad_()
    (F.normalize(x, dim=-1) * g).sum().backward()
    torch.testing.assert_close(z.grad, x.grad)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("heads, dim", [(1, 3), (2, 3), (1, 5), (2, 7)])
def test_a_masked_batch_is_the_batch_of_what_is_kept(make, heads, dim):
    torch.manual_seed(0)
    vq = make(dim, 8, heads=heads, gamma=0.5, entropy_temperature=0.5, group=None).double()
    x, mask = latents(4, 6, heads * dim), torch.rand(4, 6, generator=torch.Generator().manual_seed(3)) > 0.4
    kept = vq(x[mask])
    x[~mask] = torch.nan
    out = vq(x, mask)
    torch.testing.assert_close((out.loss, out.z_q[mask]), (kept.loss, kept.z_q))
    assert torch.equal(out.indices[mask], kept.indices)
    assert (out.indices[~mask] == -1).all()


@pytest.mark.parametrize("make", BOTH)
def test_what_is_not_finite_is_not_counted(make):
    vq, z = make(3, 8, check=False, entropy_temperature=0.5), latents(50, 3)
    spoilt = z.clone()
    spoilt[7] = torch.tensor([torch.nan, 1.0, torch.inf])
    kept = torch.arange(50) != 7
    torch.testing.assert_close(vq.entropies(spoilt), vq.entropies(z[kept]))


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
@pytest.mark.parametrize("dim", (4, 6))
def test_half_precision(make, dtype, dim):
    """The entropies are those of the same latents in float32: 20,000 tokens would not even be counted in half."""
    torch.manual_seed(0)
    vq = make(dim, 16, entropy_temperature=0.5).to(dtype)
    x = latents(20_000, dim).to(dtype)
    out = vq(x, details=True)
    assert out.z_q.dtype == dtype and out.loss.dtype == torch.float32
    assert torch.equal(vq.decode(out.indices).to(dtype), out.z_q)
    z = out.z.float()
    of_token, of_mean = vq.entropies(z)
    want = 0.1 * (of_token - of_mean) + vq.gamma * (z - vq.codes.float()[out.indices]).square().mean()
    torch.testing.assert_close(out.loss, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("temperature", (0.01, 1.0))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
def test_autocast_changes_nothing_of_the_loss(make, temperature, dtype):
    torch.manual_seed(0)
    vq, x = make(6, 16, entropy_temperature=temperature), latents(64, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = vq(x)
    want = vq(x)
    assert torch.equal(out.indices, want.indices) and out.loss == want.loss


# --- BSQ --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", (1, 2, 3, 9, 18))
def test_the_error_of_bsq_is_bounded_and_the_bound_is_reached(bits):
    """|u - q|^2 <= 2 - 2 / sqrt(L), with equality on the axes, where all but one number is 0."""
    vq, bound = bsq(bits, 2**bits).double(), 2 - 2 / math.sqrt(bits)

    def errors(z):
        return (F.normalize(z, dim=-1) - vq(z).z_q).square().sum(-1)

    assert (errors(latents(2000, bits)) <= bound + 1e-12).all()
    axes = torch.cat([torch.eye(bits), -3 * torch.eye(bits)]).double()
    torch.testing.assert_close(
        errors(axes), torch.full((2 * bits,), bound, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )
    corners = vq.codebook.points(torch.randint(2**bits, (50,), generator=torch.Generator().manual_seed(0)))
    assert errors(5 * corners).max() < 1e-12
    torch.testing.assert_close(corners.norm(dim=-1), torch.ones(50).double())


def test_the_error_of_lfq_has_no_bound():
    assert (LFQ(3, 8)(torch.full((1, 3), 1e3)).z_q - 1e3).norm() > 1e3


# --- the rest ---------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"codebook_size": 12}, "codebook_size is 12: it must be a power of two, such as 8"),
    ({"codebook_size": 1}, "codebook_size is 1: it must be a power of two, such as 2"),
    ({"codebook_size": 0}, "codebook_size is 0: it must be a power of two, such as 2"),
    ({"entropy_temperature": 0.0}, "entropy_temperature is 0.0, group 3: both must be positive"),
    ({"entropy_temperature": -1.0}, "entropy_temperature is -1.0"),
    ({"group": 0}, "group 0"),
    ({"entropy_weight": -0.1}, "entropy_weight is -0.1, diversity 1.0: neither may be negative"),
    ({"diversity": -1.0}, "diversity -1.0"),
    ({"gamma": -1.0}, "gamma -1.0"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LFQ(**{"dim": 3, "codebook_size": 8, **options})


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("dim", (3, 5))
def test_copied_and_pickled(make, dim):
    vq, x = make(dim, 8), latents(6, dim, dtype=torch.float32)
    for copied in (copy.deepcopy(vq), pickle.loads(pickle.dumps(vq))):
        assert torch.equal(copied(x).z_q, vq(x).z_q) and torch.equal(copied(x).loss, vq(x).loss)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("dim", (4, 6))
def test_exported_with_shapes_that_vary(make, dim):
    """Without operators of ours."""
    vq, x, other = make(dim, 16).eval(), latents(8, 5, dim, dtype=torch.float32), latents(3, 9, dim, seed=1).float()
    varying = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(vq, (x,), dynamic_shapes=varying)
    assert not any("rotvq" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(other), tuple(vq(other)), check_device=False)


@pytest.mark.parametrize("spherical", (False, True))
@pytest.mark.parametrize("dim", (4, 7))
def test_like_another_implementation(spherical, dim):
    """Theirs has the highest digit first, and keeps logarithms above that of 1e-5: probabilities are kept larger."""
    vqp = pytest.importorskip("vector_quantize_pytorch")
    weights = {"entropy_loss_weight": 0.2, "diversity_gamma": 1.5, "commitment_loss_weight": 0.4}
    other = vqp.LFQ(dim=dim, codebook_size=16, spherical=spherical, **weights)
    ours = LFQ(dim, 16, spherical=spherical, entropy_temperature=5.0, entropy_weight=0.2, diversity=1.5, gamma=0.4)
    if dim != 4:
        ours.reduce.load_state_dict(other.project_in.state_dict())
        ours.expand.load_state_dict(other.project_out.state_dict())
    results = []
    for module, options in ((ours, {}), (other, {"inv_temperature": 1 / 5})):
        x = latents(3, 40, dim, dtype=torch.float32).requires_grad_()
        out = module(x, **options)
        (out[0].sin().sum() + out[2]).backward()
        slopes = [parameter.grad for parameter in module.parameters()]
        results.append((out[0], out[2], x.grad, slopes))
        digits = out[1].unsqueeze(-1) >> torch.arange(4) & 1
        results[-1] += (digits if module is ours else digits.flip(-1),)
    assert torch.equal(results[0][4], results[1][4])
    torch.testing.assert_close(results[0][:4], results[1][:4], rtol=1e-4, atol=1e-5)
