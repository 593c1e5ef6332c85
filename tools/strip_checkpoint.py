#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keep the weights of a checkpoint and drop the state of its training.

python tools/strip_checkpoint.py output/quickstart_from_scratch/model_detectors.pth quickstart.pth
"""

import argparse
import sys
from pathlib import Path

import torch


def strip(source: Path, target: Path) -> int:
    """Write the ``"model"`` entry of a checkpoint alone; returns the number of its tensors.

    Raises:
        ValueError: if the file is no checkpoint.
    """
    if not source.is_file():
        raise ValueError(f"{source} does not exist.")
    content = torch.load(source, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError(f"{source} holds no 'model' entry.")
    torch.save({"model": content["model"]}, target)
    return len(content["model"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        tensors = strip(args.source, args.target)
    except ValueError as error:
        parser.error(str(error))
    size = args.target.stat().st_size / 2**20
    sys.stdout.write(f"{args.target}: {tensors} tensors, {size:.1f} MiB\n")


if __name__ == "__main__":
    main()
