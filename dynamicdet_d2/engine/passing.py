# SPDX-License-Identifier: Apache-2.0
"""A trainer that passes over what phases which ended early have left of their iterations."""

from detectron2.engine import DefaultTrainer

from dynamicdet_d2.engine.plan import Plan


class PassingTrainer(DefaultTrainer):
    """Neither steps nor hooks run in an iteration that the plan passes over.

    Iterations keep their numbers so, which checkpoints and schedules of later phases count on.
    """

    plan: Plan

    def before_train(self) -> None:
        """As Detectron2's.

        Raises:
            ValueError: somebody has set ``max_iter``, which the plan knows nothing of.
        """
        if self.max_iter != self.plan.max_iter:
            raise ValueError(
                f"max_iter of the trainer is {self.max_iter}, and its phases have "
                f"{self.plan.max_iter} iterations: SOLVER.MAX_ITER and SOLVER.ROUTER.EPOCHS say "
                "how many, when it is built."
            )
        super().before_train()

    def before_step(self) -> None:
        if not self.plan.passes_over(self.iter):
            super().before_step()

    def run_step(self) -> None:
        if not self.plan.passes_over(self.iter):
            super().run_step()

    def after_step(self) -> None:
        if not self.plan.passes_over(self.iter):
            super().after_step()
