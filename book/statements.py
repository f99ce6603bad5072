r"""Statements that can be checked: the laws of the chapters, the facts of the rivals, the evidence of the ledger.

A statement is a function whose docstring says what is true and whose body computes it. There are three kinds, and one
registry holds them all, by name::

    @law(chapter=3)
    def norm_ratio(z, q, g):
        "|G^T g| = r |g| with r = |q|/|z|, in every dimension."
        return norm(pull_back("rotation", z, q, g)), norm(q) / norm(z) * norm(g)

    @fact("fsq")
    def sizes_of_the_table(make):
        "For K = 2^8, 2^10 the grids have 240 and 1000 points."
        return torch.tensor([make(4, 2**bits).codebook_size for bits in (8, 10)]), torch.tensor([240, 1000]), 0

    @evidence
    def low_usage_is_common():
        "The straight-through estimator's usage in the paper's own runs."
        return Finding.of(low > len(usage) / 2, settings_below_50_percent=low)

A *law* asks for random inputs by name (:mod:`book.theory.inputs` lists them) and returns what must agree: ``left,
right`` or ``left, right, scale``, :class:`AtMost` of these for a bound, or a dict of them by label. A *fact* takes what
makes a quantiser and returns what it measured, what the rival's source states, and by how much the two may differ. A
piece of *evidence* takes the words that a row of the ledger gives it.

``find(name).check()`` gives a :class:`Finding`, whatever the kind. The pages, the ledger and pytest all go through it;
:func:`show` is how a page prints laws, source and errors.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from book.theory.inputs import PAIRS, draw_inputs
from rotvq.page.html import Html, tag
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.registry import METHODS


@dataclass(frozen=True)
class Finding:
    """What checking a statement found.

    Attributes:
        claim: Whether the statement holds as it stands; None where it is open, or does not say enough to be settled.
        fix: Whether the corrected statement holds; None where there is none to test.
        numbers: What was measured, by names such as ``gain_at_r_0_1``.
    """

    claim: bool | None
    fix: bool | None = None
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)

    @classmethod
    def of(cls, claim: Any, fix: Any = None, **numbers: Any) -> Finding:
        """A finding of plain Python values, from tensors and numpy scalars too."""
        truths = [None if value is None else bool(value) for value in (claim, fix)]
        plain = {name: value if isinstance(value, str | int) else float(value) for name, value in numbers.items()}
        return cls(*truths, plain)

    def in_words(self) -> str:
        """The numbers in words.

        >>> Finding(True, numbers={"gain_at_r_0_1": 0.25, "codes": 7}).in_words()
        'gain at r 0.1 0.25; codes 7'
        """
        shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in self.numbers.items()}
        return "; ".join(f"{name_in_words(name)} {value}" for name, value in shown.items())


def name_in_words(name: str) -> str:
    """A number's name as text.

    >>> name_in_words("gain_at_r_0_1"), name_in_words("pi_minus_1e_3")
    ('gain at r 0.1', 'pi minus 1e-3')
    """
    exponent, decimal_point = r"(?<=_\de)_(?=\d)", r"(?<=_\d)_(?=\d)"
    return re.sub(exponent, "-", re.sub(decimal_point, ".", name)).replace("_", " ")


def all_hold(truths: Sequence[bool | None]) -> bool | None:
    """Whether all of these are true; None where that is open."""
    if False in truths:
        return False
    return None if None in truths else True


def any_holds(truths: Sequence[bool | None]) -> bool | None:
    """Whether at least one of these is true; None where that is open."""
    if True in truths:
        return True
    return None if None in truths else False


@dataclass(frozen=True)
class Statement:
    """A function that checks what its docstring states. Each kind has a ``check()`` and says where it belongs.

    Attributes:
        function: The function; its docstring is the statement.
    """

    function: Callable
    kind: ClassVar[str]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def text(self) -> str:
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def belongs_to(self) -> str:
        """The chapter, the rival or the ledger."""
        raise NotImplementedError

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of what the function takes."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def reads_records(self) -> bool:
        """Whether it rests on records of runs: then ``check`` takes their folder as ``records``."""
        return "records" in self.arguments

    def check(self, *words: str, **options: Any) -> Finding | None:
        """Run it. None where it awaits records that are not there.

        Args:
            words: What the ledger gives in brackets; only evidence takes any.
            options: What each kind takes besides.
        """
        raise NotImplementedError

    def require(self, *words: str, **options: Any) -> Finding:
        """:meth:`check`, but AssertionError, with what was found, where the statement does not hold."""
        finding = self.check(*words, **options)
        if finding is None or finding.claim is not True:
            raise AssertionError(f"{self.name}: {finding.in_words() if finding else 'awaits records'}")
        return finding


STATEMENTS: dict[str, Statement] = {}


def register(statement: Statement) -> Callable:
    """Enter a statement under its name, and return its function, so that statements can call each other.

    Raises:
        ValueError: The name is taken, or the function states nothing.
    """
    if statement.name in STATEMENTS:
        modules = [one.function.__module__ for one in (STATEMENTS[statement.name], statement)]
        raise ValueError(f"two statements are called {statement.name!r}, in {' and '.join(modules)}")
    if not statement.text:
        raise ValueError(f"{statement.kind} {statement.name!r} states nothing: its docstring is the statement")
    STATEMENTS[statement.name] = statement
    return statement.function


def find(name: str) -> Statement:
    """The statement of this name, of those whose modules are imported; ValueError where there is none."""
    if name not in STATEMENTS:
        raise ValueError(f"there is no statement {name!r}")
    return STATEMENTS[name]


# laws


class AtMost(NamedTuple):
    """The bound ``left <= right``, up to rounding; ``scale`` as for an equation."""

    left: Tensor
    right: Tensor
    scale: Tensor | float | None = None


@dataclass(frozen=True)
class Law(Statement):
    """A statement about all inputs, tried on random ones.

    The error of an equation is ``|left - right| / scale``, the scale by default the largest entry of each row.

    Attributes:
        chapter: The number of the chapter that states it.
        roundings: The error allowed, in units of the dtype's epsilon.
        tolerance: An absolute error allowed instead, for limits and finite differences, which run in float64 only.
        dims: The dimensions it is about.
        kinds: The pairs (z, q) it is about, keys of :data:`book.theory.inputs.PAIRS`.
        members: The estimators it is about, where it takes a ``member``.
    """

    kind = "law"
    chapter: int
    roundings: float = 200
    tolerance: float | None = None
    dims: tuple[int, ...] = (1, 2, 3, 8, 64)
    kinds: tuple[str, ...] = tuple(PAIRS)
    members: tuple[str, ...] = tuple(ESTIMATORS)

    @property
    def belongs_to(self) -> str:
        return f"chapter {self.chapter}"

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """The precisions it is tried in."""
        return (torch.float64, torch.float32) if self.tolerance is None else (torch.float64,)

    def allowed(self, dtype: torch.dtype = torch.float64) -> float:
        """The largest error with which it holds."""
        return self.roundings * torch.finfo(dtype).eps if self.tolerance is None else self.tolerance

    def errors(self, d: int, n: int, dtype: torch.dtype, kind: str, seed: int) -> dict[str, float]:
        """The largest error of each part, and of each member where the law is about members, on one draw."""
        worst = {}
        for member in self.members if "member" in self.arguments else ("",):
            drawn = draw_inputs(d, n, dtype, kind, seed) | {"member": member}
            sides = self.function(**{name: drawn[name] for name in self.arguments})
            for part, pair in (sides if isinstance(sides, dict) else {"": sides}).items():
                worst[f"{part} {member}".strip()] = _error(*pair, bound=isinstance(pair, AtMost))
        return worst

    def check(
        self,
        *,
        dims: Sequence[int] = (),
        kinds: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        n: int = 16,
        dtype: torch.dtype = torch.float64,
    ) -> Finding:
        """The largest error over draws of n inputs: each dimension with each kind of pair and each seed.

        Args:
            dims: Dimensions; all that the law is about where none is given.
            kinds: Kinds of pairs; likewise.
            seeds: Seeds of the draws.
            n: The number of inputs in a draw.
            dtype: The precision of the inputs.

        Returns:
            A finding with ``largest_error`` and ``allowed``, and ``at``, the worst part and draw, where it fails.
        """
        worst, at = 0.0, ""
        for d, kind, seed in itertools.product(dims or self.dims, kinds or self.kinds, seeds):
            for part, error in self.errors(d, n, dtype, kind, seed).items():
                error = math.inf if math.isnan(error) else error
                if error > worst:
                    worst, at = error, f"{part} d = {d}, n = {n}, {dtype}, {kind}, seed {seed}".strip()
        allowed = self.allowed(dtype)
        numbers = {"largest_error": worst, "allowed": allowed}
        return Finding.of(True, **numbers) if worst <= allowed else Finding.of(False, **numbers, at=at)


def law(chapter: int, **where: Any) -> Callable[[Callable], Callable]:
    """Register a function as a law of a chapter; ``where`` are fields of :class:`Law`."""

    def decorate(function: Callable) -> Callable:
        return register(Law(function, chapter, **where))

    return decorate


def _error(left: Tensor, right: Tensor, scale: Tensor | float | None = None, bound: bool = False) -> float:
    """The largest error of an equation, or of a bound, over the scale."""
    sides = [torch.as_tensor(side, dtype=torch.float64).detach() for side in (left, right)]
    left, right = torch.broadcast_tensors(*sides)
    gap = (left - right).clamp_min(0) if bound else (left - right).abs()
    if scale is None:
        scale = torch.maximum(left.abs(), right.abs())
        if left.ndim > 1:
            scale = scale.flatten(1).amax(1).view(-1, *[1] * (left.ndim - 1))
    return float(torch.where(gap == 0, 0.0, gap / scale).detach().max())


class Report(NamedTuple):
    """Laws with their largest errors; a notebook shows it as source and table.

    Attributes:
        source: Their code.
        rows: The table, row by row: a heading, then a law a row.
    """

    source: str
    rows: list[tuple[str, ...]]

    def _repr_markdown_(self) -> str:
        head, *laws = self.rows
        named = [[tag("th", _breakable(law[0])), *(tag("td", error) for error in law[1:])] for law in laws]
        heads = tag("thead", tag("tr", *(tag("th", words) for words in head)))
        table = tag("table", heads, tag("tbody", *(tag("tr", *cells) for cells in named)), class_="table dataframe")
        return f"```python\n{self.source}```\n\n{tag('div', table, class_='pst-scrollable-table-container')}\n"

    def __repr__(self) -> str:
        width = 2 + max(len(row[0]) for row in self.rows)
        lines = [row[0].ljust(width) + "".join(cell.rjust(8) for cell in row[1:]) for row in self.rows]
        return "\n".join([self.source, *lines])


def _breakable(name: str) -> Html:
    """A name as code, which a narrow column breaks after its underscores and nowhere else.

    >>> _breakable("norm_ratio")
    '<code>norm_<wbr>ratio</code>'
    """
    return tag("code", Html(name.replace("_", "_<wbr>")))


def show(*functions: Callable, seeds: int = 3) -> Report:
    """Run laws on all their dimensions and kinds of pairs: their source and largest errors.

    Args:
        functions: Laws, such as ``rotation.norm_ratio``: the page imports the chapter that they stand in.
        seeds: The number of draws of each dimension and kind.

    Raises:
        AssertionError: One of them fails.
    """
    laws, dims = [find(function.__name__) for function in functions], Law.dims
    rows = [("", *(f"d = {d}" for d in dims), "allowed")]
    for one in laws:
        worst = {d: one.require(dims=[d], seeds=range(seeds)).numbers["largest_error"] for d in one.dims}
        rows.append((one.name, *(f"{worst[d]:.0e}" if d in worst else "-" for d in dims), f"{one.allowed():.0e}"))
    return Report("\n\n".join(inspect.getsource(one.function) for one in laws), rows)


# facts


@dataclass(frozen=True)
class Fact(Statement):
    """A statement of a rival's source about it, checked by measuring.

    Attributes:
        rival: A key of :data:`rotvq.quantizers.registry.METHODS`.
    """

    kind = "fact"
    rival: str

    @property
    def belongs_to(self) -> str:
        return f"rival {self.rival}"

    def check(self, *, make: Callable | None = None) -> Finding:
        """Whether it holds for the rival, or for what ``make`` makes in its place; a finding as of a law.

        Args:
            make: An entry of :data:`rotvq.quantizers.registry.METHODS`; the rival's own where it is not given.
        """
        outcome = self.function(make or METHODS[self.rival])
        measured, stated, tolerance = torch.broadcast_tensors(*(torch.as_tensor(x).detach().double() for x in outcome))
        gap = (measured - stated).abs().flatten()
        worst = int((gap - tolerance.flatten()).argmax())
        numbers = {"largest_error": gap[worst], "allowed": tolerance.flatten()[worst]}
        return Finding.of((gap <= tolerance.flatten()).all(), **numbers)


def fact(rival: str) -> Callable[[Callable], Callable]:
    """Register a function as the fact of a rival; ValueError where there is no such rival."""
    if rival not in METHODS:
        raise ValueError(f"unknown rival {rival!r}: one of {', '.join(METHODS)}")

    def decorate(function: Callable) -> Callable:
        return register(Fact(function, rival))

    return decorate


# evidence


@dataclass(frozen=True)
class Evidence(Statement):
    """A test of one claim of the ledger. It computes in float64 and draws from seeds of its own."""

    kind = "evidence"

    @property
    def belongs_to(self) -> str:
        return "ledger"

    def check(self, *words: str, records: Path | None = None) -> Finding | None:
        """Run it with the words of a row; ``records`` is the folder of the records of all chapters."""
        return self.function(*words, **({"records": records} if self.reads_records else {}))


def evidence(function: Callable[..., Finding | None]) -> Callable[..., Finding | None]:
    """Register a function as evidence."""
    return register(Evidence(function))
