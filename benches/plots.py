# /// script
# requires-python = ">=3.10"
# dependencies = ["matplotlib>=3.9,<4"]
# ///
"""Draws docs/plots/*.svg from what the benches have written.

    cargo run --release -p hearken-peers -- --json benches/results/DATE-peers.json --date DATE
    cargo run --release -p hearken-peers --bin scale -- --json benches/results/DATE-scale.json --date DATE
    cargo run --release -p hearken-peers --bin timers -- --json benches/results/DATE-waiting.json --date DATE
    uv run benches/plots.py benches/results/DATE-*.json

Any Python with matplotlib will do in place of uv. A file of any kind may be
left out, and its pictures with it; `--out FOLDER` puts them elsewhere.

The same input gives the same files, byte for byte, under the same matplotlib:
there is no date in them but that of the measurement. Text stays text, so that it
can be searched and read aloud; the background is white, so that they can be read
in a dark page as well.
"""

import argparse
import json
import math
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator  # noqa: E402

# A picture each: its file, its heading, the workloads in it.
GROUPS = [
    ("spawning", "Spawning and ending", [
        "spawn_join", "spawn_await", "spawn_detach", "fan_out", "cancel", "panic", "startup",
    ]),
    ("wakes", "Yields and wakes", ["yield_many", "yield_one", "ping_pong", "chain", "channel"]),
    ("timers", "Timers", [
        "sleep_set_dropped", "sleep_beside_10k", "sleep_reset", "timeout_ready", "timeout_yield",
        "sleeps_100k", "sleeps_1m", "lateness",
    ]),
    ("foreign", "Wakes from another thread", ["foreign_wake", "storm"]),
    ("memory", "Memory", ["task_bytes", "sleep_bytes"]),
]

# As in the documents. Others are called what the file calls them.
NAMES = {
    "tokio-rt": "tokio LocalRuntime",
    "tokio-set": "tokio LocalSet",
    "async-exec": "async-executor",
    "local-pool": "LocalPool",
    "async-task": "async-task, bare",
}

UNITS = {"ns": "ns", "us": "µs", "bytes": "bytes"}

OURS = "#c2410c"
PEER = "#a3a8b0"
FLOOR = "#1f2937"
# In a curve the peers must be told apart.
GREYS = ["#6b7280", "#9ca3af", "#4b5563"]
MARKS = ["s", "^", "D"]
POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹"

# With more than this between the smallest bar and the largest, only a
# logarithmic scale shows both.
LINEAR = 12

PANEL_WIDTH = 3.1
BAR_HEIGHT = 0.19


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("results", nargs="+", type=Path, help="of hearken-peers or of scale")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "../docs/plots")
    options = arguments.parse_args()

    plt.rcParams.update({
        "svg.fonttype": "none",
        "svg.hashsalt": "hearken",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana"],  # which are equally wide
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
    })
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.results:
        results = json.loads(file.read_text())
        if "rows" in results:
            bars(results, options.out)
        elif "curves" in results:
            curves(results, options.out)
        elif "turns" in results:
            turns(results, options.out)
        else:
            sys.exit(f"{file}: neither rows, nor curves, nor turns in it")


# ---- Bars: executors beside one another ---------------------------------------


def bars(results, out):
    """A picture for each group that has something in it."""
    rows = {row["workload"]: row for row in results["rows"]}
    unknown = set(rows) - {name for _, _, names in GROUPS for name in names}
    if unknown:
        sys.exit(f"in no group, so in no picture: {', '.join(sorted(unknown))}")
    for file, heading, names in GROUPS:
        group = [rows[name] for name in names if name in rows]
        if group:
            draw_group(results, heading, group, out / f"{file}.svg")


def draw_group(results, heading, group, file):
    executors = results["executors"]
    barred = [name for name in executors if executors[name]["standing"] != "floor"]
    columns = min(3, len(group))
    lines = math.ceil(len(group) / columns)
    height = lines * (len(barred) * BAR_HEIGHT + 0.85) + 0.75
    figure, panels = plt.subplots(
        lines, columns, figsize=(columns * PANEL_WIDTH + 1.2, height), squeeze=False, sharey=True
    )
    for panel in panels.flat[len(group):]:
        panel.set_axis_off()
    for row, panel in zip(group, panels.flat):
        draw_row(row, executors, barred, panel)
    caption = "less is better; medians"
    if any(executors[name]["standing"] == "floor" for name in executors):
        caption += "; dashed: the floor"
    finish(figure, results, heading, caption, file)


def draw_row(row, executors, barred, panel):
    """A bar for each executor, and a line for each floor."""
    medians = row["medians"]
    values = [medians.get(name) for name in barred]
    known = [value for value in medians.values() if value > 0]
    panel.set_title(row["workload"])
    panel.set_yticks(range(len(barred)), [NAMES.get(name, name) for name in barred])
    panel.set_ylim(len(barred) - 0.4, -0.6)  # the first one on top
    panel.tick_params(axis="y", length=0)
    if max(known) > LINEAR * min(known):
        panel.set_xscale("log")
        panel.set_xlim(10 ** math.floor(math.log10(min(known) * 0.9)), max(known) * 12)
        panel.xaxis.set_minor_locator(NullLocator())
        scale = ", log"
    else:
        panel.set_xlim(0, max(known) * 1.25)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        scale = ""
    panel.set_xlabel(UNITS[row["unit"]] + scale, labelpad=1)
    for place, (name, value) in enumerate(zip(barred, values)):
        ours = executors[name]["standing"] == "ours"
        if value is None:
            panel.annotate(
                "–", (0, place), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", color="#6b7280",
            )
            continue
        panel.barh(place, value, height=0.72, color=OURS if ours else PEER)
        panel.annotate(
            figure_text(value), (value, place), xytext=(3, 0), textcoords="offset points",
            va="center", fontweight="bold" if ours else "normal",
            # Over the line of the floor, where they meet.
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )
    for name, value in medians.items():
        if executors[name]["standing"] == "floor":
            panel.axvline(value, color=FLOOR, linewidth=1, linestyle=(0, (3, 2)), zorder=2.5)


