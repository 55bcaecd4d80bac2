from vtonlab.utils.progress import Progress


def test_rate_counts_only_what_this_run_did():
    line = Progress("samples").line(30, 10, 70, 10.0)
    assert line == "30/70 samples, 2.0/s, ETA 0:20"


def test_nothing_done_yet_has_no_rate(capsys):
    progress = Progress("pages")
    assert progress.line(0, 0, 5, 0.0) == "0/5 pages, 0.0/s, ETA 0:00"
    progress(1, 0, 5)
    assert capsys.readouterr().err == ""
    progress(5, 0, 5)
    assert capsys.readouterr().err.startswith("5/5 pages")
