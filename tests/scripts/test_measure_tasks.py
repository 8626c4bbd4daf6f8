"""scripts/measure_tasks.py: its configurations are ones that the library takes."""

from support.scripts import in_scripts, run_script

from deltal_openrlhf.data.gym_files import configs_of


def test_every_configuration_is_one_of_its_task():
    tasks = in_scripts("import measure_tasks\nresult = measure_tasks.TASKS")
    assert len(tasks) == 15
    for task, config in tasks.items():
        words = config.split()
        assert configs_of([task], words)[task].keys() == {word.partition("=")[0] for word in words}


def test_problems_of_other_settings_are_refused(tmp_path):
    code = (
        "import argparse, measure_tasks, pathlib\n"
        "def ask(problems, demos):\n"
        "    args = argparse.Namespace(out=pathlib.Path(data), problems=problems, demos=demos)\n"
        "    try:\n"
        "        return measure_tasks.keep_settings(args) or 0\n"
        "    except SystemExit as ended:\n"
        "        return ended.code\n"
        "result = [ask(24, 4), ask(24, 4), ask(25, 4), ask(24, 0)]"
    )
    assert in_scripts(code, str(tmp_path / "out")) == [0, 0, 2, 2]
    (tmp_path / "unknown" / "data").mkdir(parents=True)  # who knows with what
    for out, flags, says in (
        ("out", ["--problems", 25], "made with other settings (problems); name another folder"),
        ("out", ["--demos", 5], "made with other settings (demos); name another folder"),
        ("unknown", [], "made with other settings (problems, demos, tasks)"),
        ("new", ["--problems", 0], "--problems is 0, allowed is 1 or more"),
    ):
        ended = run_script("measure_tasks.py", "--model", tmp_path, "--out", tmp_path / out, *flags)
        assert ended.returncode == 2 and says in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
