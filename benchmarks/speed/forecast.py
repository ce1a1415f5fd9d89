"""Compare the forecast of memory with what was measured, exam by exam.

Run it as ``python benchmarks/speed/forecast.py OUT [OUT ...]`` on output folders of finished runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

TOLERANCE = 0.25


def finished_steps(out: Path) -> Iterator[dict]:
    """Give the last event of every step whose memory was measured."""
    events = {}
    for path in sorted(out.glob('logs/*/steps.jsonl')):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if 'mem_peak_gb' in event:
                events[event['exam'], event['step']] = event
    yield from events.values()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, nargs='+')
    parser.add_argument('--steps', action='store_true', help='every step, not only the largest')
    options = parser.parse_args()
    far = count = 0
    for out in options.out:
        exams: dict[str, list[dict]] = {}
        for event in finished_steps(out):
            exams.setdefault(event['exam'], []).append(event)
        for exam, steps in exams.items():
            largest = max(steps, key=lambda step: step['mem_peak_gb'])
            for step in steps if options.steps else [largest]:
                measured, told = step['mem_peak_gb'], step['mem_forecast_gb']
                print(
                    f'{out.name:16} {exam:14} {step["step"]:11} '
                    f'measured {measured:5.2f} GB, forecast {told:5.2f} ({told / measured:4.2f})'
                )
            told = max(step['mem_forecast_gb'] for step in steps)
            ratio = told / largest['mem_peak_gb']
            count, far = count + 1, far + (abs(ratio - 1) > TOLERANCE)
    print(f'{count} exams, {far} forecast worse than to {TOLERANCE:.0%}')


if __name__ == '__main__':
    main()
