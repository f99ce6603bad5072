"""NSVQ: noise of the length of the error (Vali and Bäckström 2022)."""

from torch import Tensor

from rotvq.quantizers.methods.noise import ErrorSubstitution


class NSVQ(ErrorSubstitution):
    """``z_q = z + |q - z| n/|n|`` with n ~ N(0, I): the error of quantisation, in a random direction.

    Vali and Bäckström, "NSVQ: Noise Substitution in Vector Quantization for Machine Learning", IEEE Access 2022.
    The codes learn from the reconstruction, through the norm. Evaluation gives q.

    >>> import torch
    >>> z, q = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    >>> NSVQ(seed=0)(z, q).norm().round(), NSVQ().eval()(z, q)
    (tensor(5.), tensor([[3., 4.]]))
    """

    def direction(self, error: Tensor) -> Tensor:
        return self.noise.normal(error)
