"""Models of pictures over one person's face, the base of `resnet50` and `vit`: a vector for each picture."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.face_detection import FaceFinder, aligned
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.extract.weights import ModelName, find_model, load_transformer
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream

SIDE = 224  # pixels, where a model says nothing
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, likewise


class FaceEmbedding(Extractor):
    """The face is found, followed, aligned by eyes, nose and mouth, and embedded."""

    modality = "visual"
    needs: frozenset[Need] = frozenset({"picture"})

    def __init__(self, *, name: ModelName, weights: str, face: str, rate: float) -> None:
        super().__init__()
        if not 0.1 <= rate <= 60.0:
            raise SettingsError(f"The option rate must be from 0.1 to 60 pictures a second, not {rate}.")
        self.rate: float = rate
        self.name, self.finder = name, FaceFinder(weights, face)

    def open(self, download: bool = False) -> None:
        """Load the detector and the model. Errors as `find_model` and `load_transformer`."""
        self.finder.open(download)
        self.found = find_model(self.name, download)
        self.model = load_transformer(self.found)
        config, table = self.model.config, self.found.json("preprocessor_config.json")
        self.width = int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)
        self.side = int(getattr(config, "image_size", None) or SIDE)
        try:
            self.mean, self.deviation = (
                np.array(table.get(key, other), dtype=np.float32).reshape(3)
                for key, other in (("image_mean", MEAN), ("image_std", DEVIATION))
            )
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{self.found.folder}: preprocessor_config.json has no image_mean of three.") from error

    def identity(self) -> dict[str, Any]:
        """Model, detector, alignment and rate."""
        scale = {"mean": self.mean.round(6).tolist(), "deviation": self.deviation.round(6).tolist()}
        return {
            **self.found.identity("config.json"),
            **self.finder.identity(),
            **scale,
            "side": self.side,
            "rate": self.rate,
        }

    def extract(self, recording: Recording) -> Stream | Missing:
        """Vectors [T, F] of the pictures in which the face is seen."""
        steps, followed = StreamBuilder(self.width), self.finder.follow(recording, self.rate)
        for frame, face in followed:
            crop = aligned(self.finder.cv2, frame.picture, face, self.side)
            pixels = (crop.astype(np.float32) / 255.0 - self.mean) / self.deviation
            steps.add(self.vector(torch.from_numpy(pixels.transpose(2, 0, 1)[None])).numpy(), frame[:2])
        return steps.stream(followed.nothing(), followed.problems())

    @torch.inference_mode()
    def vector(self, pixels: Tensor) -> Tensor:
        """pixels [1, 3, side, side] -> the model's vector [1, F]: pooled, or the state of its class token."""
        output = self.model(pixels)
        pooled: Tensor = output.last_hidden_state
        return pooled.mean(dim=(2, 3)) if pooled.dim() == 4 else pooled[:, 0]
