# SPDX-License-Identifier: Apache-2.0
"""Builds the loaders of a config: the endless training stream, and passes that end.

All of them give ``list[dict]`` in Detectron2's format and name corrupt images.
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from dynamicdet_d2.data.augmentation import MultiImageAugmentation, Settings
from dynamicdet_d2.data.check.keypoints import num_keypoints
from dynamicdet_d2.data.loading import workers
from dynamicdet_d2.data.loading.corrupt import (
    ErrorsAsItems,
    ImageLoader,
    Mapper,
    NamedErrors,
    Sample,
    refuse_no_mapper,
)
from dynamicdet_d2.data.loading.images import (
    FIGURES,
    images_of,
    judged,
    landscape,
    training_images,
)
from dynamicdet_d2.data.loading.mappers import inference_mapper
from dynamicdet_d2.data.loading.multi_image import MultiImageStream
from dynamicdet_d2.data.loading.stream import (
    PositionBatches,
    PositionStream,
    SeededImages,
    TrainingStream,
)
from dynamicdet_d2.utils.arguments import refuse_no_config
from dynamicdet_d2.utils.numbers import as_whole

logger = logging.getLogger(__name__)


def build_training_loader(
    cfg: CfgNode,
    mapper: Mapper | None = None,
    *,
    seed: int,
    start_iter: int = 0,
    total_batch_size: int | None = None,
    dataset_dicts: Sequence[Sample] | None = None,
) -> ImageLoader:
    """Endless shuffled batches for this rank, a function of the seed alone from any start on.

    Args:
        mapper: of one image; None: ``DatasetMapper(cfg, is_train=True)``, or multi-image
            augmentation where ``INPUT.MOSAIC.ENABLED``.
        start_iter: batches already trained on; the loader goes on after them.
        total_batch_size: over all ranks; ``SOLVER.IMS_PER_BATCH`` if None.
        dataset_dicts: ``training_dicts(cfg)`` if None.

    Raises:
        ValueError: as ``training_images``; an argument of another type or range; a batch size that
            the ranks cannot share; a sampler that cannot be followed (``repeat_factors``); a mapper
            beside multi-image augmentation.
    """
    images = training_images(cfg, dataset_dicts)
    batch_size = cfg.SOLVER.IMS_PER_BATCH if total_batch_size is None else total_batch_size
    repeats = repeat_factors(cfg, images)
    # With mosaics all images are squares of one size, and none needs padding.
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING and not cfg.INPUT.MOSAIC.ENABLED
    batches = PositionBatches(
        len(images),
        seed,
        total_batch_size=batch_size,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        start_batch=start_iter,
        landscape=landscape(images) if grouped else None,
        repeats=repeats,
    )
    return _loader(cfg, _stream(cfg, mapper, images, seed, batch_size, repeats), batches)


def _stream(
    cfg: CfgNode,
    mapper: Mapper | None,
    images: Sequence[Sample],
    seed: int,
    batch_size: int,
    repeats: np.ndarray | None,
) -> PositionStream:
    skip, keys = cfg.DATALOADER.SKIP_CORRUPT_IMAGES, cfg.INPUT.MOSAIC
    if not keys.ENABLED:
        named = NamedErrors(mapper or DatasetMapper(cfg, is_train=True))
        return TrainingStream(images, named, seed, skip_corrupt=skip, repeats=repeats)
    if mapper is not None:
        raise ValueError(
            "INPUT.MOSAIC.ENABLED is True, but the training loader has a mapper of its own, which "
            "sees one image at a time: it must be False, or the mapper must go."
        )
    last = (cfg.SOLVER.MAX_ITER - keys.OFF_LAST_STEPS) * batch_size
    return MultiImageStream(
        images,
        MultiImageAugmentation(Settings.from_config(cfg)),
        seed,
        skip_corrupt=skip,
        repeats=repeats,
        single_from=last if keys.OFF_LAST_STEPS else None,
    )


class ResumableLoader:
    """The training stream of a config, which can be entered at any batch.

    What ``DynamicTrainer.build_train_loader`` returns: only the trainer knows the run's seed and
    how far it has come. With a mapper of one's own, a run still resumes exactly.
    """

    def __init__(
        self,
        cfg: CfgNode,
        mapper: Mapper | None = None,
        dataset_dicts: Sequence[Sample] | None = None,
    ) -> None:
        """
        Args:
            mapper: as for ``build_training_loader``.
            dataset_dicts: the images; those of ``DATASETS.TRAIN`` if None.

        Raises:
            ValueError: the config or the mapper is none.
        """
        refuse_no_config(cfg)
        if mapper is not None:
            refuse_no_mapper(mapper)
        self._cfg, self._mapper, self._images = cfg, mapper, dataset_dicts

    @property
    def is_configs(self) -> bool:
        """Whether its images, and what is made of each, are the config's."""
        return self._mapper is None and self._images is None

    def starting_at(
        self, batch: int, seed: int, dataset_dicts: Sequence[Sample] | None = None
    ) -> ImageLoader:
        """The stream from a batch on.

        Args:
            batch: batches already trained on.
            seed: of the run.
            dataset_dicts: ``training_dicts(cfg)`` where they are read already; not used by a
                loader that has images of its own.
        """
        images = dataset_dicts if self._images is None else self._images
        return build_training_loader(
            self._cfg, self._mapper, seed=seed, start_iter=batch, dataset_dicts=images
        )

    def __iter__(self) -> Iterator[list[Sample]]:
        """From the first batch on, by ``SEED``, or by 0 where that is negative."""
        yield from self.starting_at(0, max(self._cfg.SEED, 0))


