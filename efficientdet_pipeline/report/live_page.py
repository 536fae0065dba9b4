"""Page of a running training, rendered on each request; unchanged parts are cached."""

import threading

from efficientdet_pipeline.evaluation.evaluation_file import read_evaluation
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder, analyse_evaluation
from efficientdet_pipeline.report.page import report_page
from efficientdet_pipeline.report.run_page import run_page_contents, with_evaluation
from efficientdet_pipeline.runs.run_dir import RunFolder


class LivePage:
    """Renders the current HTML of a run; thread-safe."""

    def __init__(self, run: RunFolder, *, refresh_seconds: int):
        self._run, self._refresh_seconds = run, refresh_seconds
        self._lock = threading.Lock()
        self._evaluated_at = 0
        self._evaluation: ReportContents | None = None

    def __call__(self) -> str:
        """Returns the page."""
        contents = run_page_contents(self._run, with_saved=False)
        saved = EvaluationFolder(self._run.path).saved
        with self._lock:
            changed_at = saved.stat().st_mtime_ns if saved.is_file() else 0
            if changed_at != self._evaluated_at:
                findings = analyse_evaluation(read_evaluation(saved)) if changed_at else None
                self._evaluation = with_evaluation(ReportContents(""), findings) if findings is not None else None
                self._evaluated_at = changed_at
            evaluation = self._evaluation
        if evaluation is not None:
            contents = contents.joined(evaluation)
        return report_page(contents, refresh_seconds=self._refresh_seconds)
