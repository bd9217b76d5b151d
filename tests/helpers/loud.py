"""The extractor of a new plugin, as `plugins new` writes it: it needs nothing but numpy."""

from pathlib import Path

from emotiwave_core.parts.scaffold import NewPlugin, write_file

STEP = "loud:step=0.1"


def with_loud_extractor(folder: Path) -> Path:
    """A registry.toml in a folder that names the extractor `loud`; its path."""
    write_file(NewPlugin("extractor", "loud"), folder)
    registry = folder / "registry.toml"
    registry.write_text('[plugins]\nloud = "loud.py"\n[extract.quiet]\naudio = { name = "loud", step = 0.2 }\n')
    return registry
