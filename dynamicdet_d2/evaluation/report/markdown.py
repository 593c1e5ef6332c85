# SPDX-License-Identifier: Apache-2.0
"""tradeoff.md: the whole report as Markdown, which reads as plain text too."""

from dynamicdet_d2.evaluation.report.glossary import GLOSSARY
from dynamicdet_d2.evaluation.report.measured import measured
from dynamicdet_d2.evaluation.report.tables import (
    Table,
    detail_tables,
    markdown_table,
    points_table,
    use_tables,
)
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff


def markdown_report(tradeoff: Tradeoff) -> str:
    """Verdict, tables, and how the figures were taken."""
    sections = [
        f"# Accuracy and cost on {' '.join(tradeoff.dataset.splitlines())}",
        tradeoff.verdict,
        "\n".join(f"- **Warning.** {warning}" for warning in tradeoff.warnings),
        "![AP against cost](tradeoff.png)",
        *(_untitled(points_table(tradeoff, task)) for task in tradeoff.tasks),
        *map(_section, use_tables(tradeoff)),
        *map(_section, detail_tables(tradeoff)),
        "## Words",
        "\n".join(f"- **{word}**: {meaning}" for word, meaning in GLOSSARY.items()),
        "## How this was measured",
        "\n".join(f"- {line}" for line in measured(tradeoff)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(table: Table) -> str:
    return f"## {table.title}\n\n{_untitled(table)}"


def _untitled(table: Table) -> str:
    return "\n\n".join(part for part in (table.note, markdown_table(table)) if part)
