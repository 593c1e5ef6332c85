# SPDX-License-Identifier: Apache-2.0
"""A whole training in this process."""

from detectron2.config import CfgNode

from dynamicdet_d2.engine.trainer import DynamicTrainer


def trained(cfg: CfgNode, resume: bool = False) -> DynamicTrainer:
    trainer = DynamicTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer
