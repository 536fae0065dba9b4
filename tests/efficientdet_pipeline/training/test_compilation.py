"""Report of the first step."""

from efficientdet_pipeline.training.compilation import Compilation

VERB = "Compiling the training step"


def test_compilation_reports_what_the_cache_saved() -> None:
    before, now = Compilation(VERB, 2.0, 10.0, "/cache"), Compilation(VERB, 4.0, 150.4, "/cache")
    assert now.first_step_text(12.3, before) == "First step after 12 s; the compilation cache saved about 140 s."


def test_compilation_reports_where_the_result_is_kept() -> None:
    text = Compilation(VERB, 145.0, 0.0, "/cache").first_step_text(165, Compilation(VERB))
    assert text == "First step after 165 s, 145 s of them compiling; the next start reads the result from /cache."
    assert Compilation(VERB, 145.0).first_step_text(165, Compilation(VERB)).endswith("145 s of them compiling.")


def test_compilation_without_times_reports_the_duration() -> None:
    assert Compilation(VERB).first_step_text(31, Compilation(VERB)) == "First step after 31 s."
