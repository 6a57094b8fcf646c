"""Makes ``peer_scores.npz``: scores of pytorch-ood 0.4.0 for made-up features.

Run it with a Python that has pytorch-ood; the tests only read what it wrote::

    PYTHON_WITH_PYTORCH_OOD tests/suites/ood/peer_scores.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pytorch_ood import detector as peer

CLASSES, SIZE, TRAIN, ASKED = 4, 10, 160, 24


def main() -> None:
    rng = np.random.default_rng(7)
    centres = rng.normal(0, 1.5, (CLASSES, SIZE))
    targets = np.arange(TRAIN) % CLASSES
    train = np.maximum(centres[targets] + rng.normal(0, 0.8, (TRAIN, SIZE)), 0)
    near = np.maximum(centres[np.arange(ASKED) % CLASSES] + rng.normal(0, 1, (ASKED, SIZE)), 0)
    near[ASKED // 2 :] = np.maximum(rng.normal(0, 2, (ASKED - ASKED // 2, SIZE)), 0)
    weight, bias = centres + rng.normal(0, 0.2, centres.shape), rng.normal(0, 0.5, CLASSES)
    given = {"train": train, "asked": near, "weight": weight, "bias": bias}
    given = {name: values.astype(np.float32) for name, values in given.items()}
    z, x, w, b = (torch.from_numpy(given[name]) for name in ("train", "asked", "weight", "bias"))
    y = torch.from_numpy(targets)
    logits = x @ w.T + b

    def head(features: torch.Tensor) -> torch.Tensor:
        return features.flatten(start_dim=1) @ w.T + b

    maps = x[:, :, None, None]
    found = {
        "msp": peer.MaxSoftmax(None).predict_logits(logits),
        "max-logit": peer.MaxLogit(None).predict_logits(logits),
        "energy": peer.EnergyBased(None).predict_logits(logits),
        "entropy": peer.Entropy(None).predict_logits(logits),
        "gen": peer.GEN(None, gamma=0.1).predict_logits(logits),
        "mahalanobis": peer.Mahalanobis(None).fit_features(z, y).predict_features(x),
        "relative-mahalanobis": peer.RMD(None).fit_features(z, y).predict_features(x),
        "knn": peer.KNN(None, k=5).fit_features(z, y).predict_features(x),
        "vim": peer.ViM(None, d=5, w=w, b=b).fit_features(z, y).predict_features(x),
        "react": peer.ReAct(lambda t: t, head, percentile=0.9)
        .fit_feature_maps(z, y)
        .predict_feature_maps(x),
        "ash": peer.ASH(lambda t: t, head, percentile=0.65).predict_feature_maps(maps),
        "she": peer.SHE(None, head).fit_features(z, y).predict_features(x),
    }
    # ODIN on a model of these features as inputs: two layers, so that the gradient is not constant.
    net = torch.nn.Sequential(
        torch.nn.Linear(SIZE, SIZE), torch.nn.Tanh(), torch.nn.Linear(SIZE, 4)
    )
    with torch.no_grad():
        for part, (size, seed) in zip((net[0], net[2]), ((SIZE, 1), (CLASSES, 2)), strict=True):
            made = np.random.default_rng(seed)
            part.weight.copy_(torch.from_numpy(made.normal(0, 0.4, (size, SIZE))))
            part.bias.copy_(torch.from_numpy(made.normal(0, 0.4, size)))
    found["odin"] = peer.ODIN(net, eps=0.0014, temperature=1000).predict(x)
    network = {
        "net_0_weight": net[0].weight, "net_0_bias": net[0].bias,
        "net_2_weight": net[2].weight, "net_2_bias": net[2].bias,
    }  # fmt: skip
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        targets=targets,
        **given,
        **{name: value.detach().numpy() for name, value in network.items()},
        **{f"peer {name}": scores.detach().numpy() for name, scores in found.items()},
    )


if __name__ == "__main__":
    main()
