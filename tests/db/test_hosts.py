"""Connection strings with several hosts come apart as libpq reads them."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from owsuper.db.hosts import connect_timeout, each_host


def taken_apart(conninfo: str) -> list[dict[str, object]]:
    return [dict(conninfo_to_dict(each)) for each in each_host(conninfo)]


def test_each_host_has_its_own_port_and_shares_the_rest() -> None:
    url = "postgresql://me:pw@east:1,west:2/db?target_session_attrs=read-write"
    shared = {
        "user": "me",
        "password": "pw",
        "dbname": "db",
        "target_session_attrs": "read-write",
    }
    assert taken_apart(url) == [
        {**shared, "host": "east", "port": "1"},
        {**shared, "host": "west", "port": "2"},
    ]


def test_one_port_is_for_all_hosts_and_addresses_go_with_their_names() -> None:
    conninfo = "host=east,west hostaddr=10.0.0.1,10.0.0.2 port=5433"
    assert taken_apart(conninfo) == [
        {"host": "east", "hostaddr": "10.0.0.1", "port": "5433"},
        {"host": "west", "hostaddr": "10.0.0.2", "port": "5433"},
    ]


@pytest.mark.parametrize(
    "conninfo",
    [
        "",
        "dbname=db",
        "host=/run/postgresql",
        "host=a,b port=1,2,3",
        "host=a,b hostaddr=10.0.0.1",
    ],
)
def test_one_host_and_what_libpq_refuses_stay_as_they_are(conninfo: str) -> None:
    assert each_host(conninfo) == [conninfo]


def test_hosts_are_tried_in_random_order_where_that_is_asked_for() -> None:
    hosts = [f"h{number}" for number in range(9)]
    conninfo = f"host={','.join(hosts)} load_balance_hosts=random"
    orders = [[each["host"] for each in taken_apart(conninfo)] for _ in range(5)]
    assert all(sorted(map(str, order)) == hosts for order in orders)
    assert any(order != hosts for order in orders)


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("0", 0), ("-1", 0), ("1", 2), ("7", 7), ("soon", 0)]
)
def test_the_time_for_one_host_is_read_as_libpq_reads_it(text: str, seconds: float) -> None:
    assert connect_timeout(f"host=a connect_timeout='{text}'") == seconds
