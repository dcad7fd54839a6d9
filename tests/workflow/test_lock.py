"""One Snakemake at a time writes in a folder, and which one is decided once."""

import fcntl
import socket

TARGET = ("results/figures/fig2.png", "--cores", "1")


def test_who_does_not_own_the_folder_does_not_run(checkout):
    """It would go on without the lock, and the next one would take its own away."""
    state = checkout.folder / ".snakemake"
    state.mkdir()
    with (state / "alive").open("w") as held:
        held.write("there 7")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        status, output = checkout.snakemake(*TARGET)
        assert status != 0 and "Directory cannot be locked" in output and "there 7" in output
        assert "Traceback" not in output
        status, output = checkout.snakemake(*TARGET, "-n")
        assert status == 0, output


def test_a_lock_of_another_host_stays_and_one_of_this_host_goes(checkout):
    locks = checkout.folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{checkout.folder}/results/figures/fig2.png\n")
    (locks / "1.output.lock").write_text("results/figures/fig2.png\n")
    alive = locks.parent / "alive"
    alive.write_text("there 7")
    for _ in range(2):  # the first does not make it this host's
        status, output = checkout.snakemake(*TARGET)
        assert status != 0 and "LockException" in output, output
        assert (locks / "0.output.lock").exists() and alive.read_text() == "there 7"
    alive.write_text(f"{socket.gethostname()} 7")
    status, output = checkout.snakemake(*TARGET)
    assert status == 0, output
