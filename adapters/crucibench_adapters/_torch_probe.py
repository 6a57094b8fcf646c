"""What a torch model can be asked, by what it answers made-up samples. Torch on use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.contracts.task import OutputError, Task
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line, user_traceback

if TYPE_CHECKING:
    import torch

    from crucibench_adapters._torch_canonical import Canonical


def ask(
    module: torch.nn.Module, canonical: Canonical, inputs: torch.Tensor, what: str
) -> tuple[torch.Tensor, bool]:
    """Returns the answer to `inputs`, and whether it is the one column of a binary model.

    Finds out on the way whether the module changes its inputs in place.

    Raises:
        InputError: if the model raises, with its own traceback.
    """
    import torch

    raw: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            raw.append(output)

    hook = module.register_forward_hook(keep)
    canonical.guards = False
    before = inputs._version
    try:
        with torch.no_grad():
            answer = canonical.answer(inputs)
    except OutputError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        raise InputError(
            f"{what} raised {one_line(error)} on made-up samples of shape {tuple(inputs.shape)}",
            detail=user_traceback(error),
        ) from error
    finally:
        hook.remove()
    canonical.guards = inputs._version != before
    return answer, bool(raw) and canonical.single(raw[-1])


def differentiable(canonical: Canonical, inputs: torch.Tensor) -> bool:
    """Whether a gradient of the logits comes back to `inputs`."""
    import torch

    if not inputs.is_floating_point():
        return False
    asked = inputs.detach().clone().requires_grad_()
    try:
        logits = canonical(asked)
        (gradient,) = torch.autograd.grad(logits.sum(), asked, allow_unused=True)
    except RuntimeError:
        return False
    return gradient is not None


def answers_finitely(canonical: Canonical, encoded: Callable[[], torch.Tensor]) -> bool:
    """Whether the model answers `encoded()` with finite numbers."""
    import torch

    try:
        with torch.inference_mode():
            answer = canonical.answer(encoded())
    except Exception:
        return False  # it says so itself
    return bool(torch.isfinite(answer).all())


def claimed(task: Task, kind: ScoreKind) -> frozenset[Capability]:
    """Returns what any module is taken to answer until it was asked."""
    if task.one_number:
        return frozenset({Capability.VALUES, Capability.GRADIENTS, Capability.ANY_INPUT})
    found = {Capability.LABELS, Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    return frozenset(found | {Capability.LOGITS} if kind == "logits" else found)


def stacked(frame: Any) -> Any:
    """Returns the columns of a table of numbers as float32, (N, columns).

    Raises:
        InputError: if a column is not numbers.
    """
    import torch

    try:
        columns = frame.to_numpy(dtype=np.float32, copy=True, na_value=np.nan)
    except (TypeError, ValueError) as error:
        odd = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
        raise InputError(
            f"columns {', '.join(map(repr, odd))} are not numbers: the module must declare "
            "encode(frame) -> Tensor"
        ) from error
    return torch.from_numpy(np.ascontiguousarray(columns))


def stored_bytes(module: torch.nn.Module) -> int:
    """Returns the bytes of a module's parameters and buffers, packed ones too."""
    tensors = [*module.parameters(), *module.buffers()]
    packed = (int(getattr(part, "packed_bytes", 0)) for part in module.modules())
    return sum(tensor.nbytes for tensor in tensors) + sum(packed)
