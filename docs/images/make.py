"""The two pictures of the README, from the report of a run on the synthetic sample: `python docs/images/make.py RUN`.

`emotiwave run --out RUN` makes the run. Takes a Chromium on the PATH, and Pillow, which comes with matplotlib. Each
picture is a copy of the page in which a style sheet hides what the picture does not show.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageChops

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OFF = "visual"
TOP = (
    "section:not(#configurations), #configurations .scroll ~ *, footer { display: none } main { padding-bottom: 1rem }"
)
PANEL = (
    "header, nav, section:not(#panel), footer { display: none } "
    "body { display: block; max-width: 58rem; padding: 0 2rem } "
    "section { margin: 2rem 0 0; border: 0; padding: 0 }"
)
COLOURS = 128  # in a palette: a third of the size, and no difference to see
EDGE = 24  # pixels of paper below the last line


def main(run: Path) -> None:
    """Write report.png and panel.png beside this file."""
    if not json.loads((run / "data.json").read_text("utf-8"))["synthetic"]:
        raise SystemExit(f"{run} was not trained on synthetic data: the README shows no other.")
    photograph(run, HERE / "report.png", TOP, width=1280)
    photograph(run, HERE / "panel.png", PANEL, f"#sample={quote(wrong_without(run), safe='')}&off={OFF}", width=960)


def wrong_without(run: Path) -> str:
    """The id of the first sample that is decided right with all modalities and wrong without OFF."""
    complete = "+".join(json.loads((run / "scores.json").read_text("utf-8"))["modalities"])
    rest = "+".join(modality for modality in complete.split("+") if modality != OFF)
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = {
        name: {row["id"] for row in rows if row["configuration"] == name and row["truth"] == row["predicted"]}
        for name in (complete, rest)
    }
    return next(row["id"] for row in rows if row["id"] in right[complete] - right[rest])


def photograph(run: Path, path: Path, style: str, fragment: str = "", *, width: int) -> None:
    """Write a picture of what `style` leaves of the page of a run, cut below the last line."""
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        raise SystemExit(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        html = (run / "report.html").read_text("utf-8")
        page.write_text(html.replace("</head>", f"<style>{style}</style></head>", 1), "utf-8")
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        flags = [
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--force-color-profile=srgb",
            *root,
        ]
        size = [f"--window-size={width},3000", f"--user-data-dir={folder}/profile", f"--screenshot={picture}"]
        command = [browser, *flags, *size, f"{page.as_uri()}{fragment}"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
        paper = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
        box = ImageChops.difference(image, paper).getbbox()
        bottom = min(box[3] + EDGE, image.height) if box else image.height
        image.crop((0, 0, width, bottom)).quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
