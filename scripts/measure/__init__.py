"""What scripts/bench is made of."""

import pathlib
import re
import statistics
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


def fail(message):
    sys.exit(f"bench: {message}")


def shell(script, **options):
    """Runs lines of bash with what the scripts share."""
    line = ["bash", "-euo", "pipefail", "-c", f'source "$0"; cd "$REPOSITORY"; {script}', REPOSITORY / "scripts/common.sh"]
    return subprocess.run(line, check=True, text=True, **options)


def figure(name, unit, values, **parameters):
    """A figure in the form that benchmarks write: the median of what was measured, and its spread."""
    return {"name": name, "unit": unit, "value": statistics.median(values), "spread": [min(values), max(values)],
            "parameters": parameters}


def short(count):
    """1000 is 1k, 4000000 is 4M."""
    return re.sub(r"000$", "k", re.sub(r"000000$", "M", str(count)))
