"""A kind of report section: a line a model without axes, and its highest value."""

from html import escape

from crucibench.contracts.section import PlotBlock, SectionKind, TableBlock


class Sparkline(SectionKind):
    """A line a model without axes, and its highest value."""

    name = "sparkline"

    def blocks(self, section, evidence):
        lines, rows = [], []
        for cell, frame in evidence.tables(section):
            values = frame[section.y].dropna()
            points = " ".join(f"{at},{20 - 20 * value:.1f}" for at, value in enumerate(values))
            svg = f'<svg viewBox="0 0 40 20"><title>{escape(cell.model)}</title>'
            svg += f'<polyline points="{points}"/></svg>'
            alt = f"{cell.model}: {len(values)} values up to {values.max():.2f}"
            lines.append(PlotBlock(svg=svg, alt=alt, caption=f"{cell.model}, {cell.scenario}"))
            rows.append([cell.model, cell.scenario, values.max()])
        if not lines:
            return []
        return [*lines, TableBlock(caption="Highest", columns=["model", "of", "value"], rows=rows)]
