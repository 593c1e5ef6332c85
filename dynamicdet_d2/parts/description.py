# SPDX-License-Identifier: Apache-2.0
"""What a detector consists of, said once.

Cost, optimisation and compilation read it; none of them knows a kind of detector. Detectron2's own
detectors are described beside (``stock.py``), every other one where it is defined::

    @parts_of.register
    def _(model: MyDetector) -> Parts: ...
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import singledispatch

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.utils.words import shown

EASY, HARD = ("easy",), ("hard",)
BOTH = EASY + HARD


class Takes(Enum):
    """What a part is called with."""

    IMAGE = "tensors whose shapes follow from the padded batch's alone"
    PROPOSALS = "as ``ROIHeads.forward``"
    DETECTIONS = "as ``ROIHeads.forward_with_given_boxes``"
    REGIONS = "pooled regions, as many as there happen to be, inside one of the two before"


@dataclass(frozen=True)
class Part:
    """A function of a module, and with it the module's weights.

    Attributes:
        name: as the cost table prints it; parts of one name are one row.
        owner: the module; ``getattr(owner, function)`` is the function.
        function: its name.
        routes: that images go through it on, of "easy" and "hard", each as often as it is run.
        takes: what it is called with. An ``IMAGE`` part can be counted without values and
            compiled once per padded size.
        features: whether it gives features, which may stay in a reduced precision; predictions
            leave in float32.
        exact: names of layers in the owner that are computed in float32 in every precision.
        inside: whether another part calls it: counted apart, and run as that part is run.
        step: of a dynamic detector's tail: the step (``TailPass``) that runs it.
        as_easy: whether one of its runs on the hard route is the easy route's own, with as many
            proposals: what the router, or the merging of both exits, looks at.
    """

    name: str
    owner: nn.Module
    function: str = "forward"
    routes: tuple[str, ...] = BOTH
    takes: Takes = Takes.IMAGE
    features: bool = False
    exact: tuple[str, ...] = ()
    inside: bool = False
    step: str = "detections"
    as_easy: bool = False

    def __post_init__(self) -> None:
        """Refuses, by a ValueError, a field of another kind, and a function that there is not."""
        routes, function = self.routes, self.function
        of_routes = isinstance(routes, tuple) and routes and all(x in BOTH for x in routes)
        of_owner = isinstance(function, str) and callable(getattr(self.owner, function, None))
        of_layers = isinstance(self.exact, tuple) and self.exact == layers_of(
            self.owner, self.exact
        )
        for field, is_right, kind in (
            ("name", isinstance(self.name, str) and self.name, "text"),
            ("routes", of_routes, f"a tuple of one or both of {BOTH}"),
            ("takes", isinstance(self.takes, Takes), "one of dynamicdet_d2.parts.Takes"),
            ("function", of_owner, f"a method's name of its {type(self.owner).__name__}"),
            ("exact", of_layers, f"a tuple of names of layers in its {type(self.owner).__name__}"),
        ):
            if not is_right:
                says = f"{field} is {shown(getattr(self, field))}; it must be {kind}."
                raise ValueError(f"Part {shown(self.name)}: {says}")

    @property
    def dense(self) -> bool:
        """Whether it is convolutions and matrix products that nothing else is run with."""
        return self.takes in (Takes.IMAGE, Takes.REGIONS) and not self.inside

    def wrap(self, wrapper: Callable[[Callable], Callable]) -> None:
        """Let the owner's function be ``wrapper`` of what it was."""
        setattr(self.owner, self.function, wrapper(getattr(self.owner, self.function)))


@dataclass(frozen=True)
class Regions:
    """What ROI heads are called with.

    Attributes:
        pyramid: shapes of the features, by level.
        num_proposals: boxes kept of an image at inference.
        easy_proposals: those of an image on the easy route; None: as many.
        candidates: padded height and width of an image in pixels -> most boxes that there are to
            keep some of; None: not known.
    """

    pyramid: Mapping[str, ShapeSpec]
    num_proposals: int
    easy_proposals: int | None = None
    candidates: Callable[[int, int], int] | None = None

    def kept(self, route: str, size: tuple[int, int] | None = None) -> int:
        """Most boxes that are kept of an image on a route, of a padded size or of any."""
        easy = self.easy_proposals if route == "easy" else None
        kept = self.num_proposals if easy is None else easy
        if size is None or self.candidates is None:
            return kept
        return min(kept, self.candidates(*size))


@dataclass(frozen=True)
class Parts:
    """A detector.

    Attributes:
        parts: in the order of the cost table.
        run_on_image: of a padded image (1, channels, H, W): runs a hard one's ``IMAGE`` parts.
        heads: modules whose plain settings, such as score thresholds, decide on detections.
        padded_side: side of an image in pixels -> side of its batch when it is alone.
        regions: what ROI heads are called with; None without them.
        run_on_easy: the same of an easy image; None: they are among the hard one's.
        learnt_with: modules that training alone runs.
    """

    parts: tuple[Part, ...]
    run_on_image: Callable[[Tensor], object]
    heads: tuple[nn.Module, ...]
    padded_side: Callable[[int], int]
    regions: Regions | None = None
    run_on_easy: Callable[[Tensor], object] | None = None
    learnt_with: tuple[nn.Module, ...] = ()

    @property
    def routes(self) -> dict[str, tuple[str, ...]]:
        """Name -> routes, of all that is counted; a route is named as often as it runs the part."""
        return {p.name: p.routes for p in self.parts if p.takes is not Takes.REGIONS}

    @property
    def as_easy(self) -> frozenset[str]:
        """Names of the parts that hard images run once as easy ones do."""
        return frozenset(part.name for part in self.parts if part.as_easy)

    def is_easy_alone(self, name: str) -> bool:
        """Whether a part is run as for an easy image on whatever route it is run."""
        routes = self.routes[name]
        return routes == EASY or (name in self.as_easy and routes.count("hard") == 1)


@singledispatch
def parts_of(model: nn.Module) -> Parts:
    """What a detector consists of.

    Raises:
        ValueError: for a kind of detector that has not been described.
    """
    raise ValueError(
        f"{type(model).__name__} is a detector whose parts are not described; "
        "dynamicdet_d2.parts.parts_of.register takes a description."
    )


def is_described(model: nn.Module) -> bool:
    """Whether ``parts_of`` knows a detector."""
    return parts_of.dispatch(type(model)) is not parts_of.dispatch(object)


def undescribed(model: nn.Module) -> list[str]:
    """Names of the modules of a detector that have weights of which no part knows.

    So of a kind that is derived from another one, whose description is all that there is. Of
    containers, which are not run themselves, it is those inside.
    """
    parts = parts_of(model)
    owners = (*(part.owner for part in parts.parts), *parts.learnt_with)
    known = {id(weight) for owner in owners for weight in owner.parameters()}

    def below(module: nn.Module, prefix: str) -> Iterator[str]:
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleDict | nn.ModuleList):
                yield from below(child, f"{prefix}{name}.")
            elif any(id(weight) not in known for weight in child.parameters()):
                yield f"{prefix}{name}"

    return list(below(model, ""))


def rounded_up(multiple: int) -> Callable[[int], int]:
    """The function of a number that gives the next multiple of another; 0: of 1."""
    step = max(multiple, 1)
    return lambda side: -(-side // step) * step


def layers_of(owner: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """Those of some names that are layers in a module."""
    inside = {name for name, _ in owner.named_modules()}
    return tuple(name for name in names if name in inside)
