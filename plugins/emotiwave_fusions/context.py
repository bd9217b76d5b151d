"""The fusion `context`: another fusion's vectors, read over the segments of a video."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import ContextFusion, Encoded, Fused, Fusion, Neighbours
from emotiwave_core.layers.recurrent import Bidirectional
from emotiwave_core.layers.videos import video_sequences
from emotiwave_fusions.concat import Concat


class SegmentLSTM(Bidirectional):
    """An LSTM in both directions over the segments of a video."""

    name = "context"
    cell = nn.LSTM


class Context(ContextFusion):
    """Contextual LSTM over the segments of a video (Poria et al. 2017, "Context-Dependent Sentiment Analysis").

    Another fusion makes a vector f_i [W] of each segment. A bidirectional LSTM reads those of a video in the order of
    their starts, and the vector of segment i is [f_i ; h_i], [W + 2 * hidden_size]: what it says itself, and what it
    means where it stands. The weights and the loss are the inner fusion's. A sample without neighbours is a video of
    one segment. One without any modality is read from its neighbours alone.

    Differs from bc-LSTM: the LSTM reads fused vectors, and not first those of each modality; f_i stands beside h_i; the
    unimodal part is trained with the rest.

    fusion: the inner one, default `concat`. neighbours: the segments of a "video", or of a "group", its videos by their
    names: MELD's groups are dialogues, and each utterance is a video. dropout: on f_i before the LSTM, and between its
    layers.
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        fusion: Fusion | None = None,
        neighbours: Neighbours = "video",
        hidden_size: int = 64,
        layers: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        positive("context", hidden_size=hidden_size, layers=layers)
        fraction("context", dropout=dropout)
        one_of("context", Neighbours, neighbours=neighbours)
        self.neighbours = neighbours
        self.fusion = Concat(in_features) if fusion is None else fusion
        self.dropout = nn.Dropout(dropout)
        self.lstm = SegmentLSTM(self.fusion.out_features, hidden_size=hidden_size, layers=layers, dropout=dropout)
        self.out_features = self.fusion.out_features + self.lstm.out_features

    def forward(self, encoded: dict[str, Encoded], present: Tensor, videos: Tensor | None = None) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool, videos [B] -> Fused."""
        fused: Fused = self.fusion(encoded, present)
        places = video_sequences(videos, len(present), present.device)
        states = self.lstm(places.sequences(self.dropout(fused.vector)), places.mask).states  # [V, S, 2H]
        return fused._replace(vector=torch.cat([fused.vector, places.samples(states)], dim=-1))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `context`."""
    register("context", Context)
