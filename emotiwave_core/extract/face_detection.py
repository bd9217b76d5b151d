"""Faces in pictures by YuNet (Wu et al. 2023), and one person followed through a recording."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.weights import FoundModel, ModelName, find_model, needed
from emotiwave_core.interfaces import Frame, Recording

HUB, ONNX = "opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx"
LIBRARY = "libfacedetection.so"  # in the package yuface: the same network, compiled
SIZE = 320  # pixels of the longer side in which faces are looked for: 5 ms a picture
SMALLEST = 16  # pixels of the shorter side
SURE = 0.6  # of a face's score
SAME = 0.2  # intersection over union of two boxes from which on they are one person's
PATIENCE = 2.0  # seconds for which a person may turn away
# Where eyes, nose and corners of the mouth come to lie in an aligned face, in shares of its side (after ArcFace's, with
# room for forehead and chin).
ALIGNED = 0.5 + 0.8 * (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112
    - [0.5, 0.55]
)


class Face(NamedTuple):
    """A face in a picture, in pixels."""

    box: NDArray[np.float64]  # [4]: left, top, width, height
    landmarks: NDArray[np.float64]  # [5, 2]: eyes, nose, corners of the mouth, the one on the picture's left first
    score: float


class FaceFinder:
    """Finds faces, and follows one person.

    weights: YuNet as a file (.onnx), by its id on the hub, or `pip:yuface`. face: the person: "largest", "first" (who
    is seen first, nobody else), "centre", or a number, counted from the left.
    """

    def __init__(self, weights: str, face: str) -> None:
        numbered = face.isascii() and face.isdigit() and int(face) >= 1
        if face not in ("largest", "first", "centre") and not numbered:
            raise SettingsError(f"The option face is '{face}': choose largest, first, centre, or a number from 1 on.")
        self.name, self.face = ModelName(weights), face

    def open(self, download: bool = False) -> None:
        """Load the network. Errors as `find_model`; SettingsError where OpenCV cannot read it."""
        self.cv2 = needed("cv2", "faces")
        self.cv2.utils.logging.setLogLevel(self.cv2.utils.logging.LOG_LEVEL_ERROR)
        self.found: FoundModel = find_model(self.name, download, (ONNX, LIBRARY))
        if self.found.weights.name == LIBRARY:
            self.compiled: Any = needed("yuface", "light")
            return
        self.compiled = None
        try:
            self.network = self.cv2.FaceDetectorYN.create(str(self.found.weights), "", (SIZE, SIZE), SURE)
        except self.cv2.error as error:
            raise SettingsError(f"{self.found.weights} is not a YuNet network that OpenCV reads: {error}") from error

    def identity(self) -> dict[str, Any]:
        """The network, and how a person is chosen."""
        return {"detector": self.found.identity(), "size": SIZE, "score": SURE, "face": self.face}

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture [H, W, 3], from the left."""
        height, width = picture.shape[:2]
        scale = min(1.0, SIZE / max(height, width))
        if min(height, width) * scale < SMALLEST:
            return []
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = self.cv2.cvtColor(picture, self.cv2.COLOR_RGB2BGR)
        if scale < 1.0:
            small = self.cv2.resize(small, size, interpolation=self.cv2.INTER_AREA)
        back = np.array([width / size[0], height / size[1]])
        faces = [
            Face(
                np.concatenate([row[:2] * back, row[2:4] * back]),
                row[4:14].reshape(5, 2) * back,
                float(row[14]),
            )
            for row in self._rows(small)
            if row[2] > 0 and row[3] > 0
        ]
        return sorted(faces, key=lambda face: float(face.box[0]))

    def _rows(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Box, landmarks and score [N, 15] of the faces in a small picture, blue first."""
        if self.compiled is not None:
            scores, boxes, landmarks = self.compiled.detect(np.ascontiguousarray(picture), SURE)
            rows = np.concatenate([boxes, landmarks, scores[:, None] / 100.0], axis=1)
        else:
            self.network.setInputSize((picture.shape[1], picture.shape[0]))
            rows = self.network.detect(picture)[1]
        return np.empty((0, 15)) if rows is None else np.asarray(rows, dtype=np.float64).reshape(-1, 15)

    def follow(self, recording: Recording, rate: float) -> "Followed":
        """One person through the pictures of a recording, `rate` a second."""
        return Followed(self, recording, rate)


class Followed:
    """The pictures in which a person is seen, and what was seen on the way."""

    def __init__(self, finder: FaceFinder, recording: Recording, rate: float) -> None:
        self.finder, self.recording, self.rate = finder, recording, rate
        self.pictures = self.seen = self.most = self.changes = 0

    def __iter__(self) -> Iterator[tuple[Frame, Face]]:
        last: Face | None = None
        since = 0.0
        for frame in self.recording.frames(self.rate):
            faces = self.finder.find(frame.picture)
            self.pictures += 1
            self.most = max(self.most, len(faces))
            if not faces:
                continue
            face: Face | None = None
            if last is not None:
                shares = [overlap(one, last) for one in faces]
                face = faces[int(np.argmax(shares))] if max(shares) >= SAME else None
            if face is None and (last is None or frame.start - since > PATIENCE):
                face = self._chosen(faces, frame.picture)
                if face is not None and last is not None:
                    self.changes += 1
            if face is not None:
                last, since = face, frame.start
                self.seen += 1
                yield frame, face

    def _chosen(self, faces: list[Face], picture: NDArray[np.uint8]) -> Face | None:
        choice = self.finder.face
        if choice == "centre":
            middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
            return min(faces, key=lambda one: float(np.abs(one.box[:2] + one.box[2:] / 2 - middle).sum()))
        if choice.isdigit():
            return faces[int(choice) - 1] if int(choice) <= len(faces) else None
        if choice == "first" and self.seen:
            return None
        return max(faces, key=lambda one: float(one.box[2] * one.box[3]))

    def problems(self) -> list[str]:
        """Sentences on what was seen."""
        said = []
        if 0 < self.seen < self.pictures:
            said.append(f"the face is not seen in {self.pictures - self.seen} of {self.pictures} pictures")
        if self.most > 1:
            said.append(f"up to {self.most} faces are seen at a time, and one is followed (face={self.finder.face})")
        if self.changes:
            said.append(f"the person that is followed was lost {self.changes} times and chosen anew")
        return said

    def nothing(self) -> str:
        """The reason where the person is never seen."""
        if self.most:
            return f"there are {self.most} faces at most, and face={self.finder.face} is asked for"
        return f"no face is found in {self.pictures} pictures"


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(one.box[:2], other.box[:2])
    high = np.minimum(one.box[:2] + one.box[2:], other.box[:2] + other.box[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    return common / (float(np.prod(one.box[2:]) + np.prod(other.box[2:])) - common)


def similarity(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The turn, scale and shift [2, 3] that bring points [N, 2] nearest to the target (Umeyama 1991)."""
    mean, goal = points.mean(axis=0), target.mean(axis=0)
    own, due = points - mean, target - goal
    left, values, right = np.linalg.svd(due.T @ own / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    spread = float((own**2).sum()) / len(points)
    turn = float((values * signs).sum()) / max(spread, 1e-9) * (left * signs) @ right
    return np.concatenate([turn, (goal - turn @ mean)[:, None]], axis=1)


def aligned(cv2: Any, picture: NDArray[np.uint8], face: Face, side: int) -> NDArray[np.uint8]:
    """The face [side, side, 3], upright and of one size, cut out of a picture; black beyond its edge."""
    turn = similarity(face.landmarks, ALIGNED * side)
    return np.asarray(cv2.warpAffine(picture, turn, (side, side), flags=cv2.INTER_LINEAR), dtype=np.uint8)
