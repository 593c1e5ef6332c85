# SPDX-License-Identifier: Apache-2.0
"""The words of a report, for readers who have nothing else."""

from dynamicdet_d2.evaluation.tradeoff.verdict import TIE

GLOSSARY = {
    "detector1, detector2": "The two exits. Detector1 is backbone 1 with its neck and heads; "
    "detector2 adds the connections and backbone 2.",
    "difficulty": "What the router says of an image: a number between 0 and 1, 1 = hard. It orders "
    "the images; it is no probability.",
    "threshold": "An image takes the hard route, through detector2, iff its difficulty is above "
    "the threshold; otherwise the easy one, through detector1.",
    "hard fraction": "The share of images on the hard route. What was asked for stands at the "
    "beginning of a row, what came out under “realised”.",
    "all easy, all hard": "The two ends: every image through detector1 (threshold 1), or through "
    "detector2 (threshold 0).",
    "gain": "Of an image: what detector2 instead of detector1 adds to the AP of the whole data "
    "set, to first order, in points of AP. It is not the difference of the image's own AP: a "
    "false detection costs precision at all detections of its class below it, in whatever image.",
    "random routing": "As many hard images as the router has, drawn by chance. A router is worth "
    "something as far as it is above.",
    "oracle": "As many hard images, those with the largest gain. It looks at the ground truth, so "
    "that no router can be expected to reach it.",
    "share of oracle's gain": "The router's lead over random routing as a part of the oracle's; "
    "1 = all of it.",
    "sent the wrong way": "An image on the easy route with a gain above 0, or on the hard route "
    "with a gain below 0.",
    "loss gap": "L1 - L2 of an image: detector1's training loss less detector2's.",
    "loss offset": "The median loss gap of the training images (the paper's Delta). Training "
    "pushes images with a larger gap towards hard.",
    "AP": "COCO's average precision in percent: the mean over classes and over the IoU thresholds "
    "0.5, 0.55, ..., 0.95. AP50 and AP75 are at one of them; APs, APm and APl are of small, medium "
    "and large objects.",
    "GFLOPs": "10^9 multiply-adds per image, the mean over the images.",
    "tie": f"Two latencies that differ by less than {TIE:.0%}: timings move about as much from run "
    "to run, so that which of them is faster is not known.",
}