def figure_text(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


# ---- Curves: cost against n -------------------------------------------------------


def curves(results, out):
    by_experiment = {}
    for curve in results["curves"]:
        by_experiment.setdefault(curve["curve"], []).append(curve)
    figure, panels = curve_panels(len(by_experiment))
    for panel, (name, group) in zip(panels, by_experiment.items()):
        for look, curve in looks(group):
            points = curve["points"]
            panel.loglog([at["n"] for at in points], [at["ns"] for at in points], **look)
        values = [at["ns"] for curve in group for at in curve["points"]]
        # As many decades in every panel, so that a slope looks the same.
        panel.set_ylim(min(values) / 2, max(max(values) * 1.5, min(values) * 20))
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        label(panel, name, "ns each")
    figure_legend(figure, panels[0])
    finish(figure, results, "Cost of one among n", "processor time", out / "scale-time.svg")

    # One after another there is never a crowd.
    crowds = {name: group for name, group in by_experiment.items() if name != "serial"}
    figure, panels = curve_panels(len(crowds))
    for panel, (name, group) in zip(panels, crowds.items()):
        for look, curve in looks(group):
            points = curve["points"]
            sizes = [at["n"] for at in points]
            panel.semilogx(sizes, [at["bytes"] for at in points], **look)
            gone = {**look, "linestyle": (0, (1, 1.5)), "label": None, "marker": None}
            panel.semilogx(sizes, [max(at["left"], 0) / at["n"] for at in points], **gone)
        panel.set_ylim(bottom=0)
        label(panel, name, "bytes each")
    figure_legend(figure, panels[0])
    caption = "when all are alive; dotted: not given back when all are gone"
    finish(figure, results, "Heap of one among n", caption, out / "scale-memory.svg")


def turns(results, out):
    """What a turn costs beside n timers that wait: a panel for each pattern."""
    by_pattern = {}
    for curve in results["turns"]:
        by_pattern.setdefault(curve["pattern"], []).append(curve)
    figure, panels = curve_panels(len(by_pattern))
    for panel, (name, group) in zip(panels, by_pattern.items()):
        for look, curve in looks(group):
            points = curve["points"]
            panel.semilogx(
                [at["n"] for at in points], [at["instructions"] for at in points], **look
            )
        most = max(at["instructions"] for curve in group for at in curve["points"])
        panel.set_ylim(0, most * 1.2)
        label(panel, name, "instructions a turn")
    figure_legend(figure, panels[0])
    caption = "two limits set and dropped, and the next deadline asked"
    finish(figure, results, "A turn beside n timers that wait", caption, out / "waiting.svg")


def curve_panels(count):
    lines = math.ceil(count / 3)
    figure, panels = plt.subplots(
        lines, 3, figsize=(3 * PANEL_WIDTH + 0.4, lines * 2.2 + 0.9), squeeze=False
    )
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    return figure, list(panels.flat)


def looks(group):
    """How each curve of a panel is drawn; hearken's last, and so on top."""
    peers = 0
    drawn = []
    for curve in group:
        look = {"label": NAMES.get(curve["executor"], curve["executor"]), "markersize": 4}
        if curve["executor"] == "hearken":
            look.update(color=OURS, marker="o", linewidth=2)
        else:
            look.update(color=GREYS[peers % 3], marker=MARKS[peers % 3], linewidth=1.2)
            peers += 1
        drawn.append((look, curve))
    return sorted(drawn, key=lambda pair: pair[1]["executor"] == "hearken")


def label(panel, name, unit):
    panel.set_title(name)
    panel.set_ylabel(unit)
    panel.set_xlabel("n", labelpad=0)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"10{POWERS[round(math.log10(value))]}")
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.grid(color="#e5e7eb", linewidth=0.6)
    panel.set_axisbelow(True)


def figure_legend(figure, panel):
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="upper right", ncols=len(labels), frameon=False,
        bbox_to_anchor=(0.995, 1),
    )


# ---- Both ----------------------------------------------------------------------------


def finish(figure, results, heading, caption, file):
    """Heading, caption, file."""
    packages = {}
    for executor in results["executors"].values():
        packages.update(executor["packages"])
    versions = ", ".join(f"{name}\u00a0{version}" for name, version in packages.items())
    date = results.get("date")
    width, inches = figure.get_size_inches()
    versions = textwrap.wrap(versions, int(width * 22), break_on_hyphens=False)
    above = 0.1 * len(versions)
    top = 1 - 0.08 / inches
    figure.text(0.01, top, heading, ha="left", va="top", fontsize=12, fontweight="bold")
    figure.text(
        0.01, 0.05 / inches, "\n".join(versions), fontsize=6, color="#6b7280", va="bottom"
    )
    said = caption + (f"; measured on {date}" if date else "")
    figure.text(0.01, (0.09 + above) / inches, said, fontsize=7, color="#374151", va="bottom")
    figure.tight_layout(rect=(0, (0.26 + above) / inches, 1, 1 - 0.3 / inches), h_pad=1.2, w_pad=1.5)
    figure.savefig(file, facecolor="white", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(file)


if __name__ == "__main__":
    main()
