"""What scripts/bench is made of, and scripts/instructions shares."""

import json
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


def built_bench(name):
    """A bench, built with the optimisations of a release; where it is."""
    line = f"find_cargo; cargo bench --bench {name} --no-run --locked --message-format=json-render-diagnostics"
    messages = shell(line, stdout=subprocess.PIPE).stdout.splitlines()
    for message in map(json.loads, messages):
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    sys.exit(f"cargo built no bench called {name}")


def figure(name, unit, values, **parameters):
    """A figure in the form that benchmarks write: the median of what was measured, and its spread."""
    return {"name": name, "unit": unit, "value": statistics.median(values), "spread": [min(values), max(values)],
            "parameters": parameters}


def short(count):
    """1000 is 1k, 4000000 is 4M."""
    return re.sub(r"000$", "k", re.sub(r"000000$", "M", str(count)))
