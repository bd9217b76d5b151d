"""All that work needs beside its data: a device, somebody who is told, and the processes that share it."""

import attrs
import torch

from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.monitor import SILENT, Monitor


@attrs.frozen(eq=False)
class Runtime:
    """The device on which work is computed, the monitor that hears of it, and the processes that do it together."""

    device: torch.device
    monitor: Monitor = SILENT
    group: ProcessGroup = SINGLE
    tests: bool = True  # read the test fold once the training has ended
