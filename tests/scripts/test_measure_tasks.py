"""scripts/measure_tasks.py: its configurations are ones that the library takes."""

from support.scripts import in_scripts

from deltal_openrlhf.data.gym_files import configs_of


def test_every_configuration_is_one_of_its_task():
    tasks = in_scripts("import measure_tasks\nresult = measure_tasks.TASKS")
    assert len(tasks) == 15
    for task, config in tasks.items():
        words = config.split()
        assert configs_of([task], words)[task].keys() == {word.partition("=")[0] for word in words}
