# SPDX-License-Identifier: Apache-2.0
"""Command lines that are wrong, each with its exit status and what its sentence names."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicdet_d2.commands.main import main
from tests.support.coco_files import (
    clean_catalogs,
    image_entry,
    object_entry,
    write_coco,
    write_image,
)
from tests.support.toy import toy_cfg, toy_model

TYPED, FAILED = 2, 1


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A config, weights, images and a data set, and the same with something wrong."""
    folder = tmp_path_factory.mktemp("typed")
    images = folder / "images"
    images.mkdir()
    write_image(images / "1.png", width=96, height=64)
    torch.save({"model": toy_model().state_dict()}, folder / "w.pth")
    json_file, root = write_coco(folder / "data", [image_entry(1)], [object_entry(1, 1)])
    keys = ("INPUT.MIN_SIZE_TEST", 64, "MODEL.ROI_HEADS.NUM_CLASSES", 3, "DATASETS.TEST", ("own",))
    cfg = toy_cfg(*keys, "DATASETS.COCO_JSON", [["own", json_file, root]])
    (folder / "c.yaml").write_text(cfg.dump())
    (folder / "w").touch()
    (folder / "moved").mkdir()
    run = toy_cfg("DATASETS.TRAIN", ("shapes_train",), "OUTPUT_DIR", "/gone")
    (folder / "moved" / "config.yaml").write_text(run.dump())
    (folder / "moved" / "last_checkpoint").write_text("model_final.pth")
    (folder / "text.txt").write_text("hello")
    (folder / "text.json").write_text("hello")
    (folder / "keys.json").write_text('{"a": 1, "b": 2, "c": {"d": 3}, "e": []}')
    (folder / "empty").mkdir()
    (folder / "own").mkdir()
    (folder / "own" / "instances.json").write_text(json.dumps({"images": []}))
    (folder / "broken.jpg").write_bytes(b"no image")
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(folder / "deep.png")
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    (folder / "packed").mkdir()
    (folder / "packed" / "manifest.json").write_text('{"files": {"calibration.json": {}}}')
    os.mkfifo(folder / "pipe")
    return SimpleNamespace(folder=folder)


DRAW = "draw-shapes --output {folder}/drawn"
COST = "cost --config-file configs/quickstart.yaml"
CHECK = "check-data --json {folder}/data/set.json --images {folder}/data/images"
CALIBRATE = "calibrate --config-file {folder}/c.yaml --weights {folder}/w.pth"
LONGER = ": it is longer than the 255 bytes of a name, or 4096 of a path."
PREDICT = "predict --config-file {folder}/c.yaml --weights {folder}/w.pth --output {folder}/out"
PACKAGE = "package --config-file {folder}/c.yaml --weights {folder}/w.pth"
TRAIN = "train --config-file configs/quickstart.yaml"
MOVED = "train --config-file {folder}/moved/config.yaml"

