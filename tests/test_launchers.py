"""Processes that were started together join one run or are refused; none of them does the whole work again."""

import pytest

from tubelet.cli import main
from tubelet.launchers import SAYS, Launch, expand, launched

STEP = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[07-08]"}


@pytest.fixture
def variables(monkeypatch):
    """Sets what a launcher sets, and nothing else."""
    for name in (*SAYS, "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_STEPID"):
        monkeypatch.delenv(name, raising=False)

    def put(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("env", "launch"),
    [
        ({}, Launch()),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Launch()),
        ({"WORLD_SIZE": "1"}, Launch()),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Launch(3, 4, 3, "RANK and WORLD_SIZE")),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Launch(3, 4, 1, "RANK and WORLD_SIZE")),
        ({**STEP, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, Launch(3, 4, 1, "srun")),
        ({**STEP, "SLURM_PROCID": "3", "WORLD_SIZE": "4"}, Launch(3, 4, 3, "srun")),
        ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4"}, Launch()),  # a shell of salloc
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Launch()),
        (
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
            Launch(),
        ),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Launch(1, 2, 1, "mpirun")),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0"}, Launch(1, 2, 0, "mpirun")),
        (
            {
                **STEP,
                "SLURM_PROCID": "1",
                "TORCHELASTIC_RUN_ID": "x",
                "RANK": "5",
                "WORLD_SIZE": "16",
                "LOCAL_RANK": "1",
            },
            Launch(5, 16, 1, "torchrun"),
        ),
    ],
)
def test_a_launchers_variables_say_which_of_how_many_this_is(variables, env, launch):
    variables(**env)
    assert launched() == launch


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"RANK": "1"}, "RANK=1 is set and WORLD_SIZE is not"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set and RANK is not"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT are not set"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "MASTER_PORT is not set"),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "http"},
            "MASTER_PORT=http is no port",
        ),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "ranks count from 0"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK=first is no number"),
        ({**STEP, "SLURM_PROCID": "1", "RANK": "0", "WORLD_SIZE": "1"}, "task 1 of 4 of srun"),
        ({**STEP, "SLURM_PROCID": "1", "WORLD_SIZE": "8"}, "WORLD_SIZE=8 is set and RANK is not"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "4711"}, "start them with `srun tubelet ...`"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, "MASTER_ADDR and MASTER_PORT are not set"),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "rank 1 of 2 by mpirun"),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, "rank 1 of 2 by mpirun"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line_and_writes_nothing(variables, tmp_path, capsys, env, said):
    variables(**env)
    assert main(["pretrain", "tiny", "--on", str(tmp_path / "corpus"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("nodes", "hosts"),
    [
        ("gpu7", ["gpu7"]),
        ("node[01-04,7]", ["node01", "node02", "node03", "node04", "node7"]),
        ("node[098-101],login-2", ["node098", "node099", "node100", "node101", "login-2"]),
        ("rack[1-2]n[3,5]-ib", ["rack1n3-ib", "rack1n5-ib", "rack2n3-ib", "rack2n5-ib"]),
        ("", []),
    ],
)
def test_a_list_of_slurms_nodes_is_read_as_slurm_writes_it(nodes, hosts):
    assert expand(nodes) == hosts


def test_the_tasks_of_a_slurm_step_meet_at_its_first_node_and_other_steps_elsewhere(variables):
    variables(**STEP, SLURM_PROCID="3", SLURM_JOB_NODELIST="gpu[01-09]")
    host, port = launched().meeting()
    assert host == "gpu07"
    assert 10_000 <= port < 30_000
    variables(SLURM_STEP_ID="3")
    assert launched().meeting() != (host, port)
    variables(SLURM_STEP_NODELIST="gpu09")
    assert launched().meeting()[0] == "127.0.0.1"
    variables(MASTER_ADDR="there", MASTER_PORT="1234")
    assert launched().meeting() == ("there", 1234)


def test_of_a_command_that_one_process_does_the_first_rank_alone_does_it(variables, tmp_path, capsys):
    out = tmp_path / "corpus"
    for env in ({"RANK": "1", "WORLD_SIZE": "2"}, {**STEP, "SLURM_PROCID": "3"}, {"PMI_RANK": "1", "PMI_SIZE": "2"}):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            assert main(["synth", "--out", str(out)]) == 0
            assert not out.exists()
    assert capsys.readouterr() == ("", "")
    variables(RANK="0", WORLD_SIZE="2")
    assert main(["index", str(tmp_path / "nothing"), "--out", str(out)]) == 2
    assert "rank 0 does it, 1 have no part" in capsys.readouterr().err
    assert launched() == Launch()  # so that a training that such a command starts waits for nobody
