"""Random numbers and writes to state that are the same in eager and in compiled code, and when a call is run again.

torch.utils.checkpoint throws intermediates away and, inside the backward pass, runs the forward pass once more. That
second run must find the state that the first one left, write nothing, and draw the same numbers.
"""

from collections import deque
from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import world

REMEMBERED = 1 << 16  # calls that drew numbers, of which the number is known when they are run again
_numbers: dict[int, int] = {}  # token of a call -> its number
_kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=16)  # of the last calls, what tells each from others, and its value


def with_known_signature(function: Callable) -> Callable:
    """``function``, the forward pass of an autograd function, of which torch 2.13 asks the signature at every call."""
    function.__signature__ = signature(function)  # else it is worked out anew, which takes longer than the function
    return function


def runs_again() -> bool:
    """Whether a backward pass is running this forward pass again; False while compiling, where it cannot be known."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # torch's checkpoint asks this


def can_look(x: Tensor) -> bool:
    """Whether Python may branch on values like x: on a CPU and in eager code; a GPU would be waited for."""
    return x.device.type == "cpu" and not has_no_value(x)


def has_no_value(x: Tensor) -> bool:
    """Whether x stands for many values: while compiling, and inside ``torch.func.vmap``."""
    if torch.compiler.is_compiling():
        return True
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x) and not functorch.is_batchedtensor(x):
        x = functorch.get_unwrapped(x)
    return functorch.is_batchedtensor(x)


def is_plain(x: Tensor) -> bool:
    """Whether x holds numbers, and only eager code sees what is done with them: no compiler, transform or mode."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return False
    return type(x) is Tensor and not x.is_meta and torch._C._len_torch_dispatch_stack() == 0


def seed_of(generator: torch.Generator | None) -> int:
    """The seed that ``generator`` was given; 0 without one."""
    return 0 if generator is None else generator.initial_seed()


@torch.library.custom_op("rotvq::uniform", mutates_args=())
def uniform(like: Tensor, seed: int, call: Tensor) -> Tensor:
    """Numbers of [0, 1), float32, in the shape of ``like``, from the seed and the 0-d integer ``call`` alone."""
    source = torch.Generator().manual_seed((seed * 1_000_003 + int(call)) % 2**32)
    return torch.rand(like.shape, generator=source).to(like.device)


@uniform.register_fake
def _(like, seed, call):
    return torch.empty_like(like, dtype=torch.float32)


@torch.library.custom_op("rotvq::number_of_call", mutates_args=())
def _number_of_call(calls: Tensor) -> Tensor:
    # the checkpoint restores torch's random state before it runs a call again, so one number of it names the call
    token = int(torch.randint(2**62, ()))
    if torch._C._current_graph_task_id() == -1:
        _numbers.pop(token, None)
        _numbers[token] = int(calls)
        if len(_numbers) > REMEMBERED:
            del _numbers[next(iter(_numbers))]
    elif token not in _numbers:
        remedy = "use checkpoint(preserve_rng_state=True), and where torch.compile is used, around what it compiled"
        raise RuntimeError(f"this call is run again without its random state: {remedy}")
    return torch.full_like(calls, _numbers[token])


_number_of_call.register_fake(torch.empty_like)


@torch.library.custom_op("rotvq::as_at_first", mutates_args=())
def as_at_first(value: Tensor, mark: Tensor) -> Tensor:
    """``value``, or what it was at first where the call is run again; ``mark`` (n,) tells a call from others."""
    if torch._C._current_graph_task_id() == -1:
        _kept.append((mark.clone(), value.clone()))
        return value.clone()
    distance = lambda kept: float((kept[0] - mark).abs().sum())  # noqa: E731
    alike = [kept for kept in _kept if kept[0].shape == mark.shape and kept[1].shape == value.shape]
    found = min(reversed(alike), key=distance, default=None)  # the latest of equal ones
    if found is None or distance(found) > 1e-4 * float(mark.abs().sum()):
        raise RuntimeError("this call is run again after too many others: put the checkpoint round the encoder alone")
    return found[1].clone()


@as_at_first.register_fake
def _(value, mark):
    return torch.empty_like(value)


