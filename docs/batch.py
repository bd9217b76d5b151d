"""A batch job: python batch.py RUN OUT.csv DATASET… writes the answers to many data sets into one table."""

import csv
import sys
from pathlib import Path

import emotiwave as ew

folder, out, *datasets = sys.argv[1:]
run, failed = ew.open_run(folder), 0
with Path(out).open("w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["dataset", "id", "decided", "confidence", "present"])
    for path in datasets:
        try:
            predictions = run.predict(ew.load_dataset(path))
        except ew.DataError as error:  # one that cannot be used costs itself
            failed += 1
            print(f"{path}: {error}", file=sys.stderr)
            continue
        for one in predictions:
            confidence = max(one.probabilities.values(), default="")  # a regression has numbers instead
            table.writerow([path, one.id, "+".join(one.decided), confidence, "+".join(one.present)])
sys.exit(3 if failed else 0)
