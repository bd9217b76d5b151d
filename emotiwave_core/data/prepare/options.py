"""Options of cutting a data set into samples and steps."""

from typing import Literal

import attrs

from emotiwave_core.config.recipe import Align, Filler

Unit = Literal["segment", "video"]


@attrs.frozen
class Options:
    """Options of cutting. `max_steps` and `downsample` are for each modality, by name.

    With `align` nothing is averaged by `downsample`, and all modalities are cut to the smallest of `max_steps`.
    """

    unit: Unit = "segment"
    complete_only: bool = False
    max_steps: dict[str, int] = attrs.Factory(dict)
    downsample: dict[str, int] = attrs.Factory(dict)
    align: Align = "none"
    filler: Filler = "absent"
