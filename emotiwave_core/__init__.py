"""Emotiwave: multimodal emotion recognition that keeps working when a modality is missing.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from emotiwave_core.version import __version__ as __version__

if TYPE_CHECKING:
    from emotiwave_core.config.recipe import Recipe as Recipe
    from emotiwave_core.errors import EmotiwaveError as EmotiwaveError
    from emotiwave_core.hookspecs import StopTraining as StopTraining
    from emotiwave_core.hookspecs import hookimpl as hookimpl
    from emotiwave_core.interfaces import AnsweringFusion as AnsweringFusion
    from emotiwave_core.interfaces import Augmentation as Augmentation
    from emotiwave_core.interfaces import Augmented as Augmented
    from emotiwave_core.interfaces import ContextFusion as ContextFusion
    from emotiwave_core.interfaces import DropoutPolicy as DropoutPolicy
    from emotiwave_core.interfaces import Encoded as Encoded
    from emotiwave_core.interfaces import Encoder as Encoder
    from emotiwave_core.interfaces import Extractor as Extractor
    from emotiwave_core.interfaces import Frame as Frame
    from emotiwave_core.interfaces import Fused as Fused
    from emotiwave_core.interfaces import Fusion as Fusion
    from emotiwave_core.interfaces import Missing as Missing
    from emotiwave_core.interfaces import Mixture as Mixture
    from emotiwave_core.interfaces import Output as Output
    from emotiwave_core.interfaces import OutputSpace as OutputSpace
    from emotiwave_core.interfaces import ParameterGroup as ParameterGroup
    from emotiwave_core.interfaces import Recording as Recording
    from emotiwave_core.interfaces import SpokenWord as SpokenWord
    from emotiwave_core.interfaces import Stream as Stream
    from emotiwave_core.interfaces import WordEncoder as WordEncoder
    from emotiwave_core.metrics import ClassMean as ClassMean
    from emotiwave_core.metrics import Metric as Metric
    from emotiwave_core.metrics import Outcomes as Outcomes
    from emotiwave_core.metrics.numbers import NumberMetric as NumberMetric
    from emotiwave_core.metrics.numbers import PredictedNumbers as PredictedNumbers
    from emotiwave_core.model.fusion_model import FusionModel as FusionModel
    from emotiwave_core.objectives import Objective as Objective
    from emotiwave_core.objectives.multi import MultiLabel as MultiLabel
    from emotiwave_core.objectives.regression import Regression as Regression
    from emotiwave_core.objectives.single import SingleLabel as SingleLabel
    from emotiwave_core.parts.registry import load_registry as load_registry
    from emotiwave_core.reading import Contents as Contents
    from emotiwave_core.reading import Entry as Entry
    from emotiwave_core.reading import Reader as Reader
    from emotiwave_core.reading import Source as Source
    from emotiwave_core.reading import counted_intervals as counted_intervals

_PUBLIC = {
    "AnsweringFusion": "interfaces",
    "Augmentation": "interfaces",
    "Augmented": "interfaces",
    "ClassMean": "metrics",
    "Contents": "reading",
    "ContextFusion": "interfaces",
    "DropoutPolicy": "interfaces",
    "EmotiwaveError": "errors",
    "Encoded": "interfaces",
    "Encoder": "interfaces",
    "Entry": "reading",
    "Extractor": "interfaces",
    "Frame": "interfaces",
    "Fused": "interfaces",
    "Fusion": "interfaces",
    "FusionModel": "model.fusion_model",
    "Metric": "metrics",
    "Missing": "interfaces",
    "Mixture": "interfaces",
    "MultiLabel": "objectives.multi",
    "NumberMetric": "metrics.numbers",
    "Objective": "objectives",
    "Outcomes": "metrics",
    "Output": "interfaces",
    "ParameterGroup": "interfaces",
    "PredictedNumbers": "metrics.numbers",
    "Reader": "reading",
    "Recipe": "config.recipe",
    "Recording": "interfaces",
    "Regression": "objectives.regression",
    "SingleLabel": "objectives.single",
    "Source": "reading",
    "SpokenWord": "interfaces",
    "StopTraining": "hookspecs",
    "Stream": "interfaces",
    "OutputSpace": "interfaces",
    "WordEncoder": "interfaces",
    "counted_intervals": "reading",
    "hookimpl": "hookspecs",
    "load_registry": "parts.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'emotiwave_core' has no attribute {name!r}")
    return getattr(importlib.import_module(f"emotiwave_core.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
