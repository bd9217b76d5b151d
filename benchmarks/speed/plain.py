"""The baseline: a plainly written loop of the notebook's description, with h5py and torch alone.

It opens the four files for every sample of every epoch, reads all of a video and keeps its first 300 steps, pads with
zeros, and trains in fp32 with batches of 16.
"""

import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from speed.corpus import FILES, LABELS, WIDTHS

STEPS, HIDDEN, P = 300, 128, 0.3


class Items(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """One video a sample: M x [300, F] and the strongest emotion of its mean label."""

    def __init__(self, folder: Path, videos: list[str]) -> None:
        self.folder, self.videos = folder, videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        inputs = {}
        for modality, name in FILES.items():
            with h5py.File(self.folder / name, "r") as file:
                features = file[name]["data"][self.videos[index]]["features"][:]
            padded = np.zeros((STEPS, features.shape[1]), dtype=np.float32)
            padded[: len(features)] = features[:STEPS]
            inputs[modality] = torch.from_numpy(padded)
        with h5py.File(self.folder / LABELS, "r") as file:
            labels = file[LABELS]["data"][self.videos[index]]["features"][:]
        return inputs, torch.tensor(int(labels[:, 1:].mean(axis=0).argmax()))


class Plain(nn.Module):
    """Three BiLSTMs, concatenation, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstms = nn.ModuleDict(
            {m: nn.LSTM(F, HIDDEN, batch_first=True, bidirectional=True) for m, F in WIDTHS.items()}
        )
        self.head = nn.Sequential(nn.Linear(6 * HIDDEN, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 6))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """M x [B, 300, F] -> logits [B, 6]. One coin for each modality and batch."""
        if self.training:
            coins = torch.rand(1, len(inputs))[0]
            inputs = {
                m: x if coin < 1 - P else torch.zeros_like(x)
                for (m, x), coin in zip(inputs.items(), coins, strict=True)
            }
        last = []
        for m, x in inputs.items():
            _, (hidden, _) = self.lstms[m](x)
            last += [hidden[0], hidden[1]]
        return self.head(torch.cat(last, dim=1))


class Timed(NamedTuple):
    """Samples seen, seconds, how many of them were spent on waiting for data, and the loss of each step."""

    samples: int
    seconds: float
    data_seconds: float
    losses: list[float]


class Loop:
    """The loop and what it carries from one epoch to the next: AdamW 1e-4, gradients clipped to 1."""

    def __init__(self, model: Plain, items: Items, device: torch.device) -> None:
        self.model, self.items, self.device = model.to(device), items, device
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-2)
        self.criterion = nn.CrossEntropyLoss()

    def epoch(self, order: list[int]) -> Timed:
        """One pass over some samples in the order given."""
        # A generator of its own: the loader draws a seed from it, and the coins must stay those of the other loop.
        loader = DataLoader(self.items, batch_size=16, sampler=order, generator=torch.Generator())
        self.model.train()
        losses, waited, began = [], 0.0, time.perf_counter()
        asked = began
        for inputs, targets in loader:
            waited += time.perf_counter() - asked
            inputs = {m: x.to(self.device) for m, x in inputs.items()}
            loss = self.criterion(self.model(inputs), targets.to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            losses.append(loss.item())
            asked = time.perf_counter()
        return Timed(len(order), time.perf_counter() - began, waited, losses)
