"""The connections a process keeps, and what becomes of those that somebody uses while they are closed."""

from aiinfra_core import database
from aiinfra_core.settings import Settings


def test_a_connection_in_use_while_all_are_closed_is_closed_when_it_comes_back(settings: Settings) -> None:
    with database.autocommit(settings) as connection:
        used = connection.connection.dbapi_connection
        database.close_connections()
        assert used is not None and not used.closed
    assert used.closed
    with database.autocommit(settings) as connection:
        other = connection.connection.dbapi_connection
    assert other is not None and not other.closed
