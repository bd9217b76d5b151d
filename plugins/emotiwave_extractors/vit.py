"""The extractor `vit`."""

from collections.abc import Callable

from emotiwave_core.extract.face_detection import HUB
from emotiwave_core.extract.weights import ModelName
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor
from emotiwave_extractors.face_embedding import FaceEmbedding


class Vit(FaceEmbedding):
    """Vision Transformer (Dosovitskiy et al. 2021): 768 numbers for each picture of one person's face.

    model: one of this kind by its id on the hub, or a folder. revision: of the hub. sha256: of the weights, if they
    must be certain ones. weights, face: of the detector of faces, as in `faces`. rate: pictures a second.
    """

    def __init__(
        self,
        *,
        model: str = "google/vit-base-patch16-224-in21k",
        revision: str = "",
        sha256: str = "",
        weights: str = HUB,
        face: str = "largest",
        rate: float = 5.0,
    ) -> None:
        super().__init__(name=ModelName(model, revision, sha256), weights=weights, face=face, rate=rate)


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `vit`."""
    register("vit", Vit)
