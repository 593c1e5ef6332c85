# SPDX-License-Identifier: Apache-2.0
"""A batch on its way through a dynamic detector.

N: images of the batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

from detectron2.modeling import detector_postprocess
from detectron2.structures import ImageList, Instances
from torch import Tensor

from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.modeling.tail_pass import TailPass


class FirstPass(NamedTuple):
    """A batch at the point where routes are decided; whatever follows goes on from here.

    What a router comes to read beside F1 belongs here too, so that nothing is computed twice.

    Attributes:
        seen: detector1's pass, with F1 and all that the router has looked at.
        start: what backbone 2 starts from, of N images.
        difficulties: (N,), in (0, 1), 1 = hard.
    """

    seen: TailPass
    start: Tensor
    difficulties: Tensor


@dataclass(frozen=True)
class Batch:
    """Images with ground truth.

    Attributes:
        inputs: Detectron2's dicts, N of them.
        images: (N, 3, H, W), normalised and padded.
        gt_instances: N, on the model's device.
    """

    inputs: list[dict]
    images: ImageList
    gt_instances: list[Instances]

    @classmethod
    def of(cls, inputs: list[dict], images: ImageList) -> "Batch":
        """The batch of Detectron2's dicts, which must have ``"instances"``.

        Raises:
            ValueError: naming the first image that has none.
        """
        missing = [x for x in inputs if "instances" not in x]
        if missing:
            name = missing[0].get("file_name", "an image")
            raise ValueError(f"Losses need ground truth, but {name} came without 'instances'.")
        return cls(inputs, images, [x["instances"].to(images.tensor.device) for x in inputs])

    def one(self, i: int) -> "Batch":
        """The batch of the i-th image alone, padded as here."""
        image = ImageList(self.images.tensor[i : i + 1], self.images.image_sizes[i : i + 1])
        return Batch(self.inputs[i : i + 1], image, self.gt_instances[i : i + 1])


def postprocessed(
    results: list[Instances], batched_inputs: list[dict], images: ImageList
) -> list[Instances]:
    """N images' detections in pixels of the original images, masks too.

    Args:
        results: in pixels of the network's input.
        batched_inputs: Detectron2's dicts, with ``"height"`` and ``"width"`` of the original
            where it is not the network's input.
        images: the network's input.
    """
    return [
        detector_postprocess(found, x.get("height", size[0]), x.get("width", size[1]))
        for found, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
    ]


def routed_outputs(
    instances: list[Instances], difficulties: list[float], threshold: float
) -> list[dict]:
    """What a dynamic detector says about N images, in Detectron2's form."""
    return [
        {"instances": x, "difficulty": d, "route": route_name(d, threshold)}
        for x, d in zip(instances, difficulties, strict=True)
    ]