def repeat_factors(cfg: CfgNode, images: Sequence[Sample]) -> np.ndarray | None:
    """How often each image stands in an epoch, (N,), by ``DATALOADER.SAMPLER_TRAIN``; None: once.

    Raises:
        ValueError: the sampler is neither "TrainingSampler" nor "RepeatFactorTrainingSampler".
    """
    keys = cfg.DATALOADER
    if keys.SAMPLER_TRAIN == "TrainingSampler":
        return None
    if keys.SAMPLER_TRAIN != "RepeatFactorTrainingSampler":
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN is '{keys.SAMPLER_TRAIN}'; it must be 'TrainingSampler' or "
            "'RepeatFactorTrainingSampler': one that leaves images out would leave them to the "
            "router, which learns from all images of DATASETS.TRAIN."
        )
    # Newer versions of Detectron2 than 0.6 can leave out the square root.
    options = {"sqrt": keys.REPEAT_SQRT} if "REPEAT_SQRT" in keys else {}
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        images, keys.REPEAT_THRESHOLD, **options
    )
    if bool((factors == 1).all()):
        logger.warning(
            "DATALOADER.SAMPLER_TRAIN is '%s', but no image is repeated by "
            "DATALOADER.REPEAT_THRESHOLD %g, the share of images below which a class is rare.",
            *(keys.SAMPLER_TRAIN, keys.REPEAT_THRESHOLD),
        )
    return factors.double().numpy()


def build_finite_loader(
    cfg: CfgNode,
    mapper: Mapper,
    *,
    batch_size: int = 1,
    seed: int = 0,
    dataset_dicts: Sequence[Sample] | None = None,
) -> ImageLoader:
    """One pass over the training images, each exactly once, in the data set's order.

    Ranks take consecutive parts that differ by one image at most. Every sample carries its place
    in ``training_dicts(cfg)`` as ``"dataset_index"`` (int). A mapper that augments draws by
    (seed, place), so two passes give the same samples. Corrupt images left out by
    ``DATALOADER.SKIP_CORRUPT_IMAGES`` are missing from the pass.

    Args:
        batch_size: images a rank gets at a time.
    """
    images = training_images(cfg, dataset_dicts)
    return _finite(cfg, images, mapper, batch_size=batch_size, seed=seed)


def build_test_loader(
    cfg: CfgNode, dataset_name: str, mapper: Mapper | None = None, *, losses: bool = False
) -> ImageLoader:
    """One pass over a test set for this rank, one image at a time, as Detectron2 evaluates.

    A corrupt image is an error; with ``DATALOADER.SKIP_CORRUPT_IMAGES`` it is left out with a
    warning, so that the evaluator sees no detections for it.

    Args:
        mapper: ``inference_mapper(cfg)`` if None.
        losses: the mapper gives ground truth, of which losses are computed beside figures.

    Raises:
        ValueError: the data set is not registered or is empty, or an argument of another type.
    """
    refuse_no_config(cfg)
    proposals = None
    if cfg.MODEL.LOAD_PROPOSALS:
        proposals = [cfg.DATASETS.PROPOSAL_FILES_TEST[list(cfg.DATASETS.TEST).index(dataset_name)]]
    figures = FIGURES._replace(keypoints=num_keypoints(cfg))
    needs = (judged(cfg) if losses else None) or figures
    images = images_of(
        "DATASETS.TEST", [dataset_name], needs, filter_empty=False, proposal_files=proposals
    )
    return _finite(cfg, images, mapper or inference_mapper(cfg), batch_size=1, seed=0)


class ConsecutiveBatches(Sampler[list[int]]):
    """The part of ``range(num_images)`` that belongs to one rank, in batches, in order.

    Of fewer images than ranks the first rank has one, as it says what is found.
    """

    def __init__(
        self, num_images: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        ends = (-(-num_images * place // world_size) for place in (rank, rank + 1))
        self._part = range(*ends)
        self._batch_size = as_whole(batch_size, "batch_size", least=1)

    def __len__(self) -> int:
        return -(-len(self._part) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self._part), self._batch_size):
            yield list(self._part[start : start + self._batch_size])


def _finite(
    cfg: CfgNode, images: Sequence[Sample], mapper: Mapper, *, batch_size: int, seed: int
) -> ImageLoader:
    batches = ConsecutiveBatches(len(images), batch_size, comm.get_rank(), comm.get_world_size())
    return _loader(cfg, SeededImages(images, NamedErrors(mapper), seed), batches)


def _loader(cfg: CfgNode, dataset: Dataset, batches: Sampler[list[int]]) -> ImageLoader:
    loader = DataLoader(
        ErrorsAsItems(dataset),
        batch_sampler=batches,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        worker_init_fn=workers.begin,
        timeout=cfg.RUN.TIMEOUT if cfg.DATALOADER.NUM_WORKERS else 0,
        # Without a generator of its own, each pass would take a number from the global one.
        generator=torch.Generator(),
    )
    return ImageLoader(loader, skip_corrupt=cfg.DATALOADER.SKIP_CORRUPT_IMAGES)


def _as_list(items: list[Sample]) -> list[Sample]:
    return items
