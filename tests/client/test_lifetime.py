"""Connections across forks, event loops and the ends of programs."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.client import result_waiter
from tests.client.conftest import Rows, RunProgram, eventually

OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'owsuper: client%'"


def connections(conn: psycopg.Connection) -> set[int]:
    """The sessions of clients; those of earlier tests may still be about to end."""
    return {pid for (pid,) in conn.execute(OURS)}


# --- forks -----------------------------------------------------------------------------------


def test_parent_and_child_both_go_on_after_a_fork(run_program: RunProgram, rows: Rows) -> None:
    run_program(
        """
        ow.run_workflow("before")
        for _ in range(3):
            in_child(lambda: ow.run_workflow("child"))
            ow.run_workflow("parent")
        """
    )
    assert rows.count() == 7


def test_a_forked_process_that_ends_leaves_the_connections_of_its_parent_alone(
    run_program: RunProgram,
) -> None:
    said = run_program(
        """
        def fork(conn):
            backend = "SELECT pg_backend_pid()"
            before = conn.execute(backend).fetchone()
            in_child(lambda: None)
            in_child(lambda: ow.close())
            in_child(lambda: ow.run_workflow("child"))
            return before == conn.execute(backend).fetchone()

        ow.run_workflow("before")
        print(ow._database.session().run(fork))  # while the connection is in use
        ow.run_workflow("after")
        """
    )
    assert said == ["True"]


def test_before_a_fork_idle_connections_are_closed_and_their_threads_end(
    run_program: RunProgram,
) -> None:
    said = run_program(
        """
        ow.run_workflow("before")
        asyncio.run(ow.arun_workflow("before"))
        asyncio.run(ow.get_run(ow.run_workflow("before").id).astatus())
        threads = []
        in_child(lambda: threads.append(threading.active_count()))
        print(threading.active_count(), len(ow._database.session().sockets()))
        ow.run_workflow("after")
        asyncio.run(ow.arun_workflow("after"))
        """
    )
    assert said == ["1", "0"]


def test_a_child_of_an_event_loop_and_its_parent_both_go_on(
    run_program: RunProgram, rows: Rows
) -> None:
    """The child must not end by way of the loop: that has one epoll with its copy."""
    run_program(
        """
        def leave(work):
            work()
            os._exit(0)

        async def main():
            await ow.arun_workflow("before")
            in_child(lambda: leave(lambda: None))
            in_child(lambda: leave(lambda: ow.run_workflow("child")))
            in_child(lambda: leave(lambda: threading.Thread(target=in_another_loop).run()))
            await ow.arun_workflow("parent")

        def in_another_loop():
            asyncio.events._set_running_loop(None)
            asyncio.run(ow.get_run(ow.run_workflow("child").id).astatus())

        asyncio.run(main())
        """
    )
    assert rows.count() == 4


@pytest.mark.slow
def test_a_child_is_forked_while_others_use_and_wait(run_program: RunProgram, rows: Rows) -> None:
    run_id = rows.add()
    rows_before = rows.count()
    run_program(
        f"""
        done = threading.Event()

        def start_runs():
            while not done.is_set():
                ow.run_workflow("thread")

        def wait():
            try:
                ow.get_run({run_id!r}).result(2)
            except owsuper.ResultTimeout:
                pass

        threads = [threading.Thread(target=start_runs) for _ in range(3)]
        threads.append(threading.Thread(target=wait))
        for thread in threads:
            thread.start()
        for _ in range(10):
            in_child(lambda: ow.run_workflow("child"))
        done.set()
        for thread in threads:
            thread.join()
        """
    )
    assert rows.count() > rows_before + 10


def test_a_child_waits_for_results_with_a_thread_of_its_own(
    run_program: RunProgram, rows: Rows
) -> None:
    said = run_program(
        f"""
        table = ow._database.session().schema + ".workflow_runs"
        handle = ow.get_run({rows.add()!r})
        try:
            handle.result(0.3)
        except owsuper.ResultTimeout:
            print("late", flush=True)
        pid = os.fork()
        if not pid:
            print(handle.result(20))
            sys.exit()
        time.sleep(0.5)
        end = f"UPDATE {{table}} SET status = 'completed', output = '7' WHERE id = '{{handle.id}}'"
        ow._database.session().run(lambda conn: conn.execute(end))
        os.waitpid(pid, 0)
        print(handle.result(20))
        """
    )
    assert said == ["late", "7", "7"]


def test_the_server_notices_the_death_of_a_parent_whose_fork_lives_on(
    run_program: RunProgram, conn: psycopg.Connection
) -> None:
    """A copy of the socket in the forked process would keep the session and its locks alive."""
    before = connections(conn)
    run_program(
        """
        ow.run_workflow("before")
        if not os.fork():
            os.close(1), os.close(2)
            os.read(os.open(sys.argv[0], os.O_RDONLY), 0)
            time.sleep(5)
            os._exit(0)
        os._exit(0)
        """
    )
    eventually(lambda: connections(conn) <= before)


# --- event loops -----------------------------------------------------------------------------


def test_one_event_loop_after_the_other_uses_the_same_connections(
    run_program: RunProgram, rows: Rows
) -> None:
    said = run_program(
        """
        def others(conn):
            return conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND application_name = 'owsuper: client ' || $1", [str(os.getpid())]
            ).fetchone()[0]

        async def main():
            await asyncio.gather(*(ow.arun_workflow("loop") for _ in range(5)))

        for _ in range(3):
            asyncio.run(main())
        time.sleep(0.2)
        print(ow._database.session().run(others))
        """
    )
    assert rows.count() == 15
    assert said == ["0"]


def test_two_event_loops_at_once_get_along(run_program: RunProgram, rows: Rows) -> None:
    run_program(
        """
        async def main():
            for _ in range(20):
                await ow.arun_workflow("loop")

        threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """
    )
    assert rows.count() == 40


def test_an_event_loop_that_is_closed_while_it_waits_does_no_harm(run_program: RunProgram) -> None:
    run_program(
        """
        async def main():
            loop = asyncio.get_running_loop()
            handle = await ow.arun_workflow("loop")
            for call in (ow.arun_workflow("loop"), handle.astatus(), handle.aresult()):
                task = loop.create_task(call)
                await asyncio.sleep(0)
                task._log_destroy_pending = False
                tasks.append(task)

        tasks = []
        for _ in range(5):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        time.sleep(0.5)
        """
    )


def test_an_event_loop_that_is_never_closed_does_no_harm(run_program: RunProgram) -> None:
    run_program(
        """
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(ow.arun_workflow("loop"))
            loop.close()
        """
    )


def test_a_canceled_start_gives_its_connection_back_or_up(
    run_program: RunProgram, rows: Rows
) -> None:
    run_program(
        """
        async def main():
            for delay in range(30):
                task = asyncio.create_task(ow.arun_workflow("canceled"))
                await asyncio.sleep(delay / 3000)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.gather(*(ow.arun_workflow("after") for _ in range(20)))

        asyncio.run(main())
        """
    )
    assert rows.count() >= 20


def test_a_sync_application_has_no_threads_of_an_async_one(run_program: RunProgram) -> None:
    said = run_program(
        """
        ow.run_workflow("sync")
        print(*sorted(thread.name for thread in threading.enumerate()))
        """
    )
    assert said == ["MainThread", "owsuper-scheduler", "owsuper-worker-0"]


# --- threads and ends ------------------------------------------------------------------------


def test_more_threads_than_connections_take_turns(ow: OpenWorkflow, rows: Rows) -> None:
    with ThreadPoolExecutor(30) as threads:
        list(threads.map(lambda n: ow.run_workflow("name", n), range(300)))
    assert rows.count() == 300


@pytest.mark.parametrize(
    "wait",
    [
        "ow.get_run({id!r}).result(0.3)",
        "asyncio.run(ow.get_run({id!r}).aresult(0.3))",
    ],
)
def test_a_program_that_waited_ends_at_once_and_silently(
    run_program: RunProgram, rows: Rows, wait: str
) -> None:
    run_program(
        f"""
        try:
            {wait.format(id=rows.add())}
        except owsuper.ResultTimeout:
            pass
        """
    )


def test_a_collected_client_closes_its_connections_and_its_thread(
    database_url: str, schema: str, rows: Rows, conn: psycopg.Connection
) -> None:
    before, others = connections(conn), set(threading.enumerate())
    ow = OpenWorkflow(database_url, schema=schema)
    run_id = rows.add()
    ended = threading.Timer(0.2, rows.end, [run_id])
    ended.start()
    ow.get_run(run_id).result(20)
    ended.join()
    del ow
    gc.collect()
    left = set(threading.enumerate()) - others
    assert "owsuper-results" not in {thread.name for thread in left}
    eventually(lambda: connections(conn) <= before)


def test_a_closed_client_may_be_used_again(ow: OpenWorkflow, rows: Rows) -> None:
    for _ in range(3):
        ow.run_workflow("name")
        ow.close()
    ow.close()
    assert rows.count() == 3


def test_closing_while_tasks_start_runs_leaves_no_thread(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ow._database.session()
    others = set(threading.enumerate())  # of other tests

    async def close_and_start() -> None:
        await ow.arun_workflow("before")
        running = [asyncio.create_task(ow.arun_workflow("during")) for _ in range(5)]
        await asyncio.sleep(0)
        running[0].cancel()
        await ow.aclose()
        monkeypatch.setattr(ow._database, "_session", session)  # a task has fetched it before
        await asyncio.gather(*(ow.arun_workflow("after") for _ in range(5)))
        await asyncio.gather(*running, return_exceptions=True)
        monkeypatch.setattr(ow._database, "_session", None)

    asyncio.run(close_and_start())
    assert rows.count() >= 10
    eventually(
        lambda: all(
            thread.name != "owsuper-start" for thread in set(threading.enumerate()) - others
        )
    )


@pytest.mark.slow
def test_the_waiting_thread_ends_when_no_run_is_waited_for(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_waiter, "_IDLE_SECONDS", 0.1)
    for _ in range(2):
        run_id = rows.add()
        ended = threading.Timer(0.2, rows.end, [run_id], {"output": 1})
        ended.start()
        assert ow.get_run(run_id).result(20) == 1
        ended.join()
        for thread in threading.enumerate():
            if thread.name == "owsuper-results":
                thread.join(10)
                assert not thread.is_alive()
