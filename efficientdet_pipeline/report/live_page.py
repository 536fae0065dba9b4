"""Page of a running training, rendered on each request; unchanged parts are cached."""

import threading

from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder
from efficientdet_pipeline.report.page import report_page
from efficientdet_pipeline.report.run_page import run_page_contents, saved_findings, with_evaluation
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
        folder = EvaluationFolder(self._run.path)
        with self._lock:
            files = [path for path in (folder.saved, folder.by_class) if path.is_file()]
            changed_at = max((path.stat().st_mtime_ns for path in files), default=0)
            if changed_at != self._evaluated_at:
                findings = saved_findings(folder) if changed_at else None
                self._evaluation = with_evaluation(ReportContents(""), findings) if findings is not None else None
                self._evaluated_at = changed_at
            evaluation = self._evaluation
        if evaluation is not None:
            contents = contents.joined(evaluation)
        return report_page(contents, refresh_seconds=self._refresh_seconds)
