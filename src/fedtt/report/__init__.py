"""A run, several, or a comparison as one HTML file: the answer first, then what it rests on.

What the files of a run hold is read, and nothing is measured again. The pictures are Vega-Lite's.
"""

from fedtt.report.drawing_code import MissingReportError
from fedtt.report.write_report import write_report

__all__ = ["MissingReportError", "write_report"]