@torch.library.custom_op("rotvq::value_to_write", mutates_args=())
def _value_to_write(state: Tensor, value: Tensor) -> Tensor:
    return (value if torch._C._current_graph_task_id() == -1 else state).clone()


@_value_to_write.register_fake
def _(state, value):
    return torch.empty_like(state)


def choose(condition: bool | Tensor, value: Tensor, other: Tensor) -> Tensor:
    """``torch.where`` of a condition that may be known."""
    if isinstance(condition, bool):
        return value if condition else other
    return torch.where(condition, value, other)


def write(state: Tensor, value: Tensor) -> None:
    """``state`` becomes ``value``, in place, unless the call is run again."""
    # A compiled backward pass may recompute what it needs of the forward pass from state that has been written since
    # (torch 2.13 does, and is wrong by one step). It cannot recompute an operator of ours, so the value is kept.
    if torch.compiler.is_compiling():
        state.copy_(_value_to_write(state, value.to(state.dtype).expand_as(state)))
    elif not runs_again():
        state.copy_(value)


def increase(state: Tensor, value: Tensor | float) -> None:
    """``state`` grows by ``value``, in place, unless the call is run again."""
    if torch.compiler.is_compiling():
        write(state, state + value)
    elif not runs_again():
        state.add_(value)


def device_with_values() -> torch.device:
    """The default device, and the CPU in the place of "meta", which keeps no values."""
    device = torch.get_default_device()
    return torch.device("cpu") if device.type == "meta" else device


class Constants(nn.Module):
    """Base of modules with buffers of whole numbers that no state dict holds, and no device takes away."""

    def __init__(self, **numbers: list[int]):
        super().__init__()
        self._numbers = numbers
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values, device=device_with_values()), persistent=False)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        for name, values in self._numbers.items():
            if not self._buffers[name].is_meta:  # to_empty leaves anything in it
                self._buffers[name].copy_(torch.tensor(values, device=device_with_values()))
        return self


class Noise(nn.Module):
    """Numbers that depend on a seed, the rank and the number of the call alone, so that a run can be continued.

    >>> first, again = Noise(seed=1), Noise(seed=1)
    >>> torch.equal(first.normal(torch.empty(3)), again.normal(torch.empty(3)))
    True
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.register_buffer("calls", torch.tensor(0))

    def begin_call(self) -> Tensor:
        """The number of a new call, 0-d."""
        number = _number_of_call(self.calls)
        increase(self.calls, 1)
        return number

    def uniform(self, like: Tensor, number: Tensor | None = None) -> Tensor:
        """U(0, 1), neither end included, float32, in the shape of ``like``; by default of a new call."""
        number = self.begin_call() if number is None else number
        u = uniform(like.detach(), self.seed + 7919 * world()[0], number)
        return u.clamp(2.0**-25, 1 - 2.0**-24)

    def normal(self, like: Tensor) -> Tensor:
        """N(0, 1), float32, in the shape of ``like``, of a new call."""
        return torch.special.ndtri(self.uniform(like))


class WideState(nn.Module):
    """Base of modules whose floating-point buffers stay at least float32, whatever dtype the model is cast to.

    Half precision loses counts above 256 (bfloat16) or 2048 (float16), and a decay of 0.99 altogether.

    >>> class Counter(WideState):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("count", torch.zeros(()))
    >>> Counter().bfloat16().count.dtype, Counter().double().count.dtype
    (torch.float32, torch.float64)
    """

    def __init__(self):
        super().__init__()
        self.register_load_state_dict_pre_hook(_widen_loaded)

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if buffer is not None and is_narrow(self._buffers[name]):
                self._buffers[name] = buffer.to(self._buffers[name].device)
        return self


def wide(x: Tensor) -> Tensor:
    """``x``, at least float32."""
    return x.float() if is_narrow(x) else x


def is_narrow(x: Tensor) -> bool:
    """Whether x is floating point with fewer bits than float32."""
    return x.is_floating_point() and x.dtype.itemsize < 4


def _widen_loaded(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Before loading: buffers of a checkpoint in half precision, which ``assign=True`` would take as they are."""
    for name in module._buffers:
        value = state.get(prefix + name)
        if value is not None and is_narrow(value):
            state[prefix + name] = value.float()
