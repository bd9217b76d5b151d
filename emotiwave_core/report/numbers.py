"""Numbers as the page prints them. What goes into a style or a path is formatted here, and is a number."""

import datetime
from collections.abc import Iterable

MINUS = "\N{MINUS SIGN}"
MONTHS = (  # in English, whatever the locale
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def score(value: float | None) -> str:
    """Three decimals and a true minus; a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """A gain or a loss: three decimals with their sign."""
    return "–" if value is None else f"{value:+.3f}".replace("-", MINUS).replace(f"{MINUS}0.000", "+0.000")


def times(value: float) -> str:
    """A multiple: `2.31 ×`."""
    return f"{value:,.2f} ×" if value < 1e6 else f"{value:.2g} ×"


def side(value: float) -> str:
    """For or against, as `signed` prints it: what is next to nothing is not against."""
    return "against" if round(value, 3) < 0 else "for"


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    return "–" if value is None else f"{value * 100:.1f}%".replace("-", MINUS)


def count(value: float | None) -> str:
    """A number of things, with separated thousands and without a needless decimal."""
    return "–" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def share(value: float | None) -> str:
    """A length or a depth of colour for a style attribute: a number from 0 to 1 and nothing else."""
    return f"{min(max(value or 0.0, 0.0), 1.0):.4f}"


def interval(value: tuple[float, float] | None) -> str:
    """From low to high."""
    return "–" if value is None else f"{value[0]:.3f}–{value[1]:.3f}"


def series(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = list(names) or ["nothing"]
    return f"{', '.join(head)} and {last}" if head else last


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: `8.4 s`, `2 min 05 s`, `1 h 05 min`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return (
        f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
    )


def moment(stamp: str) -> str:
    """`2026-01-31T12:00:00Z` as `31 January 2026, 12:00 UTC`; what is no such time, as it is."""
    try:
        time = datetime.datetime.fromisoformat(stamp).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return stamp
    return f"{time.day} {MONTHS[time.month - 1]} {time:%Y, %H:%M} UTC"


FILTERS = {
    print_as.__name__: print_as
    for print_as in (score, signed, times, side, percent, count, share, interval, series, duration, moment)
}
