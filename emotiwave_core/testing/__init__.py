"""Contracts: the laws that every part of a kind keeps, for a plugin's author.

    class TestTCN(EncoderContract):
        def make(self, in_features: int) -> Encoder:
            return TCN(in_features, width=8)

In a file that pytest collects, each law is a test method `test_<law>`. `TestTCN.laws()` lists them without pytest: the
`check()` of a law raises BrokenLaw, or unittest.SkipTest where it cannot be tried; a Remark is a SkipTest that tells of
what may be meant so.
"""

from emotiwave_core.testing.augmentation import AugmentationContract
from emotiwave_core.testing.encoder import EncoderContract
from emotiwave_core.testing.extractor import ExtractorContract
from emotiwave_core.testing.fusion import FusionContract
from emotiwave_core.testing.laws import BrokenLaw, Contract, Law, Remark
from emotiwave_core.testing.metric import MetricContract
from emotiwave_core.testing.objective import ObjectiveContract
from emotiwave_core.testing.policy import DropoutPolicyContract
from emotiwave_core.testing.reader import ReaderContract
from emotiwave_core.testing.word_encoder import WordEncoderContract

__all__ = [
    "AugmentationContract",
    "BrokenLaw",
    "Contract",
    "DropoutPolicyContract",
    "EncoderContract",
    "ExtractorContract",
    "FusionContract",
    "Law",
    "MetricContract",
    "ObjectiveContract",
    "ReaderContract",
    "Remark",
    "WordEncoderContract",
]
