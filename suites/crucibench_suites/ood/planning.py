"""Which cells the suite asks for."""

from __future__ import annotations

from crucibench.contracts.capability import Capability
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import SuiteRequest
from crucibench_suites.ood.config import OODConfig
from crucibench_suites.ood.detection import Detection
from crucibench_suites.ood.detectors import detector, names
from crucibench_suites.ood.detectors.odin import ODIN, SIZES
from crucibench_suites.ood.generated import Generated, Steps, parameters_of
from crucibench_suites.ood.head import LinearHead
from crucibench_suites.ood.inputs import Inputs
from crucibench_suites.ood.moments import TrainMoments
from crucibench_suites.ood.sets import Detectors, Headline, Sets
from crucibench_suites.ood.sources import OODSet


def plan(
    config: OODConfig, request: SuiteRequest, sets: tuple[OODSet, ...]
) -> tuple[Scenario, ...]:
    """Returns the suite's scenarios for one model on one data set.

    Args:
        config: the settings.
        request: the model and the data.
        sets: the OOD sets, at least one of them near or far.
    """
    share = float(config.kept_apart)
    wanted = names() if config.detectors is None else tuple(dict.fromkeys(config.detectors))
    entries = {name: detector(name) for name in wanted}
    capabilities = request.model.capabilities
    features = Capability.FEATURES in capabilities and any(
        Capability.FEATURES in entry.requires for entry in entries.values()
    )
    found: list[Scenario] = [Inputs(name="inputs/test")]
    for one in sets:
        if one.generated:
            parameters = parameters_of(one, share, features=features)
            found.append(
                Generated(
                    name=one.address, ood=one, share=share, features=features, parameters=parameters
                )
            )
        else:
            found.append(Inputs(name=f"inputs/{one.address}", role=one.role))
    uses = {part for entry in entries.values() for part in entry.uses}
    # Where the model can't give what these need, the detectors say so themselves.
    if "head" in uses and LinearHead.requires <= capabilities:
        found.append(LinearHead())
    if "moments" in uses and TrainMoments.requires <= capabilities:
        found.append(TrainMoments())
    if "odin" in entries and Steps.requires <= capabilities:
        found += _all_steps(sets, share)
    found.append(Sets.of(sets, share, train=request.data.counts.get("train", 0) > 0))
    found += [Detection.of(name, sets, share) for name in wanted]
    found += [Headline.of(sets, config.headline), Detectors.of(sets, config.headline, wanted)]
    return tuple(found)


def _all_steps(sets: tuple[OODSet, ...], share: float) -> list[Scenario]:
    """Returns what ODIN needs; without validation sets nothing chooses a size, and one will do."""
    chosen = any(one.kind == "validation" for one in sets) and share > 0
    sizes = SIZES if chosen else (ODIN.default,)
    scored = 0.0 if chosen else share
    given = {"sizes": list(sizes)}
    found: list[Scenario] = [
        Steps(
            name="steps/test", share=scored, sizes=sizes,
            parameters={**given, "kept_apart": scored},
        )
    ]  # fmt: skip
    for one in sets:
        name = f"steps/{one.address}"
        if one.generated:
            parameters = parameters_of(one, share, **given)
            found.append(Steps(name=name, ood=one, share=share, sizes=sizes, parameters=parameters))
        else:
            found.append(Steps(name=name, role=one.role, ood=one, sizes=sizes, parameters=given))
    return found
