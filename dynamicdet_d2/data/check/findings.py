# SPDX-License-Identifier: Apache-2.0
"""What the check of a data set found: counted by kind, with a few sentences of each kind kept."""

import itertools
from collections import Counter
from dataclasses import dataclass, field

_KEPT_PER_KIND = 5


class Findings:
    """Counts findings of each kind and keeps the first sentences of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sentences: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, kind: str, sentence: str) -> None:
        """Adds one finding. ``kind`` reads well after a number: "duplicate ids"."""
        self.counts[kind] += 1
        kept = self._sentences.setdefault(kind, [])
        if len(kept) < _KEPT_PER_KIND:
            kept.append(sentence)

    def update(self, other: "Findings") -> None:
        """Takes over the findings of another collection."""
        self.counts.update(other.counts)
        for kind, sentences in other._sentences.items():
            kept = self._sentences.setdefault(kind, [])
            kept.extend(sentences[: _KEPT_PER_KIND - len(kept)])

    def lines(self, limit: int = 5) -> list[str]:
        """At most ``limit`` sentences, every kind in turn, then one line that counts the rest."""
        by_turns = itertools.zip_longest(*self._sentences.values())
        chosen = [
            (kind, sentence)
            for turn in by_turns
            for kind, sentence in zip(self._sentences, turn, strict=True)
            if sentence is not None
        ][:limit]
        rest = self.counts - Counter(kind for kind, _ in chosen)
        lines = [sentence for _, sentence in chosen]
        if rest:
            listed = ", ".join(f"{count} {kind}" for kind, count in rest.items())
            lines.append(f"... and {rest.total()} more ({listed}).")
        return lines


@dataclass
class DatasetReport:
    """The check of one data set.

    ``errors``: what makes training or evaluation wrong or stops it. ``warnings``: what works, but
    should be known. ``class_names`` are in the order of Detectron2's contiguous ids, ``files`` the
    paths of the images.
    """

    name: str
    json_file: str
    class_names: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    num_images: int = 0
    num_annotations: int = 0
    errors: Findings = field(default_factory=Findings)
    warnings: Findings = field(default_factory=Findings)

    def summary(self) -> str:
        """One line with the sizes."""
        return (
            f"Data set '{self.name}' ({self.json_file}): {self.num_images} images, "
            f"{self.num_annotations} annotations, {len(self.class_names)} classes."
        )

    def error_text(self, limit: int = 5) -> str:
        """The first errors, one a line, and the number of the others."""
        return "\n".join(
            [f"Data set '{self.name}' ({self.json_file}) has {len(self.errors)} error(s):"]
            + [f"  - {line}" for line in self.errors.lines(limit)]
        )

    def text(self) -> str:
        """All of the report, for people."""
        parts = [self.summary()]
        parts += [f"  warning: {line}" for line in self.warnings.lines(limit=20)]
        parts.append(self.error_text(limit=20) if self.errors else "No errors.")
        return "\n".join(parts) + "\n"

    def raise_errors(self) -> None:
        """Raises one ValueError that names the first errors, if there are any."""
        if self.errors:
            raise ValueError(self.error_text())
