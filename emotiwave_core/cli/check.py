"""`emotiwave plugins check` and `emotiwave plugins show`: plain text of 80 columns, or JSON."""

import textwrap
from pathlib import Path
from typing import Any

import click

from emotiwave_core import errors
from emotiwave_core.cli.common import SectionedCommand, json_option, option, print_json, registry_option, say
from emotiwave_core.errors import printable
from emotiwave_core.parts.kinds import part_kind, part_kinds

WIDTH = 80
MILLISECONDS = (1e3, " ms")
UNITS = {
    "numbers of words": MILLISECONDS,
    "forward": MILLISECONDS,
    "forward and backward": MILLISECONDS,
    "held for backward": (1e-6, " MB"),
}
ANSWERS = {True: "yes", False: "no", None: "–"}
STATES = {"holds": "holds", "broken": "BROKEN", "not tried": "not tried", "warning": "WARNING"}
TO_READ = ("broken", "warning")  # told in full below the verdict, where no law that holds stands between them

Event = dict[str, Any]

CHECK = """\b
Examples:
  emotiwave plugins check bilstm
  emotiwave plugins check my_encoder.py --option width=32
  emotiwave plugins check bernoulli:p=0.5 --json

Exit code 0 if no law is broken, 1 if one is, 2 for a wrong name or option, 4 if it does not load or is not made.
"""
kind_option = option(
    "--kind", type=click.Choice([kind.name for kind in part_kinds()]), help="Where a name has several."
)


