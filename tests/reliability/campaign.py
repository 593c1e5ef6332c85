# SPDX-License-Identifier: Apache-2.0
"""A campaign of blows against runs: ``make reliability``, or python -m tests.reliability.campaign.

Each trial strikes a run of a random mode at a random file event, step or time, resumes it, and
compares weights bit for bit, metrics.json, and what is left in OUTPUT_DIR, with the run that
nothing befell. The seed says which trials they are. Exit status 1: something was lost.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.reliability.kills import FULL, MEMORY, SIGNALS, Blow
from tests.reliability.trials import MODES, SHORT, STEPS, Reference, faults, reference
from tests.support.runs import differing, weights, write_toy
from tests.support.signals import heed_ignored

# Bytes; smaller than a checkpoint of the toy detector, larger than its other files.
SMALL_DISK = 300_000


def drawn_blow(rng: random.Random, output: Path, mode: str, whole: Reference) -> Blow:
    """Any that can befall a run of the mode."""
    what = rng.choice([*SIGNALS, FULL, MEMORY])
    rank = rng.randrange(MODES[mode].processes)
    if what == FULL:
        where = rng.choice(["event", "event", "size"])
    elif what == MEMORY:
        where = "step"
    else:
        where = rng.choice(["event", "event", "step", "time"])
    if where == "event":
        number, rank = rng.randint(1, whole.events), 0  # the main process writes
    elif where == "step":
        number = rng.randint(1, STEPS)
    elif where == "time":
        number, rank = rng.randint(50, int(1000 * whole.seconds)), 0
    else:
        number = SMALL_DISK
    return Blow(what, where, number, str(output), rank)


def campaign(trials: int, seed: int, modes: list[str], folder: Path) -> int:
    """Print a line a trial and a summary; how many were lost."""
    config, rng = write_toy(folder), random.Random(seed)
    references: dict[str, Reference] = {}
    kinds: Counter[str] = Counter()
    lost = 0
    for number in range(trials):
        mode = modes[number % len(modes)]
        if mode not in references:
            references[mode] = reference(config, folder, mode)
        output = folder / f"trial_{number}"
        blow = drawn_blow(rng, output, mode, references[mode])
        wrong = faults(config, output, mode, blow, references[mode])
        kinds[f"{blow.what}, by {blow.where}"] += 1
        lost += bool(wrong)
        say(f"{number + 1}/{trials}  {mode}: {blow}: {'; '.join(wrong) or 'survived'}")
        shutil.rmtree(output)
    for kind, count in sorted(kinds.items()):
        say(f"{kind}: {count}")
    say(f"Tried {trials}, survived {trials - lost}.")
    return lost


def under_torchrun(config: str, folder: Path) -> list[str]:
    """A run of two processes, one of which is killed; what is wrong after torchrun's restart."""
    whole, output = reference(config, folder, "two processes"), folder / "torchrun"
    mode = MODES["two processes"]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
        *("tests/reliability/torchrun_worker.py", "--config-file", config, "--resume"),
        *("OUTPUT_DIR", output, *SHORT, *mode.keys),
    ]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return [f"torchrun ended with {done.returncode}: {done.stderr[-2000:]}"]
    changed = differing(weights(whole.output), weights(output))
    starts = (output / "log.txt").read_text().count("Starting training from iteration")
    wrong = [f"{len(changed)} tensors differ"] if changed else []
    return wrong if starts == 2 else [*wrong, f"it was started {starts} times"]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--trials", type=int, default=100)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    args = options.parse_args()
    heed_ignored()
    say(f"{args.trials} trials, seed {args.seed}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lost = campaign(args.trials, args.seed, args.modes, root)
        wrong = under_torchrun(write_toy(root), root)
        say(f"A rank killed under torchrun, and its restart: {'; '.join(wrong) or 'survived'}")
    return int(lost > 0 or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