CASES: list[tuple[str, int, str]] = [
    ("gone", TYPED, "there is no command 'gone'."),
    ("trian", TYPED, "there is no command 'trian'. The nearest is 'train'."),
    ("--verbose", TYPED, "there is no command '--verbose'. Options stand behind the command."),
    ("--config-file c.yaml train", TYPED, "'--config-file'. Options stand behind the command."),
    ("TRAIN", TYPED, "there is no command 'TRAIN'. The nearest is 'train'."),
    (f"{DRAW} --num-images 1 --width 60000 --height 60000", TYPED, "at most 178956970 pixels"),
    (f"{DRAW} --num-images 0", TYPED, "at least one image of 64 pixels a side"),
    (f"{DRAW} --num-images -5", TYPED, "at least one image of 64 pixels a side"),
    (f"{DRAW} --num-images x", TYPED, "--num-images: invalid int value: 'x'"),
    (f"{DRAW} --num-images 1 --seed -1", TYPED, "a seed from 0 to 2^63; found num_images 1, "),
    (
        f"{DRAW} --num-images 1 --seed {10**40}",
        TYPED,
        "a seed from 0 to 2^63; found num_images 1, ",
    ),
    (f"{DRAW} --num-images 1 --width 10", TYPED, "at least one image of 64 pixels a side"),
    (f"{DRAW} --num-images 1 --height 1000000", TYPED, "at most 65500 pixels a side"),
    (
        "draw-shapes --output {folder}/own --num-images 1",
        TYPED,
        "own has files in it that are not of a drawn set",
    ),
    ("draw-shapes --output {folder}/w", TYPED, "/w is a file; a drawn set is a"),
    *(
        (f"{command} --output x.json", TYPED, "--output x.json has the name of a file (.json), and")
        for command in (
            "draw-shapes",
            "import-data --yolo x",
            "upgrade --config-file x --weights y",
        )
    ),
    ("draw-shapes", TYPED, "required: --output"),
    ("cost", TYPED, "required: --config-file"),
    (
        f"{COST} TEST.DETECTIONS_PER_IMAGE 5",
        TYPED,
        "TEST.DETECTIONS_PER_IMAGE would not be read: masks and keypoints are counted for 100 det",
    ),
    ("cost --config-file gone.yaml", TYPED, "--config-file gone.yaml does not exist."),
    ("cost --config-file {folder}", TYPED, "cannot be read: Is a directory."),
    ("cost --config-file {folder}/pipe", TYPED, "pipe is a pipe or a device; it must be a file."),
    ("cost --config-file {folder}/w.pth", TYPED, "w.pth is no text in UTF-8"),
    (f"{COST} --height 0", TYPED, "0"),
    (f"{COST} --width -5", TYPED, "-5"),
    (f"{COST} --height x", TYPED, "--height: invalid int value: 'x'"),
    (f"{COST} --num-proposals 0", TYPED, "0"),
    (f"{COST} SEED", TYPED, "'SEED' has no value."),
    (f"{COST} MODEL.RPN.IN_FEATURES ['p9']", TYPED, "MODEL.RPN.IN_FEATURES is ['p9']"),
    (f"{COST} MODEL.ROI_BOX_HEAD.NAME Gone", TYPED, "MODEL.ROI_BOX_HEAD.NAME is 'Gone'; it must"),
    (
        f"{COST} --num-proposals 1000000000",
        TYPED,
        "num_proposals is 1000000000; it must",
    ),
    ("check-data --images .", TYPED, "required: --json"),
    (f"{CHECK} --num-classes x", TYPED, "--num-classes: invalid int value"),
    (
        f"{CHECK} --num-classes -1",
        TYPED,
        "--num-classes is -1; it must be a whole number, at least",
    ),
    (f"{CHECK} --masks rle", TYPED, "--masks: invalid choice: 'rle'"),
    (f"{CHECK} --num-classes 5", FAILED, "MODEL.ROI_HEADS.NUM_CLASSES is 5."),
    (
        "check-data --json {folder}/data/set.json --images {folder}/text.txt",
        FAILED,
        "The image folder {folder}/text.txt is no folder.",
    ),
    ("check-data --json gone.json --images .", FAILED, "gone.json cannot be read"),
    ("check-data --json {folder}/pipe --images .", FAILED, "pipe is a pipe or a device"),
    ("check-data --json {folder}/text.txt --images .", FAILED, "text.txt is not JSON"),
    ("convert --weights gone.pt --output {folder}/n.pth", TYPED, "gone.pt does not exist."),
    (
        "convert --weights {folder}/text.txt --output {folder}/n.pth",
        TYPED,
        "text.txt is no file of",
    ),
    ("convert --weights {folder}/w.pth --output {folder}/n.pt", TYPED, "must end in .pth."),
    (
        "convert --weights {folder}/w.pth --output {folder}/n.pth",
        TYPED,
        "w.pth cannot be converted",
    ),
    ("convert --weights {folder} --output {folder}/n.pth", TYPED, "{folder}"),
    ("check-export --folder x --config-file x --most-ap nan", TYPED, "--most-ap is nan; it must"),
    ("check-export --folder x --config-file x --most-ap inf", TYPED, "it must lie in [-100, 100]."),
    ("import-data --coco x --images gone --output x", TYPED, "--images gone is no folder."),
    (
        "import-data --coco x --images . --output x --classes a",
        TYPED,
        "--classes is for --yolo and --voc",
    ),
    (
        f"report {{folder}} --compare {' '.join(['A,1,2,3'] * 51)}",
        TYPED,
        "--compare has 51 detectors; 50 at most fit.",
    ),
    ("report gone", TYPED, "gone/tradeoff.json cannot be read"),
    ("report gone.json", TYPED, "gone.json cannot be read"),
    ("report {folder}/tradeoff.json", TYPED, "error: {folder}/tradeoff.json cannot be read: No"),
    ("report {folder}/text.json", TYPED, "text.json is not a JSON file: "),
    ("report {folder}/text.txt", TYPED, "Calibration {folder}/text.txt is not a JSON file: "),
    (
        "report {folder}/c.yaml",
        TYPED,
        "c.yaml is neither the folder of an evaluation, its tradeoff.json, nor a calibration: Cal",
    ),
    (
        f"{PREDICT} --input {{folder}}/images --opts MODEL.DYNAMIC.CALIBRATION c.json "
        "MODEL.DYNAMIC.HARD_FRACTION 0.5 MODEL.DYNAMIC.THRESHOLD 0.9",
        TYPED,
        "MODEL.DYNAMIC.THRESHOLD is not read beside MODEL.DYNAMIC.CALIBRATION c.json: give one o",
    ),
    *(
        (
            f"{command} --calibration c.json {opts}MODEL.DYNAMIC.THRESHOLD 0.9 {target} 0.5",
            TYPED,
            f"MODEL.DYNAMIC.THRESHOLD is not read beside {target} 0.5: give one of them",
        )
        for command, opts, target in (
            (f"{PREDICT} --input {{folder}}/images", "--opts ", "MODEL.DYNAMIC.HARD_FRACTION"),
            (f"{PACKAGE} --output {{folder}}/m", "", "MODEL.DYNAMIC.TARGET_LATENCY_MS"),
            (
                f"{PACKAGE.replace('package', 'export')} --format torch --output {{folder}}/m",
                "",
                "MODEL.DYNAMIC.HARD_FRACTION",
            ),
        )
    ),
    *(
        (f"{command} --output s3://bucket/m", TYPED, "/m, an address; it must be a place on this")
        for command in (
            PACKAGE,
            f"{PREDICT.partition(' --output')[0]} --input {{folder}}/images",
            f"{PACKAGE.replace('package', 'export')} --format torch",
        )
    ),
    *(
        (
            f"{command} --threshold 0.5 {opts}{key} 0.9",
            TYPED,
            f"--threshold and {key} both say which images are hard; give one.",
        )
        for command, opts in (
            (f"{PREDICT} --input {{folder}}/images", "--opts "),
            (f"{PACKAGE} --output {{folder}}/m", ""),
        )
        for key in ("MODEL.DYNAMIC.THRESHOLD", "MODEL.DYNAMIC.HARD_FRACTION")
    ),
    (
        f"{PREDICT} --input {{folder}}/images --device cpu --opts MODEL.DEVICE cuda",
        TYPED,
        "--device and MODEL.DEVICE both say where the model runs; give one.",
    ),
    (
        f"{PREDICT} --input {{folder}}/images --device 0",
        TYPED,
        "error: --device is '0', which torch refuses",
    ),
    (
        f"{PREDICT} --input {{folder}}/images --calibration a --hard-fraction 0.5 --opts "
        "MODEL.DYNAMIC.CALIBRATION b",
        TYPED,
        "--calibration and MODEL.DYNAMIC.CALIBRATION both name a file; give one.",
    ),
    *(
        (
            f"{command} MODEL.WEIGHTS {{folder}}/other.pth",
            TYPED,
            "--weights and MODEL.WEIGHTS both name a file; give one.",
        )
        for command in (
            f"{PREDICT} --input {{folder}}/images --opts",
            CALIBRATE,
            f"{PACKAGE} --output {{folder}}/m",
            "export --config-file {folder}/c.yaml --weights w --format onnx --output {folder}/x",
        )
    ),
    (
        "demo --output {folder}/x MODEL.DYNAMIC.THRESHOLD 0.3",
        TYPED,
        "MODEL.DYNAMIC.THRESHOLD is not an override here: the demo calibrates it.",
    ),
    (
        "demo --output {folder}/x SOLVER.MAX_ITER=3",
        TYPED,
        "there is no '=' between them: 'SOLVER.MAX_ITER=3'.",
    ),
    ("demo-photos set.json images --output {folder}/x", TYPED, "error: set.json is no key."),
    (
        "demo-photos --output {folder}/x SOLVER.MAX_ITER SOLVER.BASE_LR 0.1",
        TYPED,
        "Config overrides are KEY VALUE pairs; 'SOLVER.MAX_ITER' has no value.",
    ),
    (
        "export --config-file {folder}/c.yaml --weights {folder}/w.pth --format torch "
        "--output {folder}/x MODEL.INFERENCE.OPTIMIZE True MODEL.INFERENCE.PRECISION bfloat16",
        TYPED,
        "MODEL.INFERENCE.PRECISION is 'bfloat16'; what is exported is float32, and int8 by",
    ),
    ("report {folder} --compare A", TYPED, "--compare A must be NAME,AP,GFLOPS,MS"),
    ("report {folder} --compare A,1,2", TYPED, "--compare A,1,2 must be NAME"),
    ("report {folder} --compare A,x,2,3", TYPED, "has 'x' for a number"),
    ("report {folder} --compare A,nan,2,3", TYPED, "has 'nan' for a number"),
    ("report {folder} --compare ,1,2,3", TYPED, "--compare ,1,2,3 must be NAME"),
    ("report {folder} --compare A,-,2,3", TYPED, "--compare A,-,2,3 has no AP"),
    ("report {folder} --compare gone.json", TYPED, "gone.json cannot be read"),
    ("report {folder}/text.json --compare A,1,2,3", TYPED, "text.json is a calibration."),
    (
        f"{CALIBRATE} --hard-fraction 2",
        TYPED,
        "--hard-fraction is 2; it must lie in [0, 1].",
    ),
    (f"{CALIBRATE} -hard-fraction 0.5", TYPED, "-hard-fraction has one dash; the option is --hard"),
    (f"{CALIBRATE} -hard-fraction=0.5", TYPED, "-hard-fraction has one dash; the option is --hard"),
    *(
        (
            f"train {dashes}config-file x",
            TYPED,
            f"{dashes}config-file begins with other dashes; the",
        )
        for dashes in ("\u2013", "\u2014", "\u2013\u2013", "\u2212-", "---")
    ),
    ("report -help", TYPED, "-help has one dash; the option is --help."),
    (f"{PREDICT} --input -x.jpg", TYPED, "--input: '-x.jpg' begins with a dash, as options do; -"),
    ("cost --config-file -c.yaml", TYPED, "as options do; --config-file=-c.yaml gives it."),
    ("predict --input x --opts -- SEED 1", TYPED, "'--' stands before config overrides, which"),
    (
        f"{CALIBRATE} --target-p95-latency-ms 9 --confidence 0.9 --mode finite --share 0.2",
        TYPED,
        "--share is 0.05 by --target-p95-latency-ms, and no other one.",
    ),
    *(
        (
            f"{CALIBRATE} MODEL.DYNAMIC.{key}",
            TYPED,
            f"MODEL.DYNAMIC.{key.split()[0]} would not be r",
        )
        for key in ("THRESHOLD 0.7", "HARD_FRACTION 0.3", "TARGET_LATENCY_MS 30", "CALIBRATION c")
    ),
    *(
        (f"{CALIBRATE} {key}", TYPED, f"{key.split()[0]} would not be read: it is for 'train' and")
        for key in ("TEST.DYNAMIC.INPUT_SIZES [64]", "TEST.AUG.ENABLED True")
    ),
    *(
        (f"{command} OUTPUT_DIR x", TYPED, "OUTPUT_DIR would not be read: --output says where to")
        for command in (CALIBRATE, f"{PREDICT} --input {{folder}}/images --opts")
    ),
    *(
        (f"{command} {key}", TYPED, f"{key.split()[0]} would not be read: it is for 'train' and")
        for command in (
            f"{PREDICT} --input {{folder}}/images --opts",
            f"{PACKAGE} --output {{folder}}/m",
            "export --config-file {folder}/c.yaml --weights w --format onnx --output {folder}/x",
        )
        for key in ("TEST.AUG.ENABLED True", "TEST.DYNAMIC.HARD_FRACTIONS [0.5]")
    ),
    (
        "check-export --folder {folder} --config-file {folder}/c.yaml --weights w "
        "TEST.DYNAMIC.PLAN.PRECISIONS ['float32']",
        TYPED,
        "PLAN.PRECISIONS would not be read: it is for 'dynamicdet calibrate --plan'.",
    ),
    *(
        (
            f"{command} TEST.DYNAMIC.PLAN.EASY_PROPOSALS [20]",
            TYPED,
            "EASY_PROPOSALS would not be read: it is for 'dynamicdet calibrate --plan'.",
        )
        for command in (f"{CALIBRATE} --max-ap-drop 2", "eval --config-file {folder}/c.yaml", COST)
    ),
    (
        f"{CALIBRATE} DATASETS.TEST (own,)",
        TYPED,
        "DATASETS.TEST is '(own,)'; it must be a list, with words in quotes: ['a', 'b'].",
    ),
    (
        f"{CALIBRATE} --plan --max-ap-drop 1 TEST.DYNAMIC.PLAN.PRECISIONS [bfloat16]",
        TYPED,
        "PRECISIONS is '[bfloat16]'; it must be a list, with words in quotes",
    ),
    (
        f"{PACKAGE} --output {{folder}}/m --calibration c.json",
        TYPED,
        "--calibration c.json sets no threshold by itself, whatever target it was made for: give ",
    ),
    (
        f"{PACKAGE} --output {{folder}}/m --calibration gone.json --hard-fraction 0.5",
        TYPED,
        "gone.json cannot be read: No such file or directory; MODEL.DYNAMIC.CALIBRATION is "
        f"{os.getcwd()}/gone.json.",
    ),
    ("report --compare A,1,2,3 {folder}", TYPED, "path; it stands before --compare, which takes"),
    (
        "cost --config-file {folder}/keys.json",
        TYPED,
        "keys.json is no config: none of its 4 keys is known.",
    ),
    (f"{CALIBRATE} --hard-fraction nan", TYPED, "--hard-fraction is nan; it must lie in [0, 1]."),
    (f"{CALIBRATE} --target-latency-ms -1", TYPED, "latency-ms is -1; it must be a number at"),
    (f"{CALIBRATE} --target-gflops x", TYPED, "--target-gflops: invalid float value: 'x'"),
    (f"{CALIBRATE} --target-latency-ms 40ms", TYPED, "'40ms'; a number such as 40 or 0.5, with a"),
    (f"{CALIBRATE} --hard-fraction 50%", TYPED, "'50%'; a number such as 40 or 0.5, with a point"),
    (f"{CALIBRATE} --max-ap-drop 0,5", TYPED, "with a point and without a unit or %, is needed."),
    (f"{CALIBRATE} --num-images 1,000", TYPED, "'1,000'; a whole number such as 40, in digits"),
    (f"{CALIBRATE} --max-ap-drop 200", TYPED, "--max-ap-drop is 200; it must lie in [0, 100]"),
    (f"{CALIBRATE} --hard-fraction 0 --max-ap-drop 0", TYPED, "not allowed with argument"),
    (f"{CALIBRATE} --num-images 0", TYPED, "of own is 0; it must be a whole number in [1, 1]."),
    (f"{CALIBRATE} --num-images 9", TYPED, "of own is 9; it must be a whole number in [1, 1]."),
    (f"{CALIBRATE} --output {{folder}}", TYPED, "must be a file in a folder"),
    (f"{CALIBRATE} --output {{folder}}/text.txt/c.json", TYPED, "text.txt, which is no folder."),
    (
        "check-export --folder x --config-file x --output {folder}/text.txt/c.json",
        TYPED,
        "must be a file in a folder that is there and can be written to.",
    ),
    (
        f"{CALIBRATE} --output {{folder}}/packed/calibration.json",
        TYPED,
        "packed/calibration.json, of which the manifest.json beside it has the hash, so that the",
    ),
    (f"{CALIBRATE} --output -", TYPED, "--output '-' names no file."),
    (f"{CALIBRATE} --output {'x' * 256}", TYPED, f"names no file{LONGER}"),
    (
        f"{PREDICT} --input {{folder}}/images --output {'é' * 128}",
        TYPED,
        f"names no folder{LONGER}",
    ),
    *(
        (f"{command} --output {{folder}}/n{ending}", TYPED, f"n{ending} has the name of a file (")
        for command, ending in (
            (PACKAGE, ".pth"),
            (f"{PREDICT.partition(' --output')[0]} --input {{folder}}/images", ".mp4"),
            (f"{PACKAGE.replace('package', 'export')} --format torch", ".ONNX"),
        )
    ),
    (
        f"{PREDICT} --input {{folder}}/images --opts MODEL.DYNAMIC.merge_exits_iou 0.6",
        TYPED,
        "merge_exits_iou is no key. The nearest is 'MODEL.DYNAMIC.MERGE_EXITS_IOU'.",
    ),
    (f"{CALIBRATE} --output {{folder}}/gone/c.json", TYPED, "gone, which is no folder."),
    (f"{CALIBRATE} --output {{folder}}/c.png", TYPED, "c.png has the name of a picture"),
    (f"{CALIBRATE} --output {{folder}}/pipe", TYPED, "pipe, which is no ordinary file"),
    (f"{CALIBRATE} DATASETS.TEST ()", TYPED, "DATASETS.TEST names no data set to calibrate on."),
    (
        f"{CALIBRATE} DATASETS.TEST ('x',)",
        TYPED,
        "DATASETS.TEST names 'x', which is not registered",
    ),
    (f"{CALIBRATE} TEST.DYNAMIC.LATENCY_IMAGES 0", TYPED, "TEST.DYNAMIC.LATENCY_IMAGES is 0"),
    (
        "calibrate --config-file {folder}/c.yaml --weights gone",
        TYPED,
        "--weights gone does not exist",
    ),
    (f"{PREDICT} --input gone.jpg", TYPED, "--input gone.jpg does not exist."),
    (f"{PREDICT} --input {{folder}}/empty", TYPED, "empty has no images"),
    (f"{PREDICT} --input {{folder}}/pipe", TYPED, "--input {folder}/pipe is a pipe or a device"),
    (f"{PREDICT} --input {{folder}}/broken.jpg", TYPED, "broken.jpg cannot be read"),
    (f"{PREDICT} --input {{folder}}/deep.png", TYPED, "deep.png has more than 8 bits"),
    (f"{PREDICT} --input {{folder}}/bomb.png", TYPED, "bomb.png cannot be read: Decomp"),
    (f"{PREDICT} --input {{folder}}/images --confidence-threshold nan", TYPED, "threshold is nan"),
    (f"{PREDICT} --input {{folder}}/images --confidence-threshold x", TYPED, "invalid float value"),
    (f"{PREDICT} --input {{folder}}/images --weights {{folder}}/text.txt", TYPED, "text.txt is no"),
    (f"{PREDICT} --input {{folder}}/images --weights {{folder}}/pipe", TYPED, "a device or pipe"),
    (f"{PREDICT} --input {{folder}}/images --output {{folder}}/text.txt", TYPED, "text.txt has"),
    (f"{PREDICT} --input {{folder}}/images --output {{folder}}/images", TYPED, "would be replaced"),
    (
        f"{PREDICT} --input {{folder}}/images --opts MODEL.DEVICE gpu",
        TYPED,
        "MODEL.DEVICE is 'gpu'",
    ),
    (f"{PREDICT} --input {{folder}}/images --opts INPUT.FORMAT HSV", TYPED, "FORMAT is 'HSV'"),
    (f"{PREDICT} --input {{folder}}/images --opts MODEL.FPN.OUT_CHANNELS 8", TYPED, "w.pth leaves"),
    (f"{PREDICT} --input {{folder}}/images --batch-size x", TYPED, "invalid int value: 'x'"),
    (
        f"{PREDICT} --input {{folder}}/images --threshold nan",
        TYPED,
        "--threshold is nan; it must lie in",
    ),
    (f"{PREDICT} --input {{folder}}/images --threshold 0 --hard-fraction 0", TYPED, "not allowed"),
    (f"{PREDICT} --input {{folder}}/images --threshold 0 --calibration x", TYPED, "needs none."),
    (
        f"{PREDICT} --opts MODEL.DEVICE cpu --input {{folder}}/images",
        TYPED,
        "--input stands behind config overrides, which begin with '--opts'; options stand before",
    ),
    (
        "import-data --yolo {folder} --output {folder} --classes {folder}/text.txt",
        TYPED,
        "--classes {folder}/text.txt is a file; the names themselves are needed.",
    ),
    *(
        (
            f"import-data --yolo {{folder}} --output {{folder}} --classes {names}",
            TYPED,
            f"--classes {names} is the name of one class; several are given as words: A B C.",
        )
        for names in ("a,b", "a;b")
    ),
    (f"{CHECK} --num-classes 0", 0, "No errors."),
    (f"{PREDICT} --input {{folder}}/images --coco-ids=", TYPED, "error: --coco-ids is empty."),
    ("predict --config-file= --input {folder}/images", TYPED, "--config-file is empty."),
    ("cost --config-file=", TYPED, "--config-file is empty."),
    ("calibrate --config-file x --weights=", TYPED, "--weights is empty."),
    ("upgrade --config-file x --weights y --output z --images=", TYPED, "--images has a word"),
    ("package --config-file x --output y --calibration=", TYPED, "--calibration is empty."),
    ("predict --config-file x --input y --calibration=", TYPED, "--calibration is empty."),
    (
        f"{PREDICT} --input {{folder}}/images --percentile nan",
        TYPED,
        "--percentile is nan; it must be",
    ),
    (
        f"{PREDICT} --input {{folder}}/images --hard-fraction 0 --calibration {{folder}}/pipe",
        TYPED,
        "pipe is a pipe or a device",
    ),
    (f"{PREDICT} --input {{folder}}/images --coco-ids {{folder}}/text.txt", TYPED, "is not JSON"),
    (f"{PREDICT} --input {{folder}}/*.gif", TYPED, "matches no image and no video."),
    (f"{PREDICT} --input {{folder}}/w.pth/x.mp4", TYPED, "x.mp4 does not exist."),
    ("predict --input {folder}/images", TYPED, "one of the arguments --model --config-file"),
    (
        "predict --model {folder} --input {folder}/images",
        TYPED,
        "{folder} is no model folder: it has no manifest.json, which 'dynamicdet package' writes.",
    ),
    ("predict --model {folder}/pipe --input {folder}/images", TYPED, "pipe is no model folder"),
    (f"{PACKAGE} --output {{folder}}", TYPED, "it must be a new or empty folder."),
    (f"{PACKAGE} --output {{folder}}/text.txt/x", FAILED, "text.txt"),
    (f"{PACKAGE} --output {{folder}}/m --class-names {{folder}}/w.pth", TYPED, "not a JSON file"),
    ("package --config-file {folder}/c.yaml --output {folder}/m", TYPED, "There are no weights"),
    (
        "upgrade --config-file /dev/null --weights w --output {folder}/up",
        TYPED,
        "--config-file /dev/null is no file, nor the name of one in Detectron2's model zoo.",
    ),
    (
        "upgrade --config-file COCO-Detection/fcos_R_50_FPN_1x.py --weights w --output {folder}/up",
        TYPED,
        "fcos_R_50_FPN_1x.py is Python, which is not run; it must be a yaml file.",
    ),
    (
        "upgrade --config-file COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --weights w --output "
        "{folder}/up --opts MODEL.DEVICE cpu SOLVER.PHASES ('detectors','router')",
        TYPED,
        "SOLVER.PHASES is ['detectors', 'router']; an upgrade leaves detector1 as it is",
    ),
    (
        "upgrade --config-file c --weights w --output {folder}/up --prove-only --num-gpus -3",
        TYPED,
        "--num-gpus is -3; it must be at least 1.",
    ),
    (
        "cost --config-file configs/dy_yolov7.yaml --num-proposals 7",
        TYPED,
        "--num-proposals is 7; a DynamicYOLO has none.",
    ),
    (
        f"{COST} INPUT.MIN_SIZE_TEST 400",
        TYPED,
        "INPUT.MIN_SIZE_TEST would not be read: here --height and --width say it.",
    ),
    (
        f"{COST} --num-proposals 7 MODEL.RPN.POST_NMS_TOPK_TEST 20",
        TYPED,
        "MODEL.RPN.POST_NMS_TOPK_TEST and --num-proposals say the same: give one of them.",
    ),
    *(
        (
            f"upgrade --config-file c --weights w --output {{folder}}/up --opts {key} x",
            TYPED,
            f"{key} and {option} say the same; {option} alone is read.",
        )
        for key, option in (("OUTPUT_DIR", "--output"), ("MODEL.WEIGHTS", "--weights"))
    ),
    *(
        (f"train --config-file configs/{config}.yaml {key} {value}", TYPED, f"{key} would not be")
        for config, key, value in (
            ("dy_retinanet_R_50_FPN_1x", "MODEL.MASK_ON", "True"),
            ("retinanet_R_50_FPN_1x", "MODEL.KEYPOINT_ON", "True"),
            ("dy_fcos_R_50_FPN_1x", "MODEL.ANCHOR_GENERATOR.SIZES", "[[16]]"),
            ("fcos_R_50_FPN_1x", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[1.0]]"),
            ("dy_retinanet_R_50_FPN_1x", "MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "(0.5,)"),
            ("dy_retinanet_R_50_FPN_1x", "SOLVER.ROUTER.LOSS_PROPOSALS", "64"),
            ("quickstart_yolo", "MODEL.COMPOSITE.SHARE_NECK", "False"),
            ("quickstart_yolo", "MODEL.COMPOSITE.SHARE_HEADS", "False"),
            ("dy_mask_rcnn_swin_T_FPN_3x", "MODEL.COMPOSITE.NORM", "SyncBN"),
            ("dy_yolov7_w6", "MODEL.YOLO.AUXILIARY", "True"),
            ("dy_yolov7", "INPUT.MIN_SIZE_TRAIN", "(448,)"),
            ("dy_yolov7", "DATALOADER.ASPECT_RATIO_GROUPING", "True"),
            ("faster_rcnn_R_50_FPN_1x", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING", "True"),
            ("faster_rcnn_R_50_FPN_1x", "MODEL.FPN.TOP_BLOCK", "p6p7"),
            ("faster_rcnn_R_50_FPN_1x", "TEST.DYNAMIC.INPUT_SIZES", "[400]"),
            ("quickstart", "MODEL.FPN.TOP_BLOCK_INPUT", "res5"),
            ("quickstart", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "5"),
            ("quickstart", "SOLVER.WARMUP_FACTOR", "0.1"),
            ("quickstart", "SOLVER.WARMUP_BIAS_LR", "0.1"),
            ("quickstart", "DATASETS.PROPOSAL_FILES_TRAIN", "('x.pkl',)"),
            ("quickstart", "TEST.KEYPOINT_OKS_SIGMAS", "[0.1]"),
        )
    ),
    ("train --config-file", TYPED, "--config-file: expected one argument"),
    (
        "train SEED 1 --config-file c.yaml",
        TYPED,
        "--config-file stands behind config overrides, which begin with 'SEED'; options stand",
    ),
    (
        "train --resume out --config-file c.yaml",
        TYPED,
        "overrides, which begin with 'out'; options",
    ),
    (f"{TRAIN} SEED=1", TYPED, "KEY VALUE pairs; there is no '=' between them: 'SEED=1'."),
    (f"{TRAIN} SEED = 1", TYPED, "KEY VALUE pairs; there is no '=' between them: 'SEED = 1'."),
    (
        f"{TRAIN} SEED 1 -h",
        TYPED,
        "-h stands behind config overrides, which begin with 'SEED'; opt",
    ),
    (f"{TRAIN} --output x", TYPED, "There is no option --output. The key OUTPUT_DIR says it."),
    ("cost --config-file c.yaml --output x", TYPED, "error: There is no option --output.\n"),
    ("train MODEL.DYNAMIC.THRESHOLD 0.3", TYPED, "no config: name a file with --config-file."),
    (
        f"{TRAIN} --eval-only --resume MODEL.WEIGHTS {{folder}}/w.pth",
        TYPED,
        "and MODEL.WEIGHTS names another file: give one of them.",
    ),
    (f"{TRAIN} --resume True SEED 1", TYPED, "'True' stands in the place of a key."),
    (f"{TRAIN} SEED SOLVER.MAX_ITER 5", TYPED, "pairs; 'SEED' has no value."),
    (f"{TRAIN} SOLVER.MAX_ITER 5 --resume", TYPED, "--resume stands behind config overrides"),
    (f"{TRAIN} --num-gpus 100000", TYPED, "on this CPU it must be at most"),
    ("train --num-gpus x", TYPED, "--num-gpus: invalid int value: 'x'"),
    *(
        (
            f"{MOVED} {options}",
            TYPED,
            "moved/config.yaml lies beside a last_checkpoint, but its OUTPUT_DIR is /gone: type "
            f"behind the options which folder {purpose}, OUTPUT_DIR {{folder}}/moved or",
        )
        for options, purpose in (
            ("--resume", "--resume goes on in"),
            ("--resume --eval-only", "--resume goes on in"),
            ("--resume SEED 1", "--resume goes on in"),
            ("--eval-only SEED 1", "the evaluation is written to"),
        )
    ),
    (f"{TRAIN} --gone", TYPED, "unrecognized arguments: --gone"),
    (f"{TRAIN} --eval_only", TYPED, "no option --eval_only. The nearest is --eval-only.\n"),
    (f"{TRAIN} --Resume --num-gpus 1", TYPED, "no option --Resume. The nearest is --resume.\n"),
    (f"{TRAIN} --num_gpus=2", TYPED, "no option --num_gpus. The nearest is --num-gpus.\n"),
    (f"{TRAIN} --opts SEED 1", TYPED, "no option --opts: keys stand behind the options, alone."),
    ("upgrade --prove_only", TYPED, "no option --prove_only. The nearest is --prove-only.\n"),
    (f"{TRAIN} SOLVER.MAX_ITER", TYPED, "'SOLVER.MAX_ITER' has no value."),
    (f"{TRAIN} -- SOLVER.MAX_ITER 5", TYPED, "'--' stands before config overrides, which need no"),
    (f"{TRAIN} -- SEED", TYPED, "'--' stands before config overrides, which need no mark"),
    (f"{TRAIN} DATASETS.TRAIN ('gone',)", TYPED, "DATASETS.TRAIN names 'gone'"),
    (f"{TRAIN} MODEL.DEVICE cuda:77", TYPED, "MODEL.DEVICE is 'cuda:77'"),
    (f"{TRAIN} OUTPUT_DIR {{folder}}/text.txt", TYPED, "text.txt', which is a file"),
    (
        f"{TRAIN} OUTPUT_DIR /dev/null",
        TYPED,
        "OUTPUT_DIR is '/dev/null', which is a pipe or a device;",
    ),
    ("eval --config-file {folder}/text.json", TYPED, "text.json holds 'hello'"),
    ("doctor --gone", TYPED, "unrecognized arguments: --gone"),
    (
        "export --model m --format torch --output {folder}/x",
        TYPED,
        "error: There is no option --model.\n",
    ),
    (
        "export --wieghts w.pth --format torch",
        TYPED,
        "There is no option --wieghts. The nearest is",
    ),
    *(
        (
            f"calibrate --config-file c.yaml --weights w.pth {typed} 3",
            TYPED,
            f"There is no option {typed}. The nearest is {nearest}.\n",
        )
        for typed, nearest in (
            ("--target-ms", "--target-latency-ms"),
            ("--latency-ms", "--target-latency-ms"),
            ("--images", "--num-images"),
            ("--max-drops", "--max-ap-drop"),
        )
    ),
    ("eval --config-file c.yaml --weights w.pth", TYPED, "The key MODEL.WEIGHTS says it."),
    (
        "export --hard-fraction 0.5 --format torch",
        TYPED,
        "error: There is no option --hard-fraction. The key MODEL.DYNAMIC.HARD_FRACTION says it.",
    ),
    *(
        (
            f"{command} --config-file c.yaml SEED 1 MODEL.DEVICE cpu --output {{folder}}/m",
            TYPED,
            "--output stands behind config overrides, which begin with 'SEED'; options stand befor",
        )
        for command in ("package", "export")
    ),
    (
        f"{PREDICT} --input {{folder}}/images --threshold 1.0000001",
        TYPED,
        "--threshold is 1.0000001; it must lie in [0, 1].",
    ),
    (
        f"{PREDICT} --input {{folder}}/images TEST.DETECTIONS_PER_IMAGE 5",
        TYPED,
        "error: TEST.DETECTIONS_PER_IMAGE is a key, and here keys stand behind --opts.",
    ),
    (f"{PREDICT} --input {{folder}}/images --threshold -1e-3", TYPED, "--threshold is -0.001; it"),
    (f"{CALIBRATE} --max-ap-drop -inf", TYPED, "--max-ap-drop is -inf; it must lie in [0, 100]"),
    ("draw-shapes --output= --num-images 1", TYPED, "error: --output is empty."),
    ("draw-shapes --output s3://b/x --num-images 1", TYPED, "an address; it must be a place on t"),
    (
        "draw-shapes --output $HOME/x --num-images 1",
        TYPED,
        "$HOME is part of its name, as no s",
    ),
    ("draw-shapes --output x --num-images 99999999", TYPED, "sets have at most 10000000 images;"),
    (
        f"{PREDICT} --input {{folder}}/images --opts SEED 1 --threshold 1",
        TYPED,
        "--threshold stands",
    ),
    (f"{CALIBRATE} SEED 1 --hard-fraction 1", TYPED, "--hard-fraction stands behind config"),
    (f"{PREDICT} --input gone.jpg --input {{folder}}/images", TYPED, "gone.jpg does not exist."),
    ("import-data --yolo {folder} --output {folder} --classes a --classes a", TYPED, "'a' twice"),
]


@pytest.mark.parametrize(
    "words",
    [
        ["draw-shapes", "--num-images", "1", "--output", "{folder}/drawn\r"],
        ["check-data", "--images", "{folder}/data/images", "--json", "{folder}/data/set.json\r"],
        ["train", "--config-file", "{folder}/c.yaml", "OUTPUT_DIR", "{folder}/run\r"],
        ["cost", "--config-file={folder}/c.yaml\r"],
        ["replay", "diverged.pth\n"],
    ],
)
def test_lines_that_were_written_on_windows(
    toy: SimpleNamespace, capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    """A script of a shell gives the end of its line to the last word."""
    words = [word.format(folder=toy.folder) for word in words]
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err
    assert stop.value.code == TYPED and said.count("\n") == 1 and "\r" not in said
    assert f"error: {words[-1]!r} ends with the end of a line" in said
    assert not list(toy.folder.glob("*\r"))


def test_an_option_and_its_value_in_one_pair_of_quotes(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["calibrate", "--config-file", "c.yaml", "--weights w.pth"])
    said = "'--weights w.pth' is one word; an option and its value are two: --weights w.pth.\n"
    assert stop.value.code == TYPED and capsys.readouterr().err.endswith(f"error: {said}")


def test_an_empty_file_is_called_as_help_calls_it(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["replay", ""])
    assert stop.value.code == TYPED and capsys.readouterr().err.endswith("error: FILE is empty.\n")


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("typed", "status", "says"), CASES)
def test_a_command_line(
    toy: SimpleNamespace, capsys: pytest.CaptureFixture, typed: str, status: int, says: str
) -> None:
    words = [word.format(folder=toy.folder) for word in typed.split()]
    with clean_catalogs():
        try:
            found = main(words)
        except SystemExit as stop:
            found = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert found == status
    assert says.format(folder=toy.folder) in (err or out)
    assert "Traceback" not in err
    # argparse shows the usage before its sentence; ours stand alone.
    last = err.strip().splitlines()[-1:]
    assert out if not last else last[0].startswith("dynamicdet")
