# SPDX-License-Identifier: Apache-2.0
"""tradeoff.md: the whole report as Markdown, which reads as plain text too."""

from dynamicdet_d2.evaluation.report.measured import measured
from dynamicdet_d2.evaluation.report.tables import (
    Table,
    detail_tables,
    markdown_table,
    points_table,
)
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff


def markdown_report(tradeoff: Tradeoff) -> str:
    """Verdict, tables, and how the figures were taken."""
    sections = [
        f"# Accuracy and cost on {' '.join(tradeoff.dataset.splitlines())}",
        tradeoff.verdict,
        "\n".join(f"- **Warning.** {warning}" for warning in tradeoff.warnings),
        "![AP against cost](tradeoff.png)",
        *(markdown_table(points_table(tradeoff, task)) for task in tradeoff.tasks),
        *map(_section, detail_tables(tradeoff)),
        "## How this was measured",
        "\n".join(f"- {line}" for line in measured(tradeoff)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(table: Table) -> str:
    parts = (f"## {table.title}", table.note, markdown_table(table))
    return "\n\n".join(part for part in parts if part)
