"""The extractor `faces`: where a face is, how it is turned, and how eyes, nose and mouth stand in it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.face_detection import HUB, FaceFinder
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream


class Faces(Extractor):
    """YuNet (Wu et al. 2023) through OpenCV: box, five landmarks and score of one person's face, 15 numbers.

    weights: YuNet's file (.onnx), its id on the hub, or `pip:yuface`. face: the person who is followed: largest, first
    (who is seen first), centre, or a number from the left. rate: pictures a second.
    """

    modality = "visual"
    needs: frozenset[Need] = frozenset({"picture"})
    width = 15

    def __init__(self, *, weights: str = HUB, face: str = "largest", rate: float = 5.0) -> None:
        super().__init__()
        if not 0.1 <= rate <= 60.0:
            raise SettingsError(f"The option rate of faces must be from 0.1 to 60 pictures a second, not {rate}.")
        self.rate: float = rate
        self.finder = FaceFinder(weights, face)

    def open(self, download: bool = False) -> None:
        """Load the network. Errors as `FaceFinder.open`."""
        self.finder.open(download)

    def identity(self) -> dict[str, Any]:
        """The detector, the choice of the person, and the rate."""
        return {**self.finder.identity(), "rate": self.rate}

    def extract(self, recording: Recording) -> Stream | Missing:
        """Numbers [T, 15] of each picture with the face in it: middle and size of the box in shares of the picture.

        Then the landmarks in shares of the box, x and y of eyes, nose and corners of the mouth, and the score.
        """
        steps, followed = StreamBuilder(self.width), self.finder.follow(recording, self.rate)
        for frame, face in followed:
            size = np.array([frame.picture.shape[1], frame.picture.shape[0]])
            middle = (face.box[:2] + face.box[2:] / 2) / size
            inside = (face.landmarks - face.box[:2]) / face.box[2:]
            numbers = np.concatenate([middle, face.box[2:] / size, inside.ravel(), [face.score]])
            steps.add(numbers, frame[:2])
        return steps.stream(followed.nothing(), followed.problems())


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `faces`."""
    register("faces", Faces)
