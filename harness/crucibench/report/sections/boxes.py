"""Images with boxes, true beside found, the worst of each model first."""

from __future__ import annotations

from crucibench.contracts.section import Block, Section
from crucibench.contracts.task import Modality
from crucibench.report.page import Gallery, ShownSample, Version
from crucibench.report.sections import PageEvidence, PageSection
from crucibench.report.sections.gallery import picture, within_room
from crucibench.util.text import shorten, visible

_SIDE = 160
"""CSS pixels of a picture's longer side, about."""


class BoxedImages(PageSection):
    """Shows the images that a cell kept."""

    name = "boxes"
    optional = True

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        blocks: list[Block] = []
        images = evidence.task is not None and evidence.task.modality is Modality.IMAGE
        for cell in evidence.cells(section.scenario):
            frame = cell.examples()
            if frame is None:
                continue
            samples = []
            for _, rows in frame.groupby("id", sort=False):
                versions = []
                for line in rows.to_dict("records"):
                    words = shorten(visible(str(line["by"])), 80)
                    alt = f"Boxes {line['point']}: {words}"
                    shown = [picture(line["content"], alt, side=_SIDE)] if images else []
                    versions.append(Version(title=str(line["point"]), answer=words, pictures=shown))
                share = 100 * float(rows["score"].iloc[0])
                samples.append(
                    ShownSample(
                        scenario="", target=versions[0].answer, versions=versions,
                        alike=f"{share:.0f} % of its objects found, mean over IoU thresholds.",
                    )
                )  # fmt: skip
            blocks.append(
                Gallery(
                    head=evidence.head(cell.model), caption=section.title,
                    samples=within_room(samples), folded=bool(blocks),
                )
            )  # fmt: skip
        return blocks
