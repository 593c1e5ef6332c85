# SPDX-License-Identifier: Apache-2.0
"""What a detector consists of, said once.

Cost, optimisation and compilation read it; none of them knows a kind of detector. Detectron2's own
detectors are described here, every other one registers its description where it is defined::

    @parts_of.register
    def _(model: MyDetector) -> Parts: ...
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import singledispatch

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.backbone import FPN
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import (
    BaseKeypointRCNNHead,
    BaseMaskRCNNHead,
    ROIHeads,
    StandardROIHeads,
)
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
        for field, is_right, kind in (
            ("name", isinstance(self.name, str) and self.name, "text"),
            ("routes", of_routes, f"a tuple of one or both of {BOTH}"),
            ("takes", isinstance(self.takes, Takes), "one of dynamicdet_d2.parts.Takes"),
            ("function", of_owner, f"a method's name of its {type(self.owner).__name__}"),
        ):
            if not is_right:
                given = shown(getattr(self, field))
                raise ValueError(f"Part {shown(self.name)}: {field} is {given}; it must be {kind}.")

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
    """

    pyramid: Mapping[str, ShapeSpec]
    num_proposals: int
    easy_proposals: int | None = None


@dataclass(frozen=True)
class Parts:
    """A detector.

    Attributes:
        parts: in the order of the cost table.
        run_on_image: (1, channels, H, W), normalised and padded: runs every ``IMAGE`` part once.
        heads: modules whose plain settings, such as score thresholds, decide on detections.
        padded_side: side of an image in pixels -> side of its batch when it is alone.
        regions: what ROI heads are called with; None without them.
        learnt_with: modules that training alone runs.
    """

    parts: tuple[Part, ...]
    run_on_image: Callable[[Tensor], object]
    heads: tuple[nn.Module, ...]
    padded_side: Callable[[int], int]
    regions: Regions | None = None
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


@parts_of.register
def _(model: GeneralizedRCNN) -> Parts:
    proposals, roi_heads = model.proposal_generator, model.roi_heads
    return Parts(
        parts=(
            *backbone_parts(model.backbone),
            *rpn_parts(proposals),
            *roi_parts(roi_heads),
        ),
        run_on_image=lambda images: run_rpn_head(proposals, model.backbone(images)),
        heads=tuple(head for head in (proposals, roi_heads) if head is not None),
        padded_side=rounded_up(model.backbone.size_divisibility),
        regions=Regions(model.backbone.output_shape(), num_proposals(proposals)),
    )


@parts_of.register
def _(model: ProposalNetwork) -> Parts:
    proposals = model.proposal_generator
    return Parts(
        parts=(*backbone_parts(model.backbone), *rpn_parts(proposals)),
        run_on_image=lambda images: run_rpn_head(proposals, model.backbone(images)),
        heads=(proposals,),
        padded_side=rounded_up(model.backbone.size_divisibility),
    )


@parts_of.register
def _(model: DenseDetector) -> Parts:
    return Parts(
        parts=(*backbone_parts(model.backbone), dense_head_part(model.head)),
        run_on_image=lambda images: run_dense_head(model, model.backbone(images)),
        heads=(model,),
        padded_side=rounded_up(model.backbone.size_divisibility),
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


def backbone_parts(backbone: Backbone) -> tuple[Part, ...]:
    """Of a static detector: backbone and neck, or a backbone alone."""
    if not isinstance(backbone, FPN):
        return (Part("bottom_up1", backbone, features=True),)
    bottom_up = Part("bottom_up1", backbone.bottom_up, features=True, inside=True)
    return bottom_up, Part("neck", backbone, features=True)


def rpn_parts(proposal_generator: nn.Module | None) -> tuple[Part, ...]:
    """Of Detectron2's RPN; others are run as they are.

    Objectness in a reduced precision would tie, and boxes would move.
    """
    if not isinstance(proposal_generator, RPN):
        return ()
    exact = ("objectness_logits", "anchor_deltas")
    return (Part("rpn_head", proposal_generator.rpn_head, exact=exact, step="proposals"),)


def run_rpn_head(proposal_generator: nn.Module | None, pyramid: Mapping[str, Tensor]) -> object:
    """The RPN head's predictions; None without one."""
    if not isinstance(proposal_generator, RPN):
        return None
    return proposal_generator.rpn_head([pyramid[name] for name in proposal_generator.in_features])


def num_proposals(proposal_generator: nn.Module | None) -> int:
    """Boxes kept of an image at inference; the paper's 1000 where only an RPN would say."""
    if not isinstance(proposal_generator, RPN):
        return 1000
    return proposal_generator.post_nms_topk[False]


def roi_parts(roi_heads: ROIHeads) -> tuple[Part, ...]:
    """All that is done with proposals and with detections, and the layers inside.

    Heads of a program's own that look at proposals alone have nothing that takes detections.
    """
    heads: list[nn.Module] = []
    if isinstance(roi_heads, StandardROIHeads):
        boxes = roi_heads.box_head
        heads = list(boxes) if isinstance(boxes, nn.ModuleList) else [boxes]
    # What Detectron2 calls the layers alone, without the choice of an output per instance.
    others = [
        head
        for head in roi_heads.children()
        if isinstance(head, BaseMaskRCNNHead | BaseKeypointRCNNHead)
    ]
    given = "forward_with_given_boxes"
    with_boxes = [roi_heads] if hasattr(roi_heads, given) else []
    return (
        Part("box_head", roi_heads, takes=Takes.PROPOSALS),
        *(Part("mask_head", own, given, takes=Takes.DETECTIONS) for own in with_boxes),
        *(Part("box_head", head, takes=Takes.REGIONS) for head in heads),
        *(Part("mask_head", head, "layers", takes=Takes.REGIONS) for head in others),
    )


def dense_head_part(head: nn.Module) -> Part:
    """Of RetinaNet and FCOS."""
    return Part("head", head, exact=("cls_score", "bbox_pred", "ctrness"))


def run_dense_head(model: DenseDetector, pyramid: Mapping[str, Tensor]) -> list[list[Tensor]]:
    """The head's predictions: per kind, per level."""
    return model.head([pyramid[name] for name in model.head_in_features])
