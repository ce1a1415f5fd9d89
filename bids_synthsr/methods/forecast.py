"""What an exam will take, step by step, computed from the headers of its scans.

Each formula is what the arrays of a step are known to take, with a constant for what the process
holds anyway. The constants are fitted to measured runs (benchmarks/speed/forecast.py). What the
method itself takes is computed by its own module.
"""

from __future__ import annotations

from bids_synthsr.methods.catalogue import Method
from bids_synthsr.methods.exam_size import IDLE_GB, ExamSize
from bids_synthsr.settings import AS_IS, FILL, KEEP
from bids_synthsr.values.method import Forecast

# GB and CPU-s: a lesion of 2 ml in three scans took 1.23 GB and 22 s to fill, and lesions all
# over the head .86 GB and some 10 s to keep
LESIONS_COST = {FILL: (1.3, 60.0), KEEP: (1.0, 20.0)}
STANDARD_GB, STANDARD_S = 1.1, 65.0  # registration to a template, and what is carried over


def forecast_exam(
    method: Method, size: ExamSize, spaces: int = 0, lesions: str = AS_IS
) -> Forecast:
    """Forecast what an exam will take on a CPU.

    Parameters
    ----------
    method
        Entry of the method in the catalogue.
    size
        Scans and output of the exam.
    spaces
        Number of standard spaces in which outputs are written.
    lesions
        What becomes of lesions, one of `bids_synthsr.settings.LESIONS`.
    """
    synthesis = method.load().forecast(size)
    out, scans = size.output_millions, size.scan_millions
    largest, others = max(scans), scans[1:]
    aligning = [7.0 + 0.6 * scan for scan in others]
    lesions_gb, lesions_s = LESIONS_COST.get(lesions, (0.0, 0.0))
    seconds = synthesis.cpu_s + sum(aligning) + 8 + STANDARD_S * spaces + lesions_s
    return Forecast(
        select_gb=IDLE_GB + 0.006 * largest,
        align_gb=IDLE_GB + 0.02 * (scans[0] + max(others, default=0.0)),
        # scans other than the reference lie across the output grid, which takes more
        resample_gb=IDLE_GB + (0.045 if others else 0.029) * out + 0.012 * largest,
        synthesize_gb=synthesis.memory_gb,
        outputs_gb=IDLE_GB + 0.1 + (0.055 if others else 0.018) * out + 0.011 * largest,
        cpu_s=seconds + 0.4 * out * len(scans),
        standardize_gb=STANDARD_GB + 0.01 * out if spaces else 0.0,
        lesions_gb=lesions_gb,
    )
