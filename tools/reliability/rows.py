"""The rows of the card: what is promised, how it is measured, the target, and plain mmengine's."""

from reliability import (
    faults,
    files,
    fuzz,
    hostile_configs,
    hostile_studio,
    inputs,
    judging,
    meanwhile,
    processes,
    runs,
)
from reliability.card import Row


def rows(full: bool) -> dict[str, Row]:
    """Name -> row, in the order of the card; ``full`` adds the kills of whole runs."""
    found = {**resuming(), **checkpoints(), **cuts(), **settings(), **strangers(), **pictures()}
    found |= {**judge(), **several(), **numbers()}
    return found | (whole_runs() if full else {})


def resuming() -> dict[str, Row]:
    return {
        "resume": Row(
            "a resumed run equals the uninterrupted one",
            "tensors and numbers that differ, 8 iterations against 4 + 4",
            "0",
            "cannot load; 3.1e-3 after repair",
            runs.resumed_equals_whole,
        ),
        "workers": Row(
            "the same bits for any number of loader workers",
            "distinct MD5 of all tensors over 0, 1, 2 workers",
            "1",
            "2 or more",
            runs.same_bits_for_any_workers,
        ),
        "decoded": Row(
            "resuming loads no past sample",
            "samples decoded again on resume at 10 000 iterations",
            "0",
            "40 000 (batch 4)",
            runs.decoded_again,
        ),
    }


def checkpoints() -> dict[str, Row]:
    return {
        "kills": Row(
            "kill -9 while saving leaves a run that resumes, and no torn file",
            "20 kills at random moments, two files kept; keeping one is refused",
            "0 unusable, 0 torn",
            "keep=2: 0 and 3; keep=1: 16 and 6",
            files.kills_while_saving,
        ),
        "damage": Row(
            "silent corruption of a checkpoint is found",
            "20 flipped bits and 20 cuts",
            "40",
            "20 (flipped bits: 0)",
            files.damage,
        ),
        "memory": Row(
            "saving needs no second copy in memory",
            "growth of the resident high-water mark / file",
            "< 5 %",
            "100 %",
            files.save_memory,
        ),
        "clock": Row(
            "a clock that goes back hides no checkpoint",
            "which one is resumed from, two of three saved a day ahead",
            "the last",
            "not measured",
            meanwhile.clock_back,
        ),
    }


def cuts() -> dict[str, Row]:
    return {
        "cuts": Row(
            "a write that is cut loses nothing, and the same command goes on",
            "SIGKILL at every second system call; full disk and read-only folder (a sentence)",
            "0",
            "not measured",
            faults.nothing_lost,
        ),
        "full": Row(
            "a disk that is full in mid-run stops it with a sentence, and it resumes exactly",
            "a small disk filled at iteration 5 of 8; room made, --resume",
            "a sentence, 0 differ",
            "not measured",
            meanwhile.disk_full,
        ),
        "replaced": Row(
            "a data set's file replaced in mid-run stops it by name, and it resumes exactly",
            "photographs cut short at iteration 5 of 8, put back, --resume",
            "by name, 0 differ",
            "not measured",
            meanwhile.file_replaced,
        ),
        "two": Row(
            "one run at a time in a folder",
            "jobs that refuse a folder which another process fills, naming it",
            "all",
            "not measured",
            meanwhile.two_runs,
        ),
    }


def settings() -> dict[str, Row]:
    return {
        "nan": Row(
            "NaN is found before a parameter changes",
            "one poisoned sample; parameters compared; iteration and samples named",
            "yes",
            "no",
            runs.nan_stops_before_the_step,
        ),
        "typos": Row(
            "config typos stop before iteration 1",
            "13 typos in the demo's config",
            "13",
            "7 (one more at the first save)",
            inputs.typos,
        ),
    }


def strangers() -> dict[str, Row]:
    return {
        "hostile": Row(
            "nothing hostile is executed",
            "pickle in a checkpoint, code in meta.config, JSON type of a function (--safe)",
            "0 of 3",
            "2 or 3",
            inputs.hostile_files,
        ),
        "configs": Row(
            "no config runs code, reads the environment, hangs or leaves its folder (--safe)",
            "configs by somebody hostile, each of another kind, with a canary",
            "0",
            "executes them",
            hostile_configs.hostile_configs_refused,
        ),
        "studio": Row(
            "a visitor of the studio gets nothing but pictures, in bounded memory",
            "paths, bombs, pickles, crowds sent to a running one; attempts that get through",
            "0, < 1024 MiB",
            "not measured",
            hostile_studio.hostile_visitors,
        ),
        "fuzz": Row(
            "a damaged or hostile container is read or refused by name, in 2 GiB",
            "200 mutations of each of 12 kinds and 25 uses that end in any other way",
            "0",
            "not measured",
            fuzz.nothing_escapes,
        ),
    }


def pictures() -> dict[str, Row]:
    return {
        "bomb": Row(
            "a decompression bomb costs no memory",
            "PNG of 20 000 x 20 000 pixels, peak over base",
            "< 50 MiB",
            "2 500 MiB",
            inputs.bomb,
        ),
        "truncated": Row(
            "pictures cut short are found",
            "5 formats x 4 cuts",
            "20",
            "read as None or passed",
            inputs.truncated,
        ),
        "middle": Row(
            "pictures damaged in the middle are found",
            "20 JPEG files with 200 random bytes, hashes recorded before",
            "20",
            "0",
            inputs.damaged_middles,
        ),
    }


def judge() -> dict[str, Row]:
    return {
        "slow": Row(
            "a judge that answers a byte at a time is given up in time",
            "seconds until then, status line, header and body; asked to wait 0.5 s",
            "< 1",
            "not measured",
            judging.slow_answers,
        ),
        "secret": Row(
            "the judge's key is written nowhere",
            "files that hold it in any form after training, a judge that echoes it, and a report",
            "0",
            "not measured",
            judging.key_stays_secret,
        ),
    }


def several() -> dict[str, Row]:
    return {
        "metric": Row(
            "a metric of two processes equals that of one",
            "largest difference, 7 pictures",
            "0 (float order: 1e-6)",
            "depends on padding",
            processes.metric_of_two,
        ),
        "death": Row(
            "a dying rank ends the run",
            "seconds until both processes are gone",
            "< 15",
            "9",
            processes.rank_dies,
        ),
    }


def numbers() -> dict[str, Row]:
    return {
        "resize": Row(
            "one resize, equal to Pillow's",
            "zone plate, mean absolute difference in grey levels",
            "< 0.01",
            "20-26",
            inputs.resizing,
        ),
        "portable": Row(
            "recorded numbers do not depend on the processor",
            "ten float64 steps with this processor's instructions and with an old one's (SSE4.1), "
            "largest relative difference from what is recorded",
            "<= 1e-6",
            "not measured",
            meanwhile.other_processor,
        ),
        "overhead": Row(
            "guards and safe seeding cost little",
            "time inside them / training step of the demo, one thread",
            "<= 2 %",
            "-",
            runs.overhead,
        ),
    }


def whole_runs() -> dict[str, Row]:
    return {
        "disturbed": Row(
            "a run killed three times ends with the bits of a calm one",
            "60 iterations: SIGKILL x 3 (one inside a save) with 0 and 2 workers, SIGTERM once",
            "0 differ",
            "cannot load",
            runs.killed_three_times,
        ),
    }
