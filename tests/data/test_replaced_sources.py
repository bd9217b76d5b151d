"""A file that is exchanged while its data set is packed: what is hashed is what was read, or the store is refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import write_dataset
from training import small

from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.store import store
from emotiwave_core.errors import DataError


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ["audio.csd", "labels.csd"])
@pytest.mark.parametrize("moment", ["before the arrays", "after the arrays"])
def test_a_source_that_is_replaced_while_it_is_packed_is_refused(
    name: str, moment: str, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename in its place, of the same size and time, by another program: no store holds one and names the other."""
    (tmp_path / "data").mkdir()
    data, inner = write_dataset(tmp_path / "data"), store.write_arrays

    def replaced(*given: Any) -> str:
        digest = inner(*given) if moment == "after the arrays" else ""
        status = (data / name).stat()
        shutil.copy(data / name, data / "new")
        os.utime(data / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (data / "new").replace(data / name)
        return digest or inner(*given)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_arrays", replaced)
        with pytest.raises(DataError, match="was replaced or written to while it was packed; start again"):
            open_corpus(data, small().data)
    assert [path.name for path in (own_cache / "stores").iterdir() if path.is_dir()] == []
    assert len(open_corpus(data, small().data).store) > 0