@click.command(cls=SectionedCommand, epilog=CHECK)
@click.argument("target", metavar="NAME[:OPTIONS]|FILE")
@kind_option
@option("--option", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the part, as in NAME:OPTIONS.")
@option("--no-measure", is_flag=True, help="Try the laws alone.")
@json_option
@registry_option
@click.pass_context
def check(
    context: click.Context,
    target: str,
    kind: str | None,
    settings: tuple[str, ...],
    no_measure: bool,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Hold a part to the laws of its kind, one by one, and measure it.

    NAME is any part that `emotiwave plugins` lists; FILE is a .py file, of which all parts are checked, whatever
    happens to one of them.
    """
    from emotiwave_core.config.flags import parse_part, parse_value
    from emotiwave_core.parts.check.laws_in_child import check as events

    options = {"name": target} if target.endswith(".py") else parse_part(target)
    name = str(options.pop("name"))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--option takes KEY=VALUE, such as width=32, not '{setting}'.")
        options[key.strip()] = parse_value(value.strip())
    parts: list[dict[str, Any]] = []
    for event in events(name, kind, options, registry_file, measure=not no_measure):
        gather(parts, event)
        if not as_json:
            print_event(parts, event)
    if as_json:
        print_json(parts)
    else:
        print_verdict(parts[-1])
    context.exit(exit_code(parts))


@click.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave plugins show crossmodal")
@click.argument("name")
@kind_option
@json_option
@registry_option
def show(name: str, kind: str | None, as_json: bool, registry_file: Path | None) -> None:
    """Say all that is known of a part.

    That is: what it does, its source, its options, who provides it.
    """
    from emotiwave_core.parts.check.describe import describe

    rows = describe(name, kind, registry_file)
    if as_json:
        print_json(rows)
    else:
        print_part(rows)


def exit_code(parts: list[Event]) -> int:
    """1 where a law is broken, else the code of the first part that was not made, else 0."""
    if any(part["holds"] is False for part in parts):
        return 1
    return next((getattr(errors, part["error"]).exit_code for part in parts if "error" in part), 0)


def gather(parts: list[Event], event: Event) -> None:
    """Add an event to the list of parts, each with its laws and measurements."""
    what = event["event"]
    rest = {key: value for key, value in event.items() if key != "event"}
    if what == "part":
        parts.append(rest | {"holds": True, "laws": [], "measurements": [], "contract": rest["laws"]})
    elif what == "failed":
        parts.append({"options": {}, "contract": []} | rest | {"holds": None, "laws": [], "measurements": []})
    elif what == "setting":
        parts[-1] |= {key: value for key, value in rest.items() if key != "measurements"}
    elif "law" in event:
        parts[-1]["laws"].append({"state": "broken"} | rest)
        parts[-1]["holds"] &= parts[-1]["laws"][-1]["state"] != "broken"
    else:
        parts[-1]["measurements"].append({"value": None, "reference": None, "note": rest.pop("message", "")} | rest)


def print_event(parts: list[Event], event: Event) -> None:
    """Print what an event adds."""
    what, part = event["event"], parts[-1]
    if what in ("part", "failed"):
        for before in parts[-2:-1]:
            print_verdict(before)
    if what == "failed":
        _print(f"{part['kind']} {part['name']} of {part['provider']}")
    elif what == "part":
        options = ", ".join(f"{name}={value!r}" for name, value in part["options"].items())
        _print(f"{part['kind']} {part['name']}: {part['part']} of {part['provider']}")
        _print(f"with {options}" if options else "without options")
        say()
    elif "law" in event:
        law = part["laws"][-1]
        _head(law) if law["state"] in TO_READ else _law(law)
    elif what == "setting":
        say()
        _print(f"Measured on one thread of the CPU with {part['setting']}:")
        say(f"  {'':22}{part['name'][:12]:>12}{part['reference'] or '–':>12}{'ratio':>10}")
    else:
        _measurement(part["measurements"][-1])


def _head(law: Event) -> None:
    say(f"{STATES[law['state']]:10} {law['law']}")


def _law(law: Event) -> None:
    _head(law)
    _print(law["sentence"], "           ")
    if law["message"]:
        _print(law["message"], "         > ", "           ")


def print_verdict(part: Event) -> None:
    """Say in a line how many laws hold, and then all that is to be read: the laws that are broken, and the warnings."""
    say()
    if "error" in part:
        _print(f"{part['kind']} {part['name']}: no law could be tried. {part['sentence']}")
        say()
        return
    states = [law["state"] for law in part["laws"]]
    holds, broken, not_tried, warnings = (states.count(state) for state in STATES)
    tried = [law["law"] for law in part["laws"]]
    left = [law for law in part["contract"] if law not in tried]
    verdict = (
        f"{broken} of {len(part['contract'])} laws {'is' if broken == 1 else 'are'} broken"
        if broken
        else "No law is broken"
    )
    warned = f", {warnings} with a warning" if warnings else ""
    _print(f"{part['kind']} {part['name']}: {verdict}; {holds} hold, {not_tried + len(left)} not tried{warned}.")
    for law in part["laws"]:
        if law["state"] in TO_READ:
            say()
            _law(law)
    if left:
        say()
        _print("Mend the last one above first: the laws after it, and the measurements, need what it asks for.")
        _print(f"Not tried: {', '.join(left)}.")
    unmeasured = [one["measure"] for one in part["measurements"] if one.get("lost")]
    if unmeasured:
        _print(f"Not measured: {', '.join(unmeasured)}. No law asks for it; --no-measure leaves measuring out.")
    say()


def _measurement(measured: Event) -> None:
    name, value, reference, note = (measured[key] for key in ("measure", "value", "reference", "note"))
    if isinstance(value, dict):
        _print(f"{name}: {note}", "  ", "    ")
        for label, share in value.items():
            say(f"    {label:24}{share:6.1%}")
    elif value is None or isinstance(value, bool):
        _print(f"{name:22}{ANSWERS[value]:5} {note}", "  ", " " * 30)
    else:
        scale, unit = UNITS.get(name, (1.0, ""))
        form = ",.2f" if unit else ",.0f"
        numbers = [f"{number * scale:{form}}{unit}" if number is not None else "–" for number in (value, reference)]
        ratio = f"{value / reference:,.{0 if value >= 100 * reference else 2}f} ×" if reference else "–"
        say(f"  {name:22}{numbers[0]:>12}{numbers[1]:>12}{ratio:>10}{f'  {note}' if note else ''}")


def print_part(rows: list[Event]) -> None:
    """Print what is known of a part: the first row is what its name means, the others are passed over."""
    row, *others = rows
    _print(f"{row['kind']} {row['name']} ({row['state']})")
    say(f"  provider   {row['provider']}")
    if row.get("file"):
        say(f"  file       {row['file']}")
    if "class" in row:
        parameters = part_kind(row["kind"]).parameters
        options = [f"{name}: {row['types'][name]} = {default!r}" for name, default in row["options"].items()]
        signature = ", ".join([*parameters, *(["*", *options] if options else [])])
        _print(f"{row['class']}({signature})", "  class      ", " " * 15)
    say()
    say(row.get("documentation") or row["summary"] or "It has no docstring.")
    for other in others:
        _print(f"Also offered by {other['provider']} ({other['state']}). {other['summary']}")


def _print(text: str, first: str = "", rest: str | None = None) -> None:
    indent = first if rest is None else rest
    lines = textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )
    say("\n".join(lines))
