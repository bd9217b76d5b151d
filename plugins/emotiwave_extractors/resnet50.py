"""The extractor `resnet50`."""

from collections.abc import Callable

from emotiwave_core.extract.face_detection import HUB
from emotiwave_core.extract.weights import ModelName
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor
from emotiwave_extractors.face_embedding import FaceEmbedding


class Resnet50(FaceEmbedding):
    """ResNet-50 (He et al. 2016), trained on ImageNet: 2048 numbers for each picture of one person's face.

    model: one of this kind by its id on the hub, or a folder. revision: of the hub. sha256: of the weights, if they
    must be certain ones. weights, face: of the detector of faces, as in `faces`. rate: pictures a second.
    """

    def __init__(
        self,
        *,
        model: str = "microsoft/resnet-50",
        revision: str = "",
        sha256: str = "",
        weights: str = HUB,
        face: str = "largest",
        rate: float = 5.0,
    ) -> None:
        super().__init__(name=ModelName(model, revision, sha256), weights=weights, face=face, rate=rate)


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `resnet50`."""
    register("resnet50", Resnet50)
